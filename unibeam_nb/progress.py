"""One stream of steps that progress bars, logs and tests listen to, and the one way to stop long work.

Work announces itself with :func:`step` and calls :func:`checkpoint` where it can stop. Who listens, and
whether anybody may cancel, is decided outside by :func:`listening`; a function deep inside a build needs
no extra parameter for it (the current :class:`Steps` is a context variable).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from unibeam_nb.errors import Cancelled


@dataclass(frozen=True)
class StepEvent:
    """Something happened in a step: it began, moved, ended, left a note, or something came into being in it.

    ``at`` is ``time.monotonic()`` in seconds; ``fraction`` is 0..1 or None when the length is unknown;
    ``depth`` is 0 for an outermost step. A ``machine`` has been started: ``title`` is its id. A ``mark`` was
    reached: ``title`` is its name, ``fraction`` the seconds since that machine's process was spawned.
    """

    kind: Literal["begin", "progress", "end", "failed", "note", "machine", "mark"]
    title: str
    depth: int
    at: float
    fraction: float | None = None
    detail: str = ""


Listener = Callable[[StepEvent], None]


@dataclass
class Steps:
    """The listeners of one piece of work, and its stop flag."""

    listeners: list[Listener] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    stack: list[str] = field(default_factory=list)
    hurried: bool = False

    def emit(self, event: StepEvent) -> None:
        for listener in self.listeners:
            listener(event)


_current: ContextVar[Steps | None] = ContextVar("unibeam_steps", default=None)


def current() -> Steps:
    """The steps of the work under way; a silent one where nobody listens."""
    return _current.get() or Steps()


@contextmanager
def listening(*listeners: Listener, cancelled: threading.Event | None = None) -> Iterator[Steps]:
    """Make ``listeners`` hear every step taken inside the ``with`` block, by this thread."""
    steps = Steps(list(listeners), cancelled or threading.Event())
    token = _current.set(steps)
    try:
        yield steps
    finally:
        _current.reset(token)


@contextmanager
def step(title: str) -> Iterator[None]:
    """A named step, for example ``with step("Compiling hello.erl"):``. Nests."""
    checkpoint()
    steps = current()
    depth = len(steps.stack)
    steps.stack.append(title)
    steps.emit(StepEvent("begin", title, depth, time.monotonic()))
    try:
        yield
    except BaseException:
        steps.emit(StepEvent("failed", title, depth, time.monotonic()))
        raise
    else:
        steps.emit(StepEvent("end", title, depth, time.monotonic()))
    finally:
        steps.stack.pop()


def progress(fraction: float | None, detail: str = "") -> None:
    """Report how far the innermost step has come, and stop here if the user asked for it."""
    checkpoint()
    steps = current()
    if steps.stack:
        steps.emit(StepEvent("progress", steps.stack[-1], len(steps.stack) - 1, time.monotonic(),
                             fraction, detail))


def note(text: str) -> None:
    """Leave one line for the user, for example that the accelerator is tcg and why."""
    steps = current()
    steps.emit(StepEvent("note", text, len(steps.stack), time.monotonic()))


def tell_machine(machine_id: str) -> None:
    """Say that a machine has been started."""
    steps = current()
    steps.emit(StepEvent("machine", machine_id, len(steps.stack), time.monotonic()))


def tell_mark(name: str, seconds: float) -> None:
    """Say that the machine started last reached a mark, so many seconds after its process was spawned."""
    steps = current()
    steps.emit(StepEvent("mark", name, len(steps.stack), time.monotonic(), seconds))


@contextmanager
def shielded() -> Iterator[None]:
    """Tidying up inside: no checkpoint stops it. Where the user stopped the work it is to be quick about it."""
    steps = current()
    inner = Steps(steps.listeners, threading.Event(), steps.stack, hurried())
    token = _current.set(inner)
    try:
        yield
    finally:
        _current.reset(token)


def hurried() -> bool:
    """Whether somebody waits for this work to stop, so that nothing is given time to end in order."""
    steps = current()
    return steps.hurried or steps.cancelled.is_set()


def checkpoint() -> None:
    """Raise :class:`~unibeam_nb.errors.Cancelled` if the user asked this work to stop."""
    if current().cancelled.is_set():
        raise Cancelled()
