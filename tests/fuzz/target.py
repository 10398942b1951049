"""What is fuzzed, and what is promised of it.

A :class:`Target` is one reader of bytes or text that come from somewhere else. Whatever it is given, it ends within a
second of processor time, in less than 256 MB, in a value or in one of the tree's own errors (``errors.py``). Anything
else is a :class:`Fault`.
"""

from __future__ import annotations

import contextlib
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from unibeam_nb.errors import UnibeamError

LONGEST_S = 1.0
"""Processor seconds that one input may take."""

ROOM = 256 << 20
"""Bytes that one reader may add to its process."""

ROOT = Path(__file__).resolve().parents[2]


class TooSlow(BaseException):
    """The reader did not end in time. No reader catches this."""


@dataclass(frozen=True)
class Verdict:
    """What became of one input: ``fault`` names what was wrong (kind and place), and is None where nothing was.
    ``taken`` tells that it was read, and not refused. ``seconds`` are of processor time."""

    fault: str | None
    taken: bool
    seconds: float


Judge = Callable[[Sequence[bytes]], list[Verdict]]
"""What tells of each input what became of it."""


@dataclass(frozen=True)
class Target:
    """One reader.

    ``seeds`` are real inputs of it; ``read`` gives it one (or, where it does not run in this process, ``judge`` opens
    what does, and ``explore`` guides it by coverage: into a directory, with a seed, for so many seconds; ``explore.py``
    says what is then there). ``words`` are what its format is written in. ``shape`` changes a seed by its structure
    instead of by its bytes, and ``dress`` makes whole again what a change has broken (checksums, compression), so that
    what lies behind it is reached. ``share`` is its part of all inputs, ``longest`` the bytes of its longest input.
    """

    name: str
    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[bytes], object] | None = None
    judge: Callable[[], AbstractContextManager[Judge]] | None = None
    explore: Callable[[Target, Path, int, float], None] | None = None
    words: tuple[bytes, ...] = ()
    shape: Callable[[Random, bytes], bytes] | None = None
    dress: Callable[[bytes], bytes] | None = None
    share: int = 10
    longest: int = 1 << 16

    @contextmanager
    def opened(self) -> Iterator[Judge]:
        """What judges inputs of this target, ready to be called."""
        if self.judge is not None:
            with self.judge() as judge:
                yield judge
            return
        assert self.read is not None
        with _timed() as clock:
            read = self.read
            yield lambda inputs: [clock(read, data) for data in inputs]


@contextmanager
def _timed() -> Iterator[Callable[[Callable[[bytes], object], bytes], Verdict]]:
    """A judge of calls in this process, whose alarm counts processor time: how busy the host is does not matter."""

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise TooSlow

    def judge(read: Callable[[bytes], object], data: bytes) -> Verdict:
        fault, taken = None, False
        began = time.thread_time()
        try:
            signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
            try:
                read(data)
                taken = True
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        except UnibeamError:
            pass
        except TooSlow:
            fault = f"more than {LONGEST_S:g} s"
        except Exception as error:
            fault = name_of(error)
        return Verdict(fault, taken, time.thread_time() - began)

    before = signal.signal(signal.SIGPROF, late)
    try:
        yield judge
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def name_of(error: BaseException) -> str:
    """The kind of an exception and the last line of the tree that it went through: equal faults have equal names."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "unibeam_nb" in frame.filename]
    last = (ours or frames)[-1]
    name = Path(last.filename)
    with contextlib.suppress(ValueError):
        name = name.relative_to(ROOT)
    return f"{type(error).__name__} in {name}:{last.lineno} ({last.name})"


def text_of(data: bytes) -> str:
    """Bytes as the text that a file with them is read as."""
    return data.decode("utf-8", "replace")


def scratch() -> Path:
    """A directory of this process, in memory where the host has one, which ends with the process."""
    global _SCRATCH
    if _SCRATCH is None:
        import atexit
        import shutil
        import tempfile

        shared = Path("/dev/shm")
        _SCRATCH = Path(tempfile.mkdtemp(prefix="unibeam-fuzz-", dir=shared if shared.is_dir() else None))
        atexit.register(shutil.rmtree, _SCRATCH, ignore_errors=True)
    return _SCRATCH


_SCRATCH: Path | None = None


def in_file(name: str, read: Callable[[Path], Any]) -> Callable[[bytes], object]:
    """A reader of files called ``name`` as one of bytes."""

    def reads(data: bytes) -> object:
        path = scratch() / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(data)
        return read(path)

    return reads
