"""A real JupyterLab in a real browser: Debian's Chromium, steered by Playwright.

Screenshots of every test are kept under ``out/browser/``.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from unibeam_nb.machine import machines
from unibeam_nb.store import Store

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "out" / "browser"

QUIET = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
         "docmanager-extension/plugin": {"autosave": False},
         "notebook-extension/tracker": {"windowingMode": "none"}}
"""Settings of JupyterLab: nothing asks, nothing fetches from the network, all cells are in the page."""


NOTEBOOKS_OWN = "Cannot read properties of undefined (reading 'schema')"
"""What Notebook 7.6 says in an empty notebook as well."""


PATIENT = "const wait = AbortSignal.timeout.bind(AbortSignal); AbortSignal.timeout = (ms) => wait(10 * ms);"
"""anywidget gives up a widget whose module has not been read within two seconds. Here one host does all the work."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running JupyterLab, or Notebook, over a directory of its own."""

    def __init__(self, directory: Path, store: Store, program: str = "lab") -> None:
        self.program = program
        self.directory, self.home = directory / "work", directory / "home"
        for path in (self.directory, self.home):
            path.mkdir(parents=True)
        store.cache.mkdir(parents=True, exist_ok=True)
        (self.home / "cache").symlink_to(store.cache)
        settings = directory / "settings"
        for name, values in QUIET.items():
            path = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        self.port, self.token = free_port(), secrets.token_hex(16)
        self.log = directory / "jupyter.log"
        environment = os.environ | {
            "UNIBEAM_HOME": str(self.home), "JUPYTERLAB_SETTINGS_DIR": str(settings), "PYTHONPATH": str(ROOT),
            "JUPYTERLAB_WORKSPACES_DIR": str(directory / "workspaces"), "IPYTHONDIR": str(directory / "ipython"),
            "JUPYTER_CONFIG_DIR": str(directory / "config"), "JUPYTER_RUNTIME_DIR": str(directory / "runtime"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        exposed = "LabApp" if program == "lab" else "JupyterNotebookApp"
        words = [sys.executable, "-m", "jupyter", program, "--no-browser", "--ip=127.0.0.1", f"--port={self.port}",
                 f"--IdentityProvider.token={self.token}", "--allow-root", f"--ServerApp.root_dir={self.directory}",
                 f"--{exposed}.expose_app_in_browser=True", "--LabApp.news_url=", "--ServerApp.port_retries=0"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, env=environment, cwd=self.directory)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api?token={self.token}", timeout=2).close()
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"Jupyter did not start:\n{self.log.read_text()[-3000:]}")

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}?token={self.token}"

    @property
    def machines(self) -> list[Any]:
        return machines(Store(self.home / "cache", self.home / "state"))

    def stop(self) -> None:
        for machine in self.machines:
            machine.stop()
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, store: Store, request: pytest.FixtureRequest) -> Iterator[Server]:
    """JupyterLab, or what a file of tests names as its ``PROGRAM``."""
    running = Server(tmp_path_factory.mktemp("lab"), store, getattr(request.module, "PROGRAM", "lab"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        pytest.skip("no chromium here: make browser installs it where apt has it")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


class Notebook:
    """One notebook open in JupyterLab."""

    def __init__(self, page: Page, server: Server, name: str) -> None:
        self.page, self.server, self.name = page, server, name
        self.errors: list[str] = []
        page.on("pageerror", lambda error: None if str(error) == NOTEBOOKS_OWN else self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if "[anywidget]" in message.text else None)

    def open(self) -> Notebook:
        # In JupyterLab no notebook of another test stays open.
        lab = self.server.program == "lab"
        self.page.goto(self.server.url(f"lab/tree/{self.name}") + "&reset" if lab else
                       self.server.url(f"notebooks/{self.name}"))
        return self.wait_until_ready()

    def wait_until_ready(self) -> Notebook:
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        # A kernel that is ready says so in the notebook's toolbar.
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
            timeout=90_000)
        return self

    def cell(self, index: int) -> Any:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def start(self, index: int) -> Any:
        """Run a cell and return it at once."""
        self.page.evaluate("""index => {
            const book = window.jupyterapp.shell.currentWidget.content;
            book.activeCellIndex = index;
            book.deselectAll();
            window.jupyterapp.commands.execute('notebook:run-cell');
        }""", index)
        return self.cell(index)

    def finished(self, index: int, timeout: float = 120) -> Any:
        """Wait for a cell's end and return it."""
        self.page.wait_for_function("""index => {
            const cell = window.jupyterapp.shell.currentWidget.content.widgets[index];
            return cell.model.executionState === 'idle' && cell.model.executionCount !== null;
        }""", arg=index, timeout=timeout * 1000)
        return self.cell(index)

    def run(self, index: int, timeout: float = 120) -> Any:
        self.start(index)
        return self.finished(index, timeout)

    def stopped(self, index: int, ready: Any) -> float:
        """Start a cell, press Stop when ``ready`` holds, and wait for its end; seconds between the two."""
        cell = self.start(index)
        stop = cell.locator(".unibeam-face button", has_text="Stop")
        stop.wait_for(timeout=30_000)
        until(lambda: ready(cell))
        asked = time.monotonic()
        stop.click()
        self.finished(index, timeout=30)
        return time.monotonic() - asked

    def restart(self) -> None:
        """Have a new kernel."""
        self.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
        self.wait_until_ready()

    def save(self) -> nbformat.NotebookNode:
        self.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        time.sleep(0.5)
        return nbformat.read(self.server.directory / self.name, as_version=4)

    def picture(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


def until(holds: Any, seconds: float = 30, what: str = "") -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what or "it did not happen"
        time.sleep(0.05)


def serious(page: Page, within: str = ".jp-OutputArea-output") -> list[str]:
    """Serious and critical findings of axe-core in what is ours."""
    found = Axe().run(page, context=within)
    return [f"{v['id']}: {node['html'][:160]}" for v in found.response["violations"]
            if v["impact"] in ("serious", "critical") for node in v["nodes"]]


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

SLOW = """%%unibeam build slow
defmodule Slow do
  :timer.sleep(120_000)
  def start, do: :ok
end
"""

MUTE = HELLO.replace("hello", "mute").replace("    proc_lib:init_ack({ok, self()}),\n", "")

STOPPABLE = (SLOW, MUTE, "%unibeam boot mute",
             "%unibeam bench mute --on release@process --against oci+scratch@crun -n 9")
"""A build, one more that comes to its end, a boot and an experiment."""


def _compiling(cell: Any) -> bool:
    return "Compiling" in cell.inner_text()


def _up(cell: Any) -> bool:
    return bool(cell.locator(".bar .quiet", has_text="beam").count())


READY = (_compiling, None, _up, _up)
"""When each of those is well under way; None for what is not to be stopped."""


FLOOD = """%%unibeam build flood
-module(flood).
-export([start/0, go/1, go/2]).
start() -> {ok, spawn_link(fun() -> receive never -> ok end end)}.
go(Megabytes) -> go(Megabytes, 1000000).
go(Megabytes, PerSecond) ->
    Began = erlang:monotonic_time(millisecond),
    Line = [binary:copy(<<"0123456789">>, 7), " \\e[32mgreen\\e[0m\\n"],
    Block = iolist_to_binary(lists:duplicate(800, Line)),
    [begin
         timer:sleep(max(0, Began + N * byte_size(Block) div (1000 * PerSecond) - erlang:monotonic_time(millisecond))),
         io:put_chars(Block)
     end || N <- lists:seq(1, Megabytes * 1000000 div byte_size(Block))],
    io:put_chars("the end of the flood\\n").
"""
"""A program that prints so many MB as fast as it can when its shell is told ``flood:go(20).``, and at so many MB a
second after ``flood:go(100, 5).``"""

FRAMES = """() => {
    window.gaps = []; let last = performance.now();
    const frame = () => { const now = performance.now(); window.gaps.push(now - last); last = now;
                          window.counting = requestAnimationFrame(frame); };
    window.counting = requestAnimationFrame(frame);
}"""


@dataclass(frozen=True)
class Flooded:
    """What became of a flood: bytes the machine wrote, the page received, and the page was told it had missed, the
    most that the page was behind, seconds until the machine and the page were through, the longest time in seconds
    between two frames of the page, and the status line."""

    written: int
    received: int
    missed: int
    behind: int
    printed_s: float
    seconds: float
    longest_gap: float
    status: str


def flood(book: Notebook, machine: Any, cell: Any, megabytes: int, per_second: int | None = None) -> Flooded:
    """Let ``machine`` print while its console is shown in ``cell``, until the page has it all: as fast as it can, or
    ``per_second`` MB."""
    root = cell.locator(".unibeam-console")
    root.wait_for()
    book.page.evaluate(FRAMES)
    began = time.monotonic()
    machine.write(f"flood:go({megabytes})." if per_second is None else f"flood:go({megabytes}, {per_second}).")
    behind, printed, before = 0, 0.0, machine.console.path.stat().st_size

    def told(what: str) -> int:
        return int(root.get_attribute(f"data-{what}") or 0)

    while not printed or told("received") + told("lost") < machine.console.path.stat().st_size:
        assert time.monotonic() < began + 180, f"the page has {told('received')} bytes, and lost {told('lost')}"
        size = machine.console.path.stat().st_size
        behind = max(behind, size - told("received") - told("lost"))
        # An earlier flood ended with the same words.
        if not printed and size > before + megabytes * 900_000 and \
                b"the end of the flood" in machine.console.raw()[-200:]:
            printed = time.monotonic() - began
        time.sleep(0.1)
    took = time.monotonic() - began
    gap = book.page.evaluate("() => { cancelAnimationFrame(window.counting); return Math.max(...window.gaps) / 1000; }")
    return Flooded(machine.console.path.stat().st_size, told("received"), told("lost"), behind, printed, took, gap,
                   root.locator(".state").inner_text())


@pytest.fixture
def notebook(browser: Browser, server: Server, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes a notebook of cells and opens it; a last screenshot is kept whatever happens."""
    context = browser.new_context(viewport={"width": 1300, "height": 1400})
    context.add_init_script(PATIENT)
    made: list[Notebook] = []

    def make(*cells: str) -> Notebook:
        name = f"{request.node.name}.ipynb"
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
                                        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
        nbformat.write(book, server.directory / name)
        made.append(Notebook(context.new_page(), server, name).open())
        return made[-1]

    yield make
    for machine in server.machines:
        machine.stop()
    for book in made:
        book.picture(request.node.name)
        assert book.errors == []
    context.close()
