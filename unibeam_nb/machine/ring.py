"""A console's file with an upper limit: its beginning, where the marks of the boot are, and its newest bytes.

Whoever writes it (QEMU, an engine, the program itself) knows of no limit. So what lies between the beginning and the
newest bytes is given back to the file system, as a hole: offsets stay what they were, nobody who writes or follows the
file has to be told, and it occupies no more than :data:`HEAD` and :data:`RING` and what arrives between two looks.

Machines outlive who booted them, so a process of their own looks after all consoles of a store
(:func:`keep_short`): this file, run by a Python without anything else, which ends when no console is open any more.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

HEAD, RING = 1 << 18, 1 << 20
"""Bytes that are kept of a console: its first ones and its last ones."""

SLACK = 1 << 20
"""Bytes beyond those that a file has on the disk before it is trimmed."""

BEHIND = 32 << 20
"""The same while somebody reads the console, for marks or for a page that shows it, and must miss nothing because a
program prints faster. Half of it stays when it is trimmed, so that whoever lags by less loses nothing then."""

FILES = ("console.log", "vmm.log")
READ = "read"
"""In a machine's directory: held as long as somebody reads its console as it grows."""

KEEPER = ".keeper"
"""In the directory of all machines: held by whoever keeps their consoles short, and its pid."""

EVERY, SOON, HURRIED, SELDOM, LINGERS = 0.5, 0.05, 0.02, 5.0, 20.0
"""Seconds between two looks, the same while machines print and while they print a lot, between two looks at what is
open, and after which a keeper ends that has seen no open console."""

MODIFIED, CLOSED_AT_EXEC, NO_WAITING = 0x2, os.O_CLOEXEC, os.O_NONBLOCK
"""IN_MODIFY, IN_CLOEXEC and IN_NONBLOCK of inotify(7)."""

BLOCK = 1 << 16
KEEP_SIZE, PUNCH_HOLE = 1, 2
"""What linux/falloc.h calls FALLOC_FL_KEEP_SIZE and FALLOC_FL_PUNCH_HOLE."""

LEFT_OUT = "\n[{} bytes of the console between are not kept]\n"


@lru_cache(maxsize=1)
def _fallocate() -> ctypes._NamedFuncPointer:
    function = ctypes.CDLL(None, use_errno=True).fallocate
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return function


@contextlib.contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Have more kept of this machine's console meanwhile. The hold ends with its process, however that ends."""
    handle = os.open(directory / READ, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def _is_read(directory: Path) -> bool:
    try:
        return _is_held(directory / READ)
    except FileNotFoundError:
        return False


def _is_held(path: Path, create: int = 0) -> bool:
    """Whether somebody has locked this file of ours; ``create`` is os.O_CREAT where it may have to be made."""
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | create, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def is_open(path: Path) -> bool:
    """Whether some process has this console's file open, to write or to read: a lease is given only to whoever is alone
    (fcntl(2), F_SETLEASE). Where the file system knows no leases, whether there is a file. Who opens the file in that
    very moment waits for it, and SIGIO is sent here."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        return True
    finally:
        os.close(handle)  # And the lease with it.
    return False


def trim(path: Path) -> bool:
    """Give back what of a console's file is neither its beginning nor its newest bytes; whether there was any."""
    try:
        status = path.stat()
        used = status.st_blocks * 512
        if used <= HEAD + RING + SLACK or ((read := _is_read(path.parent)) and used <= BEHIND):
            return False
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        until = (status.st_size - (BEHIND // 2 if read else RING)) // BLOCK * BLOCK
        if until <= HEAD:
            return False
        return not _fallocate()(handle, KEEP_SIZE | PUNCH_HOLE, HEAD, until - HEAD)
    finally:
        os.close(handle)


def kept(path: Path) -> bytes:
    """What is kept of a console, with a line that says how much is not; empty where there is no file."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size <= HEAD + RING:
                return stream.read(HEAD + RING)
            head = stream.read(HEAD)
            stream.seek(size - RING)
            return head + LEFT_OUT.format(size - HEAD - RING).encode() + stream.read(RING)
    except FileNotFoundError:
        return b""


def piece(handle: int, offset: int, count: int) -> tuple[int, bytes]:
    """At most ``count`` bytes from ``offset`` on, and where they begin: behind the hole, where that is one."""
    try:
        start = os.lseek(handle, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:  # Behind the end.
            raise
        return offset, b""
    return start, os.pread(handle, count, start)


def whole(handle: int) -> bool:
    """Whether everything that was written is still in the file."""
    size = os.fstat(handle).st_size
    return size == 0 or os.lseek(handle, 0, os.SEEK_HOLE) >= size


def keep_short(machines: Path) -> None:
    """Have a process keep the consoles below ``machines`` short from now on, unless there is one."""
    from unibeam_nb import process

    if _is_held(machines / KEEPER, os.O_CREAT):
        return
    # Adopted, so that it is no zombie of ours when it ends.
    from unibeam_nb.machine import children

    children.adopt(process.spawn((sys.executable, "-I", "-S", __file__, str(machines)), cwd=Path("/")))


def end_keeper(machines: Path) -> None:
    """End the process that keeps the consoles short: no machine is left."""
    from unibeam_nb.machine import children, proc

    with contextlib.suppress(OSError, ValueError):
        if _is_held(machines / KEEPER):
            keeper = proc.identify(int((machines / KEEPER).read_text()))
            if keeper is not None and str(machines) in proc.command_line(keeper):
                proc.end([keeper], grace=0.0, reap=lambda: children.reap(keeper.pid))


class _Bell:
    """Rings when something is written into one of the directories that it was told of (inotify(7)): a program may begin
    to print half a gigabyte a second at any moment. Where the host has no such watch left, it only lets time go by."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._handle = self._library.inotify_init1(CLOSED_AT_EXEC | NO_WAITING)

    def on(self, directory: Path) -> None:
        """Ring for this directory from now on, if it does not yet."""
        if self._handle >= 0:
            self._library.inotify_add_watch(self._handle, os.fsencode(directory), MODIFIED)

    def wait(self, seconds: float) -> bool:
        """Return when it rings, or has rung, at the latest after so many seconds; whether it did."""
        handles = [self._handle] if self._handle >= 0 else []
        rung = bool(select.select(handles, [], [], seconds)[0])
        if rung:
            os.read(self._handle, 1 << 16)
        return rung


def keep(machines: Path) -> bool:
    """Trim the consoles below ``machines`` until none has been open for a while. False where somebody else does."""
    bell = _Bell()
    with (machines / KEEPER).open("r+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        held.truncate()
        held.write(str(os.getpid()))
        held.flush()
        last = looked = time.monotonic()
        while time.monotonic() < last + LINGERS and machines.is_dir():
            trimmed = False
            for path in machines.iterdir():
                if path.is_dir():
                    bell.on(path)
                    trimmed |= sum(trim(path / name) for name in FILES) > 0
            if trimmed or time.monotonic() > looked + SELDOM:
                looked = time.monotonic()
                last = looked if trimmed or _any_open(machines) else last
            if trimmed:
                time.sleep(HURRIED)
            else:
                bell.wait(EVERY)
                time.sleep(SOON)
    return True


def _any_open(machines: Path) -> bool:
    return any(is_open(path / name) for path in machines.iterdir() for name in FILES)


if __name__ == "__main__":
    # Sent to whoever holds a lease when somebody else opens the file.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        below = Path(sys.argv[1])
        # A machine that was started while this one made up its mind has found somebody here.
        while keep(below) and _any_open(below):
            pass
