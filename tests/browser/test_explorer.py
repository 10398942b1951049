"""A walk through an image, with nothing but keys."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe

SETUP = "%load_ext unibeam_nb\n%config UnibeamMagics.on = 'process'\n%config UnibeamMagics.target = 'release'"

HELLO = """%%unibeam build inside
-module(inside).
-export([start/0]).
start() -> io:format("<b>hello</b>~n").
"""

EDITED = HELLO.replace("build inside", "build inside2").replace("start() ->", "start() -> _ = lists:seq(1, 3),")


def serious(page: Any) -> list[str]:
    """Serious and critical findings of axe-core in what is ours."""
    found = Axe().run(page, context=".unibeam-inside")
    return [f"{v['id']}: {node['html'][:160]}" for v in found.response["violations"]
            if v["impact"] in ("serious", "critical") for node in v["nodes"]]


def test_an_image_is_walked_through_with_keys(notebook: Any) -> None:
    book = notebook(SETUP, HELLO, "%unibeam explore inside", "1 + 1")
    for index in (0, 1):
        book.run(index)
    keys = book.page.keyboard
    inside = book.run(2).locator(".unibeam-inside")
    inside.wait_for()
    selected = inside.locator("tr[aria-selected=true] .name")
    where = inside.locator("nav")
    assert selected.inner_text().startswith("▸ erts ")

    selected.locator("..").focus()
    keys.press("ArrowDown")
    assert selected.inner_text() == "▸ applications"
    keys.press("Enter")
    assert selected.inner_text().startswith("▸ stdlib ")
    keys.press("Enter")
    assert "applications" in where.inner_text()
    assert inside.locator("table").get_attribute("aria-label").startswith("In stdlib ")
    assert inside.locator(".area").count() > 50
    largest = inside.locator("tbody tr td").nth(0).inner_text()
    assert largest.endswith("kB")
    book.picture("explorer-stdlib")
    assert serious(book.page) == []
    keys.press("Backspace")
    assert selected.inner_text().startswith("▸ stdlib ")  # Where one came from.

    keys.press("/")
    keys.type("gen_s")
    inside.locator("tbody .name", has_text="/gen_server").wait_for()
    keys.press("Enter")
    assert "gen_s" in selected.inner_text()
    assert " found, " in inside.locator("[role=status]").inner_text()
    book.picture("explorer-search")
    assert serious(book.page) == []
    # The notebook itself has not moved meanwhile: its keys are not ours.
    assert book.page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex") == 2
    assert book.page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets.length") == 4
    keys.press("Enter")
    assert inside.locator("table").get_attribute("aria-label").startswith("In stdlib ")
    assert "gen_s" in selected.inner_text()


def test_what_differs_is_shown_and_a_saved_notebook_keeps_the_text(notebook: Any) -> None:
    book = notebook(SETUP, HELLO, EDITED, "%unibeam explore inside2 --against inside")
    for index in (0, 1, 2):
        book.run(index)
    inside = book.run(3).locator(".unibeam-inside")
    inside.wait_for()
    inside.locator(".area").first.click()
    book.picture("explorer-difference")
    assert inside.locator("tbody tr", has_text="inside").count() == 2
    assert serious(book.page) == []
    (output,) = [o for o in book.save().cells[3].outputs if "text/html" in o.get("data", {})]
    assert "inside2, release" in output["data"]["text/plain"]
    assert "<summary" in output["data"]["text/html"]
    assert "<script" not in output["data"]["text/html"]
