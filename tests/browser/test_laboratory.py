"""A day in the laboratory: build, boot, stop, measure, come back."""

from __future__ import annotations

import re
import urllib.request
from typing import Any

from tests.browser.conftest import HELLO, READY, SETUP, STOPPABLE, serious, until


def names(server: Any) -> list[str]:
    return [machine.name for machine in server.machines if machine.alive]


def test_machines_are_booted_watched_cloned_stopped_and_found_again(notebook: Any, server: Any) -> None:
    book = notebook(SETUP, HELLO, "machine = %unibeam boot hello --http /", "%unibeam ps", "%unibeam console hello",
                    "machine.name, machine.alive", "job = %unibeam boot hello --as second --no-wait --env PAUSE=2000",
                    "(await job).name")
    for index in (0, 1, 2):
        book.run(index)
    panel = book.cell(2).locator(".unibeam-face .machine")
    panel.wait_for()
    assert panel.locator(".title").inner_text() == "hello"
    assert re.search(r"running, process \d+", panel.inner_text())
    assert {"beam", "app", "http"} <= set(panel.locator(".bar .quiet").all_inner_texts())
    link = panel.locator("a")
    assert urllib.request.urlopen(link.get_attribute("href"), timeout=10).read() == b"hello"

    listed = book.run(3)
    listed.locator("button", has_text="Clone").click()
    until(lambda: names(server) == ["hello", "hello-2"], what="no clone")
    until(lambda: listed.locator(".machine").count() == 2)
    book.run(4).locator(".unibeam-console").wait_for()
    book.picture("machines")
    assert serious(book.page) == []

    listed.locator("button[aria-label='Stop hello-2']").click()
    until(lambda: names(server) == ["hello"], what="hello-2 was not stopped")
    listed.locator("button[aria-label='Resume hello-2']").wait_for()
    # Slow enough for its work to be shown before its machine.
    book.run(6)
    assert "'second'" in book.run(7).locator(".jp-OutputArea-output").last.inner_text()
    book.cell(6).locator(".machine", has_text="second").wait_for()

    saved = book.save()
    html = [output["data"]["text/html"] for output in saved.cells[2].outputs if "text/html" in output.get("data", {})]
    assert any("Machine hello" in text and "&lt;b&gt;listening" in text for text in html)

    # The page is closed and opened again: the kernel lives, and so do the machines and what showed them.
    book.page.reload()
    book.wait_until_ready()
    again = book.cell(2).locator(".unibeam-face .machine")
    again.wait_for(timeout=60_000)
    assert "running" in again.inner_text()
    book.cell(4).locator(".xterm-rows", has_text="listening").wait_for(timeout=60_000)
    book.picture("reloaded")


COUNTER = """%%unibeam build counter
-module(counter).
-export([start/0, init/1, handle_call/3, handle_cast/2]).
start() -> gen_server:start_link({local, counter}, ?MODULE, 0, []).
init(N) -> {ok, N}.
handle_call(next, _From, N) -> {reply, N + 1, N + 1}.
handle_cast(_Message, N) -> {noreply, N}.
"""


def test_a_machine_is_talked_to_changed_and_looked_into(notebook: Any, server: Any) -> None:
    later = COUNTER.replace("build counter", "reload counter").replace("{reply, N + 1, N + 1}", "{reply, {new, N}, N}")
    book = notebook(SETUP, COUNTER, "machine = %unibeam boot counter --channel",
                    "%%unibeam eval counter\nio:format(\"<i>said~n\"), gen_server:call(counter, next).", later,
                    "answer = %unibeam eval counter 'gen_server:call(counter, next).'\nanswer.value",
                    "%%unibeam eval counter\n1 / 0.", "%unibeam top counter", "machine.stop()")
    for index in range(3):
        book.run(index)
    said = book.run(3).locator(".jp-OutputArea-output").last
    assert said.inner_text().split() == ["printed", "<i>said", "value", "1"]
    assert "no process runs old code" in book.run(4).inner_text()
    assert "('new', 1)" in book.run(5).locator(".jp-OutputArea-output").last.inner_text()
    assert "badarith" in book.run(6).inner_text()

    panel = book.run(7).locator(".unibeam-face")
    panel.locator("tbody tr").first.wait_for()
    panel.scroll_into_view_if_needed()
    first = panel.inner_text()
    until(lambda: panel.inner_text() != first, what="it does not stay fresh")
    panel.get_by_label("ordered by").select_option("reductions")
    panel.locator("caption", has_text="By reductions").wait_for()
    book.picture("top")
    assert serious(book.page) == []
    book.run(8)
    panel.scroll_into_view_if_needed()
    panel.locator(".message", has_text="This is how it last was.").first.wait_for()


