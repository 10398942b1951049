"""One measured machine at a time on a host, whoever measures it.

What is locked is a directory that every user of the host can open for reading, which is all that flock(2) asks for. So
nobody has to be let write where others write too, and nothing is ever opened for writing that another user may
have put there. Waiting for the lock can be stopped, and says who is in the way.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unibeam_nb.errors import BenchError
from unibeam_nb.progress import checkpoint, note, progress

# Not tempfile.gettempdir(): TMPDIR differs between users and even between shells of one.
LOCK_PATH = Path("/tmp/unibeam")  # nosec B108 # only opened, never written to

POLL_SECONDS = 0.5
READINGS = 5


@contextmanager
def measuring(path: Path = LOCK_PATH, *, wait: bool = True) -> Iterator[None]:
    """Hold the host's lock, which is on the directory ``path``, inside the ``with`` block. Raises Cancelled when the
    user stops the waiting, and BenchError when the lock cannot be had, or somebody else holds it and ``wait`` is
    False."""
    told = False
    while (handle := _taken(path)) is None:
        if not wait:
            raise BenchError(f"Another measurement is under way on this host{_holder(path)}.",
                             "Wait until it has ended, or let this one wait: --if-busy wait")
        if not told:
            note(f"Waiting for another measurement on this host to end{_holder(path)}.")
            told = True
        progress(None, "waiting for another measurement on this host")
        checkpoint()
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        os.close(handle)


def _taken(path: Path) -> int | None:
    """A descriptor that holds the lock until it is closed, or None where somebody else holds it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise BenchError(f"The directory {path} cannot be locked ({error.strerror}).",
                         f"Remove {path} if nobody is measuring on this host.") from error
    try:
        if os.fstat(handle).st_uid == os.geteuid():
            # Whatever the umask was when it was made: everybody may open it, and only we may write to it.
            os.fchmod(handle, 0o755)  # nosec B103 # nobody else may write
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _holder(path: Path) -> str:
    """`` (process 1234, jupyter-lab)``, or nothing where the kernel does not tell; from ``/proc/locks``:
    ``1: FLOCK ADVISORY WRITE pid major:minor:inode 0 EOF``.

    That file is read a page at a time, and a lock that others let go of meanwhile hides the next one: so it is read
    again where it does not tell."""
    import psutil

    try:
        inode = str(path.stat().st_ino)
        for line in (line for _ in range(READINGS) for line in Path("/proc/locks").read_text().splitlines()):
            words = line.split()
            if "FLOCK" in words and len(words) > 5 and words[-3].split(":")[-1] == inode and words[-4].isdigit():
                return f" (process {words[-4]}, {psutil.Process(int(words[-4])).name()})"
    except (OSError, psutil.Error):
        pass
    return ""
