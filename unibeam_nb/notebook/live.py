"""Carrying out a job in the foreground: a display that appears after a second, and a Ctrl-C that stops.

:func:`carry_out` is used by the magic and the shell alike; they differ in the :class:`View` they show it with.
"""

from __future__ import annotations

import contextlib
import contextvars
import shutil
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO, TypeVar

from unibeam_nb.errors import Cancelled
from unibeam_nb.job import Job
from unibeam_nb.notebook.sheet import printable
from unibeam_nb.notebook.steps import StepLog
from unibeam_nb.progress import StepEvent

T = TypeVar("T")

APPEARS_AFTER = 1.0
"""Seconds of work before anything is shown."""

REFRESH = 0.5
"""Seconds between two updates of the display."""


class View(Protocol):
    """Where progress is shown."""

    def show(self, log: StepLog, now: float) -> None:
        """Show the log as it is; called again and again, lastly with ``log.outcome`` set."""


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


class Show:
    """Shows a job from a thread of its own once it has taken a while, until it is over.

    What goes on in the background is shown at its end however short it was, and says what it failed with.
    """

    def __init__(self, job: Job[Any], view: View, *, background: bool = False) -> None:
        self.log = StepLog(job.title, time.monotonic())
        self._job, self._view, self._background = job, view, background
        self._heard: deque[StepEvent] = deque()
        self._shown = False
        # Under ipykernel the context says which cell the output belongs to.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="unibeam-progress", daemon=True)
        # Only taking note on the work's own thread: drawing there would be part of what a boot takes.
        job.listen(self._heard.append)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Return when the last of it is shown."""
        self._thread.join()

    def _run(self) -> None:
        wait = APPEARS_AFTER
        while not self._job.wait(wait):
            wait = REFRESH
            self._show()
        self._hear()
        if self._background and isinstance(self._job.error, Exception):
            self.log.notes.append(str(self._job.error))
        self.log.finish(time.monotonic(), self._job.state)
        if self._shown or self.log.notes or self._background:
            self._show()

    def _hear(self) -> None:
        while self._heard:
            self.log.hear(self._heard.popleft())

    def _show(self) -> None:
        self._hear()
        self._shown = True
        # A front end that is gone must not take the work down with it.
        with contextlib.suppress(OSError, ValueError):
            self._view.show(self.log, time.monotonic())


@contextmanager
def _ctrl_c(job: Job[Any]) -> Iterator[None]:
    """Let the first Ctrl-C stop ``job`` where it can be stopped, and a second one interrupt it where it stands.

    Outside the main thread, where Python delivers no signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda _number, _frame: job.cancel())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def go_on(job: Job[T], view: View) -> Job[T]:
    """Start ``job`` in the background, show it in ``view``, and return at once."""
    show = Show(job, view, background=True)
    job.start()
    show.start()
    return job


def carry_out(job: Job[T], view: View) -> T:
    """Start ``job``, show it in ``view``, wait for it, and return what it made. Ctrl-C stops it.

    Raises what it failed with, and Cancelled when the user stopped it: also where the step under way is one long
    call that nothing can interrupt, which then ends in the background.
    """
    with _ctrl_c(job):
        show = Show(job, view)
        job.start()
        show.start()
        while not job.wait(0.1):
            if job.deaf:
                raise Cancelled
        show.join()
    return job.result()
