"""Carrying out long work in the foreground: a display that appears after a second, and a Ctrl-C that stops.

:func:`working` is used by the magic and the shell alike; they differ in the :class:`View` they show it with.
"""

from __future__ import annotations

import contextlib
import contextvars
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol, TextIO

from unibeam_nb.errors import Cancelled
from unibeam_nb.notebook.sheet import printable
from unibeam_nb.notebook.steps import StepLog, steps_html, steps_text
from unibeam_nb.progress import StepEvent, listening

APPEARS_AFTER = 1.0
"""Seconds of work before anything is shown."""

REFRESH = 0.5
"""Seconds between two updates of the display."""

PATIENCE = 1.5
"""Seconds a stop may go unnoticed by the work before it is interrupted where it stands."""


class View(Protocol):
    """Where progress is shown."""

    def show(self, log: StepLog, now: float) -> None:
        """Show the log as it is; called again and again, lastly with ``log.outcome`` set."""


class NotebookView:
    """One display of a notebook that is updated in place."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._id = uuid.uuid4().hex
        self._shown = False

    def show(self, log: StepLog, now: float) -> None:
        data = {"text/plain": steps_text(log, now), "text/html": steps_html(log, now)}
        self._shell.display_pub.publish(data=data, metadata={}, transient={"display_id": self._id}, update=self._shown)
        self._shown = True


class TerminalView:
    """One line of a terminal that is rewritten; plain lines where the stream is no terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._said: set[tuple[str, float]] = set()
        self._noted = 0

    def show(self, log: StepLog, now: float) -> None:
        if self._live:
            width = max(shutil.get_terminal_size().columns - 1, 20)
            self._stream.write("\r\x1b[K")
            self._say_notes(log)
            self._stream.write(printable(log.summary(now))[:width] + ("\n" if log.outcome else ""))
        else:
            for line in log.lines:
                if (line.title, line.began) not in self._said:
                    self._said.add((line.title, line.began))
                    self._stream.write(f"{'  ' * line.depth}{printable(line.title)}\n")
            self._say_notes(log)
            if log.outcome:
                self._stream.write(printable(log.summary(now)) + "\n")
        self._stream.flush()

    def _say_notes(self, log: StepLog) -> None:
        for note in log.notes[self._noted:]:
            self._stream.write(f"Note: {printable(note)}\n")
        self._noted = len(log.notes)


class _Ticker:
    """Shows a log from a thread of its own once the work has taken a while; never two shows at a time."""

    def __init__(self, log: StepLog, view: View) -> None:
        self.log, self._view = log, view
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._shown = False
        # Under ipykernel the context says which cell the output belongs to.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="unibeam-progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def hear(self, event: StepEvent) -> None:
        with self._lock:
            self.log.hear(event)

    def _run(self) -> None:
        wait = APPEARS_AFTER
        while not self._over.wait(wait):
            wait = REFRESH
            with self._lock:
                self._show()

    def _show(self) -> None:
        self._shown = True
        # A front end that is gone must not take the work down with it.
        with contextlib.suppress(OSError, ValueError):
            self._view.show(self.log, time.monotonic())

    def finish(self, outcome: str) -> None:
        self._over.set()
        self._thread.join()
        self.log.finish(time.monotonic(), outcome)
        if self._shown or self.log.notes:
            self._show()


class _StopFlag(threading.Event):
    """A stop flag that knows whether the work has looked at it since it was set."""

    noticed = False

    def is_set(self) -> bool:
        asked = super().is_set()
        self.noticed = self.noticed or asked
        return asked


@contextmanager
def _ctrl_c(flag: _StopFlag) -> Iterator[None]:
    """Let the first Ctrl-C set ``flag``, so that work stops where it can; a second one interrupts at once.

    Work that does not look at the flag within PATIENCE seconds is interrupted too. Outside the main
    thread, where Python delivers no signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False
    main = threading.get_ident()
    timer: threading.Timer | None = None

    def insist() -> None:
        # A real signal, because a simulated one would not wake a system call that the work sleeps in.
        if not flag.noticed:
            signal.pthread_kill(main, signal.SIGINT)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked, timer
        if asked:
            raise KeyboardInterrupt
        asked = True
        flag.set()
        timer = threading.Timer(PATIENCE, insist)
        timer.daemon = True
        timer.start()

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
        signal.signal(signal.SIGINT, before)


@contextmanager
def working(title: str, view: View) -> Iterator[StepLog]:
    """Show the progress of the ``with`` block in ``view``, and let Ctrl-C stop it.

    Raises Cancelled, and nothing else, when the user stopped the work.
    """
    ticker = _Ticker(StepLog(title, time.monotonic()), view)
    flag = _StopFlag()
    outcome = "failed"
    ticker.start()
    try:
        with _ctrl_c(flag), listening(ticker.hear, cancelled=flag):
            yield ticker.log
        outcome = "done"
    except Cancelled:
        outcome = "stopped"
        raise
    except KeyboardInterrupt:
        outcome = "stopped"
        raise Cancelled() from None
    finally:
        ticker.finish(outcome)
