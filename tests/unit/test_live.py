"""Progress that appears late, is updated in place and ends in one line; a Ctrl-C that stops."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from unibeam_nb.errors import Cancelled
from unibeam_nb.job import Job
from unibeam_nb.notebook import live
from unibeam_nb.notebook.display import WIDGET_VIEW
from unibeam_nb.notebook.live import TerminalView, View, carry_out
from unibeam_nb.notebook.steps import SHOWN_STEPS, StepLog, steps_html, steps_text
from unibeam_nb.notebook.widgets.work import WorkPanel, WorkView
from unibeam_nb.progress import StepEvent, checkpoint, note, progress, step


@contextmanager
def _steps(*titles: str) -> Iterator[None]:
    with ExitStack() as stack:
        for title in titles:
            stack.enter_context(step(title))
        yield


def work(title: str, view: View, *titles: str, seconds: float = 0.0, then: Callable[[], object] = lambda: None) -> None:
    """Carry out a job that goes down so many steps, does ``then``, and takes so long."""
    def body() -> None:
        with _steps(*titles):
            then()
            time.sleep(seconds)

    carry_out(Job(title, body), view)


class Recorder:
    """A view that keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []

    def show(self, log: StepLog, now: float) -> None:
        self.shown.append((log.outcome, steps_text(log, now)))


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "APPEARS_AFTER", 0.05)
    monkeypatch.setattr(live, "REFRESH", 0.02)


def test_short_work_shows_nothing() -> None:
    view = Recorder()
    work("ps", view, "Looking")
    assert view.shown == []


def test_a_note_of_short_work_is_shown_at_its_end() -> None:
    view = Recorder()
    work("boot hello", view, then=lambda: note("kvm cannot run a guest here, so the accelerator is tcg."))
    (outcome, text), = view.shown
    assert outcome == "done"
    assert "  Note: kvm cannot run a guest here, so the accelerator is tcg." in text


@pytest.mark.usefixtures("_soon")
def test_long_work_shows_its_steps_and_ends_in_one_line() -> None:
    view = Recorder()
    work("build hello", view, "Compiling hello.erl", "Reading", seconds=0.3,
         then=lambda: progress(0.25, "lib/crypto"))
    running = view.shown[0][1]
    assert "  Compiling hello.erl  " in running
    assert ", 25%, lib/crypto" in running
    outcome, last = view.shown[-1]
    assert outcome == "done"
    assert last.startswith("build hello: done in 3")
    assert "\n" not in last


@pytest.mark.usefixtures("_soon")
def test_failed_work_names_the_innermost_step_that_failed() -> None:
    view = Recorder()

    def fail() -> None:
        time.sleep(0.15)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        work("build hello", view, "Building", "Compiling", then=fail)
    assert view.shown[-1][0] == "failed"
    assert view.shown[-1][1].endswith(", in: Compiling")


@pytest.mark.usefixtures("_soon")
def test_a_view_that_breaks_does_not_take_the_work_down() -> None:
    class Broken:
        def show(self, log: StepLog, now: float) -> None:
            raise OSError("the front end is gone")

    work("build", Broken(), seconds=0.15)


class Publisher:
    """Stands in for a kernel's display publisher, which a test process does not have."""

    def __init__(self) -> None:
        self.display_pub = self
        self.published: list[dict[str, Any]] = []

    def publish(self, **message: Any) -> None:
        self.published.append(message)


@pytest.mark.usefixtures("_soon")
def test_a_notebook_gets_one_display_that_is_updated() -> None:
    shell = Publisher()
    compiling = Job("build hello", lambda: [step("<b>Compiling</b>").__enter__(), time.sleep(0.2)])
    carry_out(compiling, WorkView(shell, compiling))
    assert [message["update"] for message in shell.published] == [False, True]
    assert len({message["transient"]["display_id"] for message in shell.published}) == 1
    assert set(shell.published[0]["data"]) == {"text/plain", "text/html", WIDGET_VIEW}
    assert set(shell.published[1]["data"]) == {"text/plain", "text/html"}
    assert "&lt;b&gt;Compiling" in shell.published[0]["data"]["text/html"]
    assert "<details open>" in shell.published[0]["data"]["text/html"]
    assert "<details>" in shell.published[-1]["data"]["text/html"]


