"""A machine's console as a widget: its bytes, sent to every page that shows it at that page's own pace.

The front end (``frontend/console.js``) asks for bytes from an offset on and grants credit; nothing is sent without, so
that a notebook without a front end costs nothing, and a page that is slow or gone holds nobody up. The file is the
truth: whoever comes later, or comes back, reads it from there. Of a long console it keeps the beginning and the newest
bytes (``machine/ring.py``), more of them as long as this reads it. What a page was too slow for, it is told.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from unibeam_nb.errors import UnibeamError
from unibeam_nb.notebook.widgets.comms import reachable

if TYPE_CHECKING:
    from unibeam_nb.machine.console import Console

BUNDLE = Path(__file__).parents[1] / "static" / "console.js"

CHUNK = 1 << 18
"""Bytes of one message: few enough that a page draws between two."""

REPLAY = 1 << 20
"""Bytes from the end with which a page begins that shows a console for the first time."""

GATHER = 0.02
"""Seconds between two rounds of sending, in which small writes become one message."""


@dataclass
class _Page:
    """Where a page is: the offset it has been sent up to, the bytes it may still be sent, and how many of those it
    would have been sent were not kept any more: its offsets do not count them."""

    offset: int
    credit: int
    skipped: int = 0


class ConsoleWidget(anywidget.AnyWidget):
    """One console; any number of views and pages."""

    _esm = BUNDLE.read_text(encoding="utf-8")
    name = traitlets.Unicode().tag(sync=True)
    path = traitlets.Unicode().tag(sync=True)
    ended = traitlets.Bool(False).tag(sync=True)
    takes_input = traitlets.Bool(False).tag(sync=True)

    def __init__(self, console: Console) -> None:
        super().__init__(name=console.name or console.path.parent.name, path=str(console.path),
                         takes_input=console.write is not None)
        reachable(self)
        self.console = console
        self._pages: dict[str, _Page] = {}
        self._lock = threading.Lock()
        self._file: int | None = None
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread: threading.Thread | None = None
        self.on_msg(self._heard)

    def _heard(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        """A message of a page. What it holds was made in a browser: it is read with care."""
        page, do = str(content.get("page", "")), content.get("do")
        if do == "there":
            self.send({"page": page})  # So it knows that somebody is.
            return
        with self._lock:
            if do == "read":
                start, credit = content.get("from"), int(content.get("credit", 0))
                offset = int(start) if start is not None else max(self._size() - REPLAY, 0)
                known = self._pages.get(page)
                self._pages[page] = _Page(max(offset, 0), credit, known.skipped if known else 0)
            elif do == "more" and page in self._pages:
                self._pages[page].credit += int(content.get("credit", 0))
        if do == "type" and self.console.write is not None:
            try:
                self.console.write(str(content.get("line", "")))
            except UnibeamError:
                self.takes_input = False
        self._go_on()

    def _go_on(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            context = contextvars.copy_context()
            self._thread = threading.Thread(target=context.run, args=(self._run,), name="unibeam-console", daemon=True)
            self._thread.start()
        with contextlib.suppress(OSError):
            os.write(self._wake, b"x")

    def _run(self) -> None:
        """Send until the machine has ended and everybody has everything."""
        from unibeam_nb.machine import ring
        from unibeam_nb.machine.console import Follower

        with contextlib.ExitStack() as stack:
            follower: Follower | None = None
            with contextlib.suppress(OSError):
                stack.enter_context(ring.reading(self.console.path.parent))
                follower = stack.enter_context(Follower(self.console.path))
            while True:
                running = self.console.alive()
                if sent := self._round():
                    if sent < CHUNK:
                        time.sleep(GATHER)
                    continue
                if not running:
                    self.ended, self.takes_input = True, False
                    return
                if follower is None:
                    time.sleep(0.2)
                else:
                    follower.wait(0.5, self._woken)
                with contextlib.suppress(OSError):
                    os.read(self._woken, 4096)

    def _round(self) -> int:
        """Send every page one chunk that it has credit for; the bytes of the largest."""
        from unibeam_nb.machine import ring

        due = []
        with self._lock:
            for page, at in self._pages.items():
                start, data = self._read(at.offset + at.skipped, min(CHUNK, at.credit))
                if data:
                    at.skipped = start - at.offset
                    due.append(({"page": page, "from": at.offset, "lost": at.skipped}, data))
                    at.offset += len(data)
                    at.credit -= len(data)
        whole = self._file is None or ring.whole(self._file)
        for message, data in due:
            self.send(message | {"whole": whole}, [data])
        return max((len(data) for _, data in due), default=0)

    def _open(self) -> int | None:
        """The console's file, held open: it can be read to its end after the machine's directory is gone."""
        if self._file is None:
            with contextlib.suppress(OSError):
                self._file = os.open(self.console.path, os.O_RDONLY | os.O_CLOEXEC)
        return self._file

    def _size(self) -> int:
        handle = self._open()
        return os.fstat(handle).st_size if handle is not None else len(self.console.raw())

    def _read(self, offset: int, count: int) -> tuple[int, bytes]:
        from unibeam_nb.machine import ring

        if count <= 0:
            return offset, b""
        handle = self._open()
        return (offset, self.console.raw()[offset:offset + count]) if handle is None else \
            ring.piece(handle, offset, count)
