"""Notebook 7 shows what JupyterLab does: panels, console, explorer and dashboard live."""

from __future__ import annotations

from typing import Any

from tests.browser.conftest import SETUP

PROGRAM = "notebook"

SEVEN = """%%unibeam build seven
-module(seven).
-export([start/0]).
start() -> io:format("seven is up~n").
"""


def test_every_widget_is_live_in_notebook_7(notebook: Any, server: Any) -> None:
    book = notebook(SETUP, SEVEN, "machine = %unibeam boot seven --shell", "%unibeam ps", "%unibeam console seven",
                    "%unibeam explore seven", "%unibeam dashboard seven")
    for index in range(7):
        book.run(index)
    book.cell(3).locator(".machine .title", has_text="seven").wait_for()
    console = book.cell(4).locator(".unibeam-console")
    console.get_by_text("seven is up").first.wait_for()
    inside = book.cell(5).locator(".unibeam-inside")
    inside.locator("tbody tr").first.focus()
    book.page.keyboard.press("Enter")
    assert inside.locator("table").get_attribute("aria-label").startswith("In erts ")
    book.cell(6).locator("form input[type=checkbox]").first.wait_for()
    book.picture("notebook7")
    book.cell(3).locator("button[aria-label='Stop seven']").click()
    book.cell(3).locator("button[aria-label='Resume seven']").wait_for()
    assert [machine.name for machine in server.machines if machine.alive] == []