def test_stop_ends_a_build_a_boot_and_an_experiment(notebook: Any, server: Any) -> None:
    book = notebook(SETUP, *STOPPABLE, "1 + 1")
    book.run(0)
    # Each would go on for two minutes. How long a stop takes is measured by scripts/face.py.
    for index, ready in enumerate(READY, 1):
        if ready is None:
            book.run(index)
        else:
            book.stopped(index, ready)
            assert "Stopped" in book.cell(index).inner_text()
    book.picture("stopped")
    assert names(server) == []
    assert book.run(5).locator(".jp-OutputArea-output").inner_text().strip() == "2"


def test_an_experiment_is_described_run_watched_and_leaves_a_figure(notebook: Any, server: Any) -> None:
    book = notebook(SETUP, HELLO, "%unibeam dashboard hello", "%load_ext unibeam_nb", "%unibeam chart boot")
    book.run(0)
    book.run(1)
    cell = book.run(2)
    board = cell.locator(".unibeam-face")
    board.wait_for()
    board.locator("input[value='oci+scratch@crun']").uncheck()
    board.locator("input[type=number]").first.fill("4")
    until(lambda: "blocks = 4" in board.locator("pre").inner_text())
    assert 'arms = [\n    "release@process",\n]' in board.locator("pre").inner_text()
    assert serious(book.page) == []
    book.picture("dashboard-form")
    board.locator("button", has_text="Start").click()
    board.locator("svg circle").first.wait_for(timeout=60_000)
    first = board.locator("svg circle").count()
    book.picture("dashboard-running")
    figure = cell.locator("img[alt]")
    until(lambda: figure.count() > 0 or board.locator("svg circle").count() > first, 60, "the chart does not move")
    figure.first.wait_for(timeout=90_000)
    assert cell.locator(".unibeam-face").count() == 0
    book.picture("dashboard-done")
    saved = book.save()
    data = saved.cells[2].outputs[-1]["data"]
    assert "application/vnd.jupyter.widget-view+json" not in data
    assert "image/png" in data
    assert "release@process" in data["text/html"]

    # A new kernel finds the experiment.
    book.restart()
    book.run(3)
    book.run(4).locator("img").first.wait_for()
    found = book.save().cells[4].outputs[-1]["data"]["text/plain"]
    assert found == data["text/plain"].split("\n\n")[0]


def test_a_virtual_machine_is_cloned_from_its_snapshot_and_outlives_its_kernel(notebook: Any, server: Any) -> None:
    book = notebook("%load_ext unibeam_nb", HELLO.replace("--port 8080", "--port 8080 --target linux"),
                    "%unibeam boot hello --http / --as guest", "%load_ext unibeam_nb", "%unibeam ps",
                    "%unibeam console guest", "%unibeam stop --all", "%unibeam console guest")
    book.run(0)
    book.run(1, timeout=300)
    cell = book.run(2, timeout=300)
    before = book.run(7)
    cell.locator("button[aria-label='Clone guest']").click()
    cell.locator(".machine", has_text="guest-2").wait_for(timeout=120_000)
    copy = cell.locator(".machine", has_text="guest-2")
    until(lambda: "resume" in copy.locator(".bar .quiet").all_inner_texts(), 60)
    assert "kernel" in cell.locator(".machine").first.locator(".bar .quiet").all_inner_texts()
    book.picture("cloned")

    book.restart()
    book.run(3)
    listed = book.run(4)
    until(lambda: listed.locator(".machine").count() == 2)
    assert sorted(listed.locator(".machine .title").all_inner_texts()) == ["guest", "guest-2"]
    console = book.run(5)
    console.locator(".unibeam-console").scroll_into_view_if_needed()  # Out of view it draws nothing.
    console.locator(".xterm-rows", has_text="listening").wait_for()
    cell.locator(".message", has_text="Nothing answers any more").wait_for()
    before.locator(".state", has_text="nothing answers; if the kernel is not busy, run the cell again").wait_for()
    book.picture("restarted")
    book.run(6)
    assert names(server) == []
