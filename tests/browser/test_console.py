"""The console of a machine, in a page."""

from __future__ import annotations

import re
import time
from typing import Any

from tests.browser.conftest import FLOOD, SETUP, flood

TALKER = """%%unibeam build talker
-module(talker).
-export([start/0]).
start() ->
    io:format("<img src=x onerror=document.title=1> <b>bold</b>~n"),
    io:format("\\e]8;;http://evil.example/\\e\\\\click here\\e]8;;\\e\\\\~n"),
    io:format("\\e]0;owned\\a\\e]52;c;b3duZWQ=\\a\\e[c\\e[>c\\e[6n\\e]10;?\\a\\eP$qm\\e\\\\~n"),
    io:format("ready to listen~n"),
    {ok, spawn_link(fun() -> receive never -> ok end end)}.
"""


def text_of(cell: Any) -> str:
    return str(cell.locator(".xterm-rows").first.inner_text()).replace("\xa0", " ")


def wait_for(cell: Any, pattern: str, seconds: float = 20) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if cell.locator(".xterm-rows").count() and re.search(pattern, text := text_of(cell)):
            return text
        time.sleep(0.1)
    raise AssertionError(f"{pattern!r} did not appear in: {text_of(cell)}")


def copied(book: Any) -> str:
    return str(book.page.evaluate("navigator.clipboard.readText()")).replace("\xa0", " ")


def test_a_console_fills_takes_input_and_draws_nothing_but_text(notebook: Any) -> None:
    book = notebook(SETUP, TALKER, "machine = %unibeam boot talker --shell", "%unibeam console talker",
                    "machine.console", "machine.stop()")
    book.run(0)
    book.run(1)
    book.run(2)
    cell = book.run(3)
    text = wait_for(cell, "ready to listen")
    assert "<img src=x onerror=document.title=1> <b>bold</b>" in text
    assert cell.locator("img").count() == 0
    assert "owned" not in book.page.title()
    assert cell.locator(".xterm a, .xterm-link").count() == 0

    cell.locator(".xterm").click()
    book.page.keyboard.type("lists:sum([20, 22]).")
    book.page.keyboard.press("Enter")
    wait_for(cell, r"(?m)^(\d+> )?42$")
    again = book.run(4)
    wait_for(again, "42")
    book.picture("console-typed")

    # What is found is selected, and what is selected is copied; without a selection everything is.
    book.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    found = cell.locator(".bar [role=status]")
    cell.locator("input[type=search]").fill("not there")
    cell.locator("button", has_text="Next").click()
    assert found.inner_text() == "not found"
    cell.locator("input[type=search]").fill("TO LISTEN")
    cell.locator("input[type=search]").press("Enter")
    assert found.inner_text() == ""
    cell.locator("button", has_text="Copy").click()
    cell.locator(".state", has_text="Copied the selection.").wait_for()
    assert copied(book) == "to listen"
    again.locator("button", has_text="Copy").click()
    again.locator(".state", has_text="Copied everything in view.").wait_for()
    assert {"ready to listen", "click here"} <= set(copied(book).splitlines())

    # Rendered once more, it is drawn from what the page has kept, and is live like the first.
    book.page.evaluate("""() => {
        const book = window.jupyterapp.shell.currentWidget.content;
        book.activeCellIndex = 3;
        book.deselectAll();
        window.jupyterapp.commands.execute('notebook:create-output-view');
    }""")
    view = book.page.locator(".jp-LinkedOutputView")
    wait_for(view, r"(?m)^(\d+> )?42$")
    view.locator(".xterm").click()
    book.page.keyboard.type("lists:sum([20, 23]).")
    book.page.keyboard.press("Enter")
    for place in (view, cell, again):
        place.locator(".unibeam-console").scroll_into_view_if_needed()  # Out of view it draws nothing.
        wait_for(place, r"(?m)^(\d+> )?43$")
    book.picture("console-views")
    book.page.evaluate("window.jupyterapp.shell.currentWidget.close()")
    view.wait_for(state="detached")
    book.run(5)
    book.page.wait_for_function("""() => [...document.querySelectorAll('.unibeam-console .state')]
        .every(state => state.textContent.startsWith('ended'))""")


def test_a_flood_loses_no_byte_and_does_not_freeze_the_page(notebook: Any, server: Any) -> None:
    book = notebook(SETUP, FLOOD, "machine = %unibeam boot flood --shell", "machine.console",
                    "machine.console")
    for index in (0, 1, 2):
        book.run(index)
    cell = book.run(3)
    (machine,) = [m for m in server.machines if m.name == "flood"]
    done = flood(book, machine, cell, 8)
    assert done.written > 7_900_000
    assert done.received == done.written
    assert done.missed == 0
    # How fast it is, and whether the page stands still meanwhile, is measured by scripts/face.py.
    assert re.search(r"\d+ lines above are out of view; all of it is in .*console.log", done.status)
    assert "the end of the flood" in wait_for(cell, "the end of the flood")
    # Shown for the first time by now, it begins with the end, and says so.
    later = book.run(4)
    wait_for(later, "the end of the flood")
    later.locator(".state", has_text="are not shown").wait_for()
    book.picture("flood")
