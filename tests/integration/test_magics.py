"""The magic in a real Jupyter kernel, with the real compilers, machines and signals."""

from __future__ import annotations

import os
import queue
import shutil
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbconvert
import nbformat
import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import unibeam_nb
from unibeam_nb.arms import RUNNERS_OF
from unibeam_nb.machine import machines
from unibeam_nb.store import Store

SERVER = """\
-module(greeter).
-export([start/0, init/0]).
start() -> proc_lib:start_link(?MODULE, init, []).
init() ->
    Port = list_to_integer(os:getenv("PORT", "8080")),
    {ok, Listen} = gen_tcp:listen(Port, [binary, {active, false}, {reuseaddr, true}]),
    io:format("<b>listening</b> on ~p~n", [Port]),
    proc_lib:init_ack({ok, self()}),
    accept(Listen).
accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    {ok, _} = gen_tcp:recv(Socket, 0),
    ok = gen_tcp:send(Socket, "HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 5\\r\\n\\r\\nhello"),
    gen_tcp:close(Socket),
    accept(Listen).
"""


@pytest.fixture
def home(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A UNIBEAM_HOME of this test's own over the cache that all tests share."""
    path = tmp_path / "home"
    path.mkdir()
    store.cache.mkdir(parents=True, exist_ok=True)
    (path / "cache").symlink_to(store.cache)
    monkeypatch.setenv("UNIBEAM_HOME", str(path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return path


@dataclass
class Outcome:
    """What one cell did: the reply's content, and every output as (kind, content)."""

    reply: dict[str, Any]
    outputs: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def error(self) -> list[str]:
        """What the front end shows of the error, without colours."""
        return next(content["traceback"] for kind, content in self.outputs if kind == "error")

    def shown(self, form: str = "text/plain") -> str:
        return next(str(content["data"][form]) for kind, content in self.outputs if kind == "execute_result")


class Kernel:
    """A real kernel that a test types cells into."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client

    def start(self, cell: str) -> str:
        return str(self.client.execute(cell))

    def run(self, cell: str, timeout: float = 240) -> Outcome:
        return self.finish(self.start(cell), timeout)

    def finish(self, message: str, timeout: float = 240) -> Outcome:
        outcome, deadline = Outcome({}), time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                got = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if got["parent_header"].get("msg_id") != message:
                continue
            kind, content = got["msg_type"], got["content"]
            if kind == "status" and content["execution_state"] == "idle":
                # On a busy host an answer to an earlier request, of wait_for_ready, may still be in the queue.
                while (reply := self.client.get_shell_msg(timeout=10))["parent_header"].get("msg_id") != message:
                    pass
                outcome.reply = reply["content"]
                return outcome
            outcome.outputs.append((kind, content))
        raise TimeoutError(f"The cell did not end within {timeout} s.")


@pytest.fixture
def kernel(home: Path, tmp_path: Path) -> Iterator[Kernel]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        started = Kernel(manager, client)
        assert started.run("%load_ext unibeam_nb").reply["status"] == "ok"
        yield started
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.context.destroy()


def is_running(pid: int) -> bool:
    """Whether the process still does anything; where nobody reaps orphans, a dead one stays as a zombie."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def notebook(*cells: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])


def test_a_mistake_fails_a_headless_notebook_and_shows_its_sentence_only(home: Path, tmp_path: Path) -> None:
    book = notebook("%load_ext unibeam_nb", "%unibeam biuld hello", "print('not reached')")
    with pytest.raises(CellExecutionError):
        NotebookClient(book, timeout=120, kernel_name="python3",
                       resources={"metadata": {"path": str(tmp_path)}}).execute()
    (output,) = book.cells[1].outputs
    assert output.ename == "UsageError"
    assert output.traceback == ["UsageError: 'biuld' is not a command.", "  Hint: Did you mean build?"]
    assert book.cells[2].outputs == []


@pytest.mark.parametrize(("cell", "line"), [
    ("%%unibeam build broken\n-module(broken).\n-export([start/0]).\nstart() ->\n    missing(1).\n", 5),
    ("\n\n%%unibeam build broken\n-module(broken).\n-export([start/0]).\nstart() ->\n    missing(1).\n", 7),
    ("%%unibeam build broken\ndefmodule Broken do\n  def start do\n    missing(1)\n  end\nend\n", 4),
])
def test_a_compile_error_names_the_line_that_the_editor_shows(kernel: Kernel, cell: str, line: int) -> None:
    outcome = kernel.run(cell)
    assert outcome.reply["status"] == "error"
    assert outcome.reply["ename"] == "CompileError"
    assert any(f":{line}:" in text or f":{line} " in text for text in outcome.error), outcome.error
    assert not any("Traceback" in text or "File " in text for text in outcome.error)
    assert cell.split("\n")[line - 1].strip() == "missing(1)" + ("." if "-module" in cell else "")


def test_a_plan_that_is_not_toml_names_the_line_that_the_editor_shows(kernel: Kernel) -> None:
    outcome = kernel.run("%%unibeam bench\nblocks = 3\narms = [\"linux@qemu\"\nseed = 1\n")
    assert outcome.reply["ename"] == "UsageError"
    assert outcome.error[0].startswith("UsageError: Line 4: the plan is not valid TOML")


def test_long_work_shows_one_display_that_ends_as_a_line(kernel: Kernel) -> None:
    outcome = kernel.run("%unibeam doctor")
    displays = [(kind, content) for kind, content in outcome.outputs if "display" in kind]
    ids = {content["transient"]["display_id"] for _, content in displays}
    assert len(ids) <= 1
    if displays:  # on a fast host the doctor needs less than a second, and then shows nothing
        assert displays[0][0] == "display_data"
        assert {kind for kind, _ in displays[1:]} == {"update_display_data"}
        assert displays[-1][1]["data"]["text/plain"].startswith("doctor: done in ")
    assert "scope=\"col\"" in outcome.shown("text/html")
    assert "Erlang cells" in outcome.shown()


WAITS = """
from unibeam_nb.job import Job
from unibeam_nb.notebook.live import carry_out
from unibeam_nb.notebook.widgets.work import WorkView
from unibeam_nb.progress import checkpoint, step
import time

def wait():
    with step("Waiting for ever"):
        while True:
            time.sleep(0.05)
            checkpoint()

job = Job("waiting", wait)
carry_out(job, WorkView(get_ipython(), job))
"""


def test_interrupting_the_kernel_stops_the_work_in_one_sentence(kernel: Kernel) -> None:
    message = kernel.start(WAITS)
    time.sleep(2.5)
    kernel.manager.interrupt_kernel()
    outcome = kernel.finish(message, timeout=20)
    assert outcome.reply["status"] == "error"
    assert outcome.error == ["Cancelled: Stopped."]
    last = [content["data"]["text/plain"] for kind, content in outcome.outputs if kind == "update_display_data"][-1]
    assert last.startswith("waiting: stopped after ")
    assert kernel.run("1 + 1").shown() == "2"


def test_the_kernels_completer_knows_the_magic(kernel: Kernel) -> None:
    text = "x = %unibeam boot --on oci+sl"
    reply = kernel.client.complete(text, len(text), reply=True, timeout=30)["content"]
    completed = [text[:reply["cursor_start"]] + match + text[reply["cursor_end"]:] for match in reply["matches"]]
    assert completed == [f"x = %unibeam boot --on oci+slim@{runner}" for runner in RUNNERS_OF["oci"]]


def test_the_kernel_shows_help_for_a_question_mark(kernel: Kernel) -> None:
    outcome = kernel.run("%unibeam?")
    assert "Usage: %unibeam COMMAND [options]" in outcome.reply["payload"][0]["data"]["text/plain"]


def test_a_cell_becomes_a_machine_that_outlives_an_interrupt_and_the_kernel(kernel: Kernel, home: Path) -> None:
    configured = kernel.run("%config UnibeamMagics.on = 'process'\n%config UnibeamMagics.target = 'release'")
    assert configured.reply["status"] == "ok"
    outcome = kernel.run(f"%%unibeam build greeter --port 8080\n{SERVER}")
    assert outcome.reply["status"] == "ok", outcome.reply
    assert outcome.shown().startswith("Built greeter")
    assert kernel.run("%load_ext autoreload\n%autoreload 2").reply["status"] == "ok"
    outcome = kernel.run("machine = %unibeam boot greeter --http /\nmachine")
    assert outcome.reply["status"] == "ok", outcome.reply
    html = outcome.shown("text/html")
    # A widget, HTML and text hold the same; what has no widgets, as nbconvert has none without a page, takes the HTML.
    assert "model_id" in outcome.shown("application/vnd.jupyter.widget-view+json")
    assert outcome.shown().startswith("Machine greeter")
    (output,) = [content for kind, content in outcome.outputs if kind == "execute_result"]
    book = notebook("machine")
    book.cells[0].outputs = [nbformat.v4.new_output("execute_result", data=output["data"], execution_count=1)]
    page, _ = nbconvert.HTMLExporter().from_notebook_node(book)
    assert "Machine greeter" in page
    assert "&lt;b&gt;listening&lt;/b&gt;" in page
    assert "&lt;b&gt;listening&lt;/b&gt;" in html
    assert "<b>listening" not in html

    message = kernel.start(WAITS)
    time.sleep(1.0)
    kernel.manager.interrupt_kernel()
    kernel.finish(message, timeout=20)
    kernel.manager.shutdown_kernel(now=True)

    found = machines(Store(home / "cache", home / "state"))
    try:
        assert [(m.name, m.alive) for m in found] == [("greeter", True)]
        assert urllib.request.urlopen(found[0].url or "", timeout=10).read() == b"hello"
    finally:
        for machine in found:
            machine.stop()
    assert not any(is_running(m.pid) for m in found if m.pid)
    assert machines(Store(home / "cache", home / "state")) == []


def edit(path: Path, old: str, new: str) -> None:
    """Save a source file with a change, at a time that nobody who looks at times can take for the one before."""
    text, before = path.read_text(), path.stat().st_mtime
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    os.utime(path, (before + 10, before + 10))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of unibeam_nb, which a kernel imports instead of the installed one."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    copied = tmp_path / "unibeam_nb"
    shutil.copytree(Path(unibeam_nb.__file__).parent, copied, ignore=shutil.ignore_patterns("__pycache__"))
    return copied


def test_modules_that_are_edited_under_autoreload_leave_the_magic_what_it_was(
        own: Path, kernel: Kernel, tmp_path: Path) -> None:
    """A user's module and one of ours are edited, and all others of ours are saved again as they are."""
    assert kernel.run("import unibeam_nb; unibeam_nb.__file__").shown() == repr(str(own / "__init__.py"))
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "prices.py").write_text("from unibeam_nb.errors import UsageError\n\ndef price():\n    return 3\n")
    assert kernel.run("%load_ext autoreload\n%autoreload 2").reply["status"] == "ok"
    assert kernel.run("from shop.prices import price; price()").shown() == "3"
    first = kernel.run(f"%%unibeam build greeter --port 8080 --target release\n{SERVER}")
    assert first.shown().startswith("Built greeter")
    kernel.run("%config UnibeamMagics.deadline = 77.0")

    edit(package / "prices.py", "return 3", "return 41")
    assert kernel.run("price()").shown() == "41"
    edit(own / "notebook" / "parser.py", "is not a command.", "is no command at all.")
    for path in own.rglob("*.py"):
        os.utime(path, (path.stat().st_mtime + 10,) * 2)

    wrong = kernel.run("%unibeam biuld greeter")
    assert wrong.error == ["UsageError: 'biuld' is no command at all.", "  Hint: Did you mean build?"]
    assert [content for kind, content in wrong.outputs if kind == "stream"] == []  # Where a module fails to load again.
    kernel.run("%config UnibeamMagics.on = 'process'\n%config UnibeamMagics.target = 'release'\n"
               "%config UnibeamMagics.accel = 'kvmm'")
    settings = "m = get_ipython().magics_manager.registry['UnibeamMagics']; (m.deadline, m.on, m.target, m.accel)"
    assert kernel.run(settings).shown() == "(77.0, 'process', 'release', 'auto')"
    again = kernel.run(f"%%unibeam build greeter --port 8080\n{SERVER}")
    assert again.reply["status"] == "ok", again.error
    assert again.shown("text/html").startswith("<")
    assert again.shown().startswith("Built greeter")
    broken = kernel.run("%%unibeam build broken\n-module(broken).\n-export([start/0]).\nstart() ->\n    missing(1).\n")
    assert broken.reply["ename"] == "CompileError"
    assert not any("Traceback" in text or "File " in text for text in broken.error)
    try:
        booted = kernel.run("machine = %unibeam boot greeter --http /\nmachine")
        assert booted.reply["status"] == "ok", booted.error
        assert booted.shown().startswith("Machine greeter")
        assert "greeter" in kernel.run("%unibeam ps").shown()
    finally:
        stopped = kernel.run("%unibeam clean")
    assert stopped.reply["status"] == "ok", stopped.error
