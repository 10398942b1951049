"""Long work on a thread of its own: awaitable, cancellable, and heard by whoever listens.

    job = Job("boot hello", lambda: lab.boot("hello"))
    job.start()
    machine = await job          # or job.result()
    job.cancel()                 # from any thread

A notebook's cell that works on its own thread keeps widgets from being served and an interrupt from being
noticed; so the work is done here, and the cell only waits.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Generic, Literal, TypeVar

from unibeam_nb.errors import Cancelled
from unibeam_nb.progress import Listener, StepEvent, listening

T = TypeVar("T")

State = Literal["new", "running", "done", "failed", "stopped"]

PATIENCE = 0.6
"""Seconds a stop may go unnoticed by the work before it is interrupted where it stands."""

DEAF_AFTER = 0.2
"""Seconds after which work that was interrupted and goes on is waited for no longer."""


class StopFlag(threading.Event):
    """A stop flag that knows whether the work has looked at it since it was set."""

    noticed = False

    def is_set(self) -> bool:
        asked = super().is_set()
        self.noticed = self.noticed or asked
        return asked


class Job(Generic[T]):
    """One piece of work called ``title``.

    Listeners are called on the work's thread, between two instants that may be measured: they only take notes.
    """

    def __init__(self, title: str, work: Callable[[], T]) -> None:
        self.title = title
        self.began = time.monotonic()
        self.ended: float | None = None
        self._work = work
        self._flag = StopFlag()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._when_over: list[Callable[[], None]] = []
        self._value: T | None = None
        self._error: BaseException | None = None
        self._insisted: float | None = None
        # Under ipykernel the context says which cell output belongs to.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=f"unibeam {title}", daemon=True)

    def listen(self, listener: Listener) -> None:
        """Let ``listener`` hear every step from now on."""
        self._listeners.append(listener)

    def start(self) -> Job[T]:
        """Begin, and return at once."""
        self.began = time.monotonic()
        self._thread.start()
        return self

    @property
    def state(self) -> State:
        """Where it is: ``stopped`` is what the user stopped, ``failed`` what went wrong."""
        if not self._over.is_set():
            return "running" if self._thread.ident is not None else "new"
        if isinstance(self._error, Cancelled):
            return "stopped"
        return "done" if self._error is None else "failed"

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def deaf(self) -> bool:
        """Whether it was asked to stop, and then interrupted, and still goes on, as in a long call of a C library."""
        return self._insisted is not None and self.running and time.monotonic() > self._insisted + DEAF_AFTER

    @property
    def error(self) -> BaseException | None:
        """What it failed with, once it is over."""
        return self._error

    def cancel(self) -> None:
        """Ask it to stop, which it does at its next checkpoint; returns at once. What does not look within PATIENCE
        seconds is interrupted where it stands, and so is everything when asked a second time."""
        again = threading.Event.is_set(self._flag)
        self._flag.set()
        if again:
            self._insist()
            return
        timer = threading.Timer(PATIENCE, lambda: None if self._flag.noticed else self._insist())
        timer.daemon = True
        timer.start()

    def _insist(self) -> None:
        """Raise Cancelled in the work's thread (PyThreadState_SetAsyncExc of Python's C API)."""
        import ctypes

        if not self._over.is_set() and self._thread.ident is not None:
            self._insisted = self._insisted or time.monotonic()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(Cancelled))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for its end; whether that came within ``timeout`` seconds."""
        return self._over.wait(timeout)

    def result(self, timeout: float | None = None) -> T:
        """What it made. Raises what it failed with, Cancelled where it was stopped, and TimeoutError."""
        if not self._over.wait(timeout):
            raise TimeoutError(f"{self.title} is not done yet.")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value] # what the work returned, which may be None

    def when_over(self, call: Callable[[], None]) -> None:
        """Call ``call`` on the work's thread when it is over, or here and now where it is already."""
        with self._lock:
            if not self._over.is_set():
                self._when_over.append(call)
                return
        call()

    def __await__(self) -> Generator[Any, None, T]:
        return self._awaited().__await__()

    async def _awaited(self) -> T:
        import asyncio

        loop = asyncio.get_running_loop()
        over = asyncio.Event()

        def tell() -> None:
            # The loop may have been closed meanwhile, with nobody left to be told.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(over.set)

        self.when_over(tell)
        try:
            await over.wait()
        except BaseException:
            # Whoever interrupts the cell that waits means the work.
            self.cancel()
            raise
        return self.result()

    def _run(self) -> None:
        try:
            with listening(self._hear, cancelled=self._flag):
                self._value = self._work()
        except BaseException as error:  # It belongs to whoever asks for the result.
            self._error = Cancelled() if isinstance(error, KeyboardInterrupt) else error
        self.ended = time.monotonic()
        with self._lock:
            self._over.set()
        for call in self._when_over:
            call()

    def _hear(self, event: StepEvent) -> None:
        for listener in tuple(self._listeners):
            listener(event)

    def __repr__(self) -> str:
        seconds = (self.ended if self.ended is not None else time.monotonic()) - self.began
        return f"<Job {self.title}: {self.state}, {seconds:.1f} s>"
