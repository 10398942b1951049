"""A day in the laboratory: build, boot, stop, measure, come back."""

from __future__ import annotations

import re
import time
import urllib.request
from typing import Any

from axe_playwright_python.sync_playwright import Axe

SETUP = "%load_ext unibeam_nb\n%config UnibeamMagics.on = 'process'\n%config UnibeamMagics.target = 'release'"

HELLO = """%%unibeam build hello --port 8080
-module(hello).
-export([start/0, init/0]).
start() -> proc_lib:start_link(?MODULE, init, []).
init() ->
    {ok, Listen} = gen_tcp:listen(list_to_integer(os:getenv("PORT")), [binary, {active, false}, {reuseaddr, true}]),
    timer:sleep(list_to_integer(os:getenv("PAUSE", "0"))),
    io:format("<b>listening</b>~n"),
    proc_lib:init_ack({ok, self()}),
    accept(Listen).
accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    _ = gen_tcp:recv(Socket, 0, 1000),
    _ = gen_tcp:send(Socket, "HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 5\\r\\n\\r\\nhello"),
    gen_tcp:close(Socket),
    accept(Listen).
"""


def until(holds: Any, seconds: float = 30, what: str = "") -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what or "it did not happen"
        time.sleep(0.1)


def names(server: Any) -> list[str]:
    return [machine.name for machine in server.machines if machine.alive]


def serious(page: Any) -> list[str]:
    """Serious and critical findings of axe-core in what is ours."""
    found = Axe().run(page, context=".jp-OutputArea-output")
    return [f"{v['id']}: {node['html'][:160]}" for v in found.response["violations"]
            if v["impact"] in ("serious", "critical") for node in v["nodes"]]


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


SLOW = """%%unibeam build slow
defmodule Slow do
  :timer.sleep(120_000)
  def start, do: :ok
end
"""


def stopped(book: Any, index: int, ready: Any) -> float:
    """Start a cell, press Stop when ``ready`` holds, and tell how long its end took in seconds."""
    cell = book.start(index)
    stop = cell.locator(".unibeam-face button", has_text="Stop")
    stop.wait_for(timeout=30_000)
    until(lambda: ready(cell))
    asked = time.monotonic()
    stop.click()
    book.finished(index, timeout=20)
    took = time.monotonic() - asked
    assert "Stopped" in cell.inner_text()
    return took


def test_stop_ends_a_build_a_boot_and_an_experiment(notebook: Any, server: Any) -> None:
    mute = HELLO.replace("hello", "mute").replace("    proc_lib:init_ack({ok, self()}),\n", "")
    book = notebook(SETUP, SLOW, mute, "%unibeam boot mute",
                    "%unibeam bench mute --on release@process --against oci+scratch@crun -n 9", "1 + 1")
    book.run(0)
    times = [stopped(book, 1, lambda cell: "Compiling" in cell.inner_text())]
    book.run(2)
    times.append(stopped(book, 3, lambda cell: cell.locator(".bar .quiet", has_text="beam").count() == 1))
    times.append(stopped(book, 4, lambda cell: cell.locator(".bar .quiet", has_text="beam").count() == 1))
    book.picture("stopped")
    assert names(server) == []
    # The page takes its part of these times; how long the work itself takes to stop is in tests/unit/test_job.py.
    assert max(times) < 3, times
    assert book.run(5).locator(".jp-OutputArea-output").inner_text().strip() == "2"


def test_an_experiment_is_described_run_watched_and_leaves_a_figure(notebook: Any, server: Any) -> None:
    book = notebook(SETUP, HELLO, "%unibeam dashboard hello")
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


def test_a_virtual_machine_is_cloned_from_its_snapshot_and_outlives_its_kernel(notebook: Any, server: Any) -> None:
    book = notebook("%load_ext unibeam_nb", HELLO.replace("--port 8080", "--port 8080 --target linux"),
                    "%unibeam boot hello --http / --as guest", "%load_ext unibeam_nb", "%unibeam ps",
                    "%unibeam console guest", "%unibeam stop --all")
    book.run(0)
    book.run(1, timeout=300)
    cell = book.run(2, timeout=300)
    cell.locator("button[aria-label='Clone guest']").click()
    cell.locator(".machine", has_text="guest-2").wait_for(timeout=120_000)
    copy = cell.locator(".machine", has_text="guest-2")
    until(lambda: "resume" in copy.locator(".bar .quiet").all_inner_texts(), 60)
    assert "kernel" in cell.locator(".machine").first.locator(".bar .quiet").all_inner_texts()
    book.picture("cloned")

    book.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    book.wait_until_ready()
    book.run(3)
    listed = book.run(4)
    until(lambda: listed.locator(".machine").count() == 2)
    assert sorted(listed.locator(".machine .title").all_inner_texts()) == ["guest", "guest-2"]
    console = book.run(5)
    console.locator(".unibeam-console").scroll_into_view_if_needed()  # Out of view it draws nothing.
    console.locator(".xterm-rows", has_text="listening").wait_for()
    cell.locator(".message", has_text="Nothing answers any more").wait_for()
    book.picture("restarted")
    book.run(6)
    assert names(server) == []