@pytest.mark.usefixtures("_soon")
def test_the_panel_of_a_machine_takes_the_place_of_work_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of its widget: a page would hide the place when that is closed."""
    shell, told = Publisher(), []
    gc.collect()  # The panels of other tests are closed when they are collected.
    monkeypatch.setattr(WorkPanel, "close", lambda self: told.append(len(shell.published)))
    monkeypatch.setattr(WorkView, "_made", lambda self: {WIDGET_VIEW: {"model_id": "machine"}})
    booting = Job("boot hello", lambda: time.sleep(0.2))
    carry_out(booting, WorkView(shell, booting, background=True))
    assert [WIDGET_VIEW in message["data"] for message in shell.published] == [True, False, True]
    assert told == [2]
    assert [message["update"] for message in shell.published] == [False, True, True]


@pytest.mark.usefixtures("_soon")
def test_a_log_file_gets_each_step_once() -> None:
    stream = io.StringIO()
    work("build hello", TerminalView(stream), "Compiling", seconds=0.2, then=lambda: note("tcg it is."))
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["Compiling", "Note: tcg it is."]
    assert lines[2].startswith("build hello: done in 2")
    assert len(lines) == 3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("_soon")
def test_a_terminal_gets_one_line_rewritten_without_foreign_escapes() -> None:
    stream = Terminal()
    work("build hello", TerminalView(stream), "Compiling \x1b[31mred", seconds=0.2, then=lambda: note("tcg it is."))
    text = stream.getvalue()
    assert text.count("Note: tcg it is.\n") == 1
    assert text.count("\n") == 2
    assert "\x1b[31m" not in text


def test_a_long_experiment_shows_its_latest_steps_and_those_still_open() -> None:
    log = StepLog("bench", 0.0)
    log.hear(StepEvent("begin", "Measuring", 0, 0.0))
    for i in range(50):
        log.hear(StepEvent("begin", f"boot {i}", 1, float(i)))
        log.hear(StepEvent("end", f"boot {i}", 1, i + 0.5))
    shown = [line.title for line in log.shown()]
    assert shown == ["Measuring", *(f"boot {i}" for i in range(50 - SHOWN_STEPS, 50))]


def test_the_html_of_steps_is_escaped_and_marks_state_by_shape() -> None:
    log = StepLog("<i>", 0.0)
    log.hear(StepEvent("begin", "<script>", 0, 0.0))
    log.hear(StepEvent("progress", "<script>", 0, 0.5, 0.4, "<img src=x>"))
    log.hear(StepEvent("note", "<u>", 1, 0.5))
    html = steps_html(log, 1.0)
    assert "…" in html
    assert 'value="0.400"' in html
    log.hear(StepEvent("failed", "<script>", 0, 1.0))
    log.finish(1.0, "failed")
    html += steps_html(log, 1.0)
    assert "✗" in html
    assert not any(tag in html for tag in ("<script", "<img", "<u>", "<i>"))


def run_interrupted(body: str, signals: int = 1) -> tuple[str, float]:
    """Carry out ``body`` in a process of its own that sends itself SIGINT; what it printed."""
    script = textwrap.dedent(f"""
        import os, signal, sys, threading, time
        from unibeam_nb.errors import Cancelled
        from unibeam_nb.job import Job
        from unibeam_nb.notebook.live import TerminalView, carry_out
        from unibeam_nb.progress import checkpoint, step

        def press():
            for _ in range({signals}):
                time.sleep(0.3)
                os.kill(os.getpid(), signal.SIGINT)

        cleaned = False

        def work():
            global cleaned
            with step("Working"):
                {body}

        threading.Thread(target=press, daemon=True).start()
        try:
            carry_out(Job("work", work), TerminalView())
        except Cancelled as error:
            print("Cancelled:", error, "cleaned" if cleaned else "")
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    """)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, time.monotonic() - began


def test_ctrl_c_stops_work_at_its_next_checkpoint() -> None:
    out, took = run_interrupted("""
                while True:
                    time.sleep(0.01); checkpoint()""")
    assert out == "Cancelled: Stopped. \nTrue\n"
    assert took < 5


def test_cleaning_up_after_a_stop_is_not_interrupted() -> None:
    out, took = run_interrupted("""
                try:
                    while True:
                        time.sleep(0.01); checkpoint()
                finally:
                    time.sleep(2.5); cleaned = True""")
    assert out == "Cancelled: Stopped. cleaned\nTrue\n"
    assert took > 2.5


def test_work_that_never_looks_is_interrupted_where_it_stands() -> None:
    out, took = run_interrupted("""
                try:
                    while True:
                        time.sleep(0.01)
                finally:
                    cleaned = True""")
    assert out == "Cancelled: Stopped. cleaned\nTrue\n"
    assert took < 10


def test_work_that_cannot_be_interrupted_is_not_waited_for() -> None:
    out, took = run_interrupted("time.sleep(40)")
    assert out == "Cancelled: Stopped. \nTrue\n"
    assert took < 20


def test_after_a_second_ctrl_c_cleaning_up_is_not_waited_for() -> None:
    out, took = run_interrupted("""
                try:
                    while True:
                        time.sleep(0.01); checkpoint()
                finally:
                    time.sleep(30); cleaned = True""", signals=2)
    assert out == "Cancelled: Stopped. \nTrue\n"
    assert took < 20


def test_cancelled_work_is_told_as_stopped() -> None:
    view = Recorder()

    def stop() -> None:
        note("something")
        raise Cancelled

    with pytest.raises(Cancelled):
        work("build", view, then=stop)
    assert view.shown[-1][0] == "stopped"
    assert view.shown[-1][1].startswith("build: stopped after ")


def test_outside_work_a_checkpoint_passes() -> None:
    checkpoint()
