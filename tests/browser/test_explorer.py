"""A walk through an image, with nothing but keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.browser.conftest import SETUP, serious

EXPLORER = Path(__file__).resolve().parents[2] / "unibeam_nb" / "notebook" / "static" / "explorer.js"


HELLO = """%%unibeam build inside
-module(inside).
-export([start/0]).
start() -> io:format("<b>hello</b>~n").
"""

EDITED = HELLO.replace("build inside", "build inside2").replace("start() ->", "start() -> _ = lists:seq(1, 3),")


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
    assert serious(book.page, ".unibeam-inside") == []
    keys.press("Backspace")
    assert selected.inner_text().startswith("▸ stdlib ")  # Where one came from.

    keys.press("/")
    keys.type("gen_s")
    inside.locator("tbody .name", has_text="/gen_server").wait_for()
    keys.press("Enter")
    assert "gen_s" in selected.inner_text()
    assert " found, " in inside.locator("[role=status]").inner_text()
    book.picture("explorer-search")
    assert serious(book.page, ".unibeam-inside") == []
    # The notebook itself has not moved meanwhile: its keys are not ours.
    assert book.page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex") == 2
    assert book.page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets.length") == 4
    keys.press("Enter")
    assert inside.locator("table").get_attribute("aria-label").startswith("In stdlib ")
    assert "gen_s" in selected.inner_text()


STRICT = "default-src 'none'; script-src 'self'; style-src 'none'"
"""A page that runs nothing but its own files, and takes no style that stands in it."""

PAGE = ("<!doctype html><html lang=en><title>strict</title><main id=here></main>"
        "<script type=module src=start.js></script>")

START = """import explorer from "./explorer.js";
import values from "./values.js";
explorer.render({ model: { get: (key) => values[key] }, el: document.getElementById("here") });
"""


def test_a_strict_page_shows_hostile_names_and_a_large_tree_as_text(browser: Any) -> None:
    evil = "<img src=x onerror=window.hacked=1>"
    modules = [[f"module_{number}", "module", 1000 + number, 500, 0, "", []] for number in range(20_000)]
    tree = [evil, "image", 30_000_000, 9, 0, "", [[evil, "part", 30_000_000, 9, 0, "", modules]]]
    values = json.dumps({"label": evil, "against": "", "word": "", "tree": tree})
    files = {"/": ("text/html", PAGE), "/start.js": ("text/javascript", START),
             "/values.js": ("text/javascript", f"export default {values}"),
             "/explorer.js": ("text/javascript", EXPLORER.read_text(encoding="utf-8"))}
    context = browser.new_context()
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))

    def answer(route: Any) -> None:
        kind, text = files.get(urlsplit(route.request.url).path, ("text/plain", ""))
        route.fulfill(status=200, body=text, headers={"Content-Type": kind, "Content-Security-Policy": STRICT})

    page.route("**/*", answer)
    page.goto("http://strict.example/")
    page.locator("tbody tr").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("tbody tr").count() == 300
    assert "20000 parts, the first 300 shown" in page.locator("[role=status]").inner_text()
    assert page.locator("nav").inner_text().count(evil) == 2
    page.keyboard.press("/")
    page.keyboard.type("module_19999")
    page.locator("[role=status]", has_text="1 found").wait_for()
    assert page.evaluate("window.hacked") is None
    assert page.locator(".unibeam-inside .map").evaluate("map => getComputedStyle(map).position") == "relative"
    assert page.locator("img").count() == 0
    assert told == []
    context.close()


def test_what_differs_is_shown_and_a_saved_notebook_keeps_the_text(notebook: Any) -> None:
    book = notebook(SETUP, HELLO, EDITED, "%unibeam explore inside2 --against inside")
    for index in (0, 1, 2):
        book.run(index)
    inside = book.run(3).locator(".unibeam-inside")
    inside.wait_for()
    inside.locator(".area").first.click()
    book.picture("explorer-difference")
    assert inside.locator("tbody tr", has_text="inside").count() == 2
    assert serious(book.page, ".unibeam-inside") == []
    (output,) = [o for o in book.save().cells[3].outputs if "text/html" in o.get("data", {})]
    assert "inside2, release" in output["data"]["text/plain"]
    assert "<summary" in output["data"]["text/html"]
    assert "<script" not in output["data"]["text/html"]
