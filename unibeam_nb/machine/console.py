"""A machine's console: a file that grows, read as text that is safe to show.

What a guest prints is untrusted. :func:`plain` takes terminal control out of it; turning it into HTML still
needs escaping.
"""

from __future__ import annotations

import re
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from unibeam_nb.machine import ring

# Escape sequences as ECMA-48 writes them: CSI ... final byte; OSC, DCS, SOS, PM and APC up to their terminator; then
# two- and three-byte ones. The lengths are bounded so that an unfinished sequence cannot swallow a console.
_SEQUENCE = re.compile(r"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]"
                       r"|\x1b[\]PX^_][^\x07\x1b\n]{0,4096}(?:\x07|\x1b\\)"
                       r"|\x1b[ -/]{0,3}[0-~]")
# Besides the control characters: those that reorder what a reader sees (Unicode bidirectional controls, UAX #9).
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(data: bytes) -> str:
    """Console bytes as text: UTF-8 with replacements, no escape sequences, no control characters but
    newline and tab. Other control characters become ``\\ufffd``, so that nothing vanishes unseen."""
    text = _SEQUENCE.sub("", data.decode("utf-8", "replace"))
    return _CONTROL.sub("\ufffd", re.sub(r"\r+\n", "\n", text).replace("\r", "\n"))


CHUNK = 1 << 18
"""Bytes that are read at once of what a machine writes."""

LONGEST = 1 << 16
"""Bytes of a line that is not yet at its end which are waited for."""


@dataclass
class Console:
    """The console of the machine ``name``, kept in ``path``. After a machine was removed its text stays readable here.

    ``write`` sends a line to its program; it is None where the program does not listen.
    """

    path: Path
    alive: Callable[[], bool] = field(default=lambda: False, repr=False)
    name: str = ""
    write: Callable[[str], None] | None = field(default=None, repr=False)
    _kept: bytes | None = field(default=None, repr=False)

    def raw(self) -> bytes:
        """What the machine wrote, byte for byte; of a console that has grown long its first and last bytes
        (:mod:`.ring`)."""
        return ring.kept(self.path) if self._kept is None else self._kept

    def text(self) -> str:
        """What the machine wrote, made safe by :func:`plain`."""
        return plain(self.raw())

    def lines(self) -> list[str]:
        """The lines of :meth:`text` that are not empty."""
        return [line.rstrip() for line in self.text().split("\n") if line.strip()]

    def tail(self, count: int = 20) -> list[str]:
        """The last ``count`` lines."""
        return self.lines()[-count:] if count > 0 else []

    def follow(self, timeout: float | None = None) -> Iterator[str]:
        """Text as it arrives, from the beginning, until the machine ends or ``timeout`` seconds went by."""
        ends = None if timeout is None else time.monotonic() + timeout
        with Follower(self.path) as follower:
            rest = b""
            while True:
                running = self.alive()
                data = rest + follower.read()
                # A sequence or a character may be cut in two by the read: hold the unfinished line back.
                cut = data.rfind(b"\n") + 1 if running and len(data) < LONGEST else len(data)
                rest = data[cut:]
                if data[:cut]:
                    yield plain(data[:cut])
                if not running or (ends is not None and time.monotonic() >= ends):
                    return
                follower.wait(0.25)

    def keep(self) -> None:
        """Hold the text in memory: the file is about to go."""
        self._kept = self.raw()


class Follower:
    """Reads a growing file; inotify(7) says when there is more. The file need not exist yet, its directory must."""

    def __init__(self, path: Path) -> None:
        from inotify_simple import INotify, flags

        self._path = path
        self._notify = INotify()
        self._notify.add_watch(str(path.parent), flags.MODIFY | flags.CREATE)
        self._offset = 0
        self._more = False

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._notify.close()

    def read(self) -> bytes:
        """What was written since the last call, at most :data:`CHUNK` bytes; empty when nothing was. What has been
        trimmed meanwhile is left out."""
        try:
            with self._path.open("rb") as stream:
                self._offset, data = ring.piece(stream.fileno(), self._offset, CHUNK)
        except FileNotFoundError:
            return b""
        self._offset += len(data)
        self._more = len(data) == CHUNK
        return data

    def read_all(self) -> bytes:
        """Everything that was written since the last call, where no more is to come; the last bytes, if it is much."""
        data = self.read()
        while self._more:
            data = data[-CHUNK:] + self.read()
        return data

    def wait(self, timeout: float, *others: int) -> bool:
        """Wait at most ``timeout`` seconds for more, or for one of the file descriptors ``others`` to be readable."""
        ready, _, _ = select.select([self._notify.fileno(), *others], [], [], 0.0 if self._more else max(timeout, 0.0))
        if self._notify.fileno() in ready:
            self._notify.read(timeout=0)
        return bool(ready)
