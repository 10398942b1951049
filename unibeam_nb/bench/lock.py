"""One measured machine at a time on a host, whoever measures it.

The lock is a file that every user of the host can reach; waiting for it can be stopped, and says who is in
the way.
"""

from __future__ import annotations

import contextlib
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from unibeam_nb.errors import BenchError
from unibeam_nb.progress import checkpoint, note, progress

# Not tempfile.gettempdir(): TMPDIR differs between users and even between shells of one.
LOCK_PATH = Path("/tmp/unibeam/measuring.lock")

POLL_SECONDS = 0.5


@contextmanager
def measuring(path: Path = LOCK_PATH, *, wait: bool = True) -> Iterator[None]:
    """Hold the host's lock inside the ``with`` block. Raises Cancelled when the user stops the waiting, and
    BenchError when the lock cannot be made, or somebody else holds it and ``wait`` is False."""
    _shared_directory(path.parent)
    lock = FileLock(str(path), mode=0o666)
    told = False
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            if not wait:
                raise BenchError(f"Another measurement is under way on this host{_holder(path)}.",
                                 "Wait until it has ended, or let this one wait: --if-busy wait") from None
            if not told:
                note(f"Waiting for another measurement on this host to end{_holder(path)}.")
                told = True
            progress(None, "waiting for another measurement on this host")
            checkpoint()
            time.sleep(POLL_SECONDS)
        except OSError as error:
            raise BenchError(f"The lock {path} cannot be taken ({error.strerror}).",
                             f"Remove {path.parent} if nobody is measuring on this host.") from error
    try:
        yield
    finally:
        lock.release()


def _shared_directory(path: Path) -> None:
    """A directory in which every user may lock. Without the sticky bit: with it, the kernel
    (``fs.protected_regular``) would let nobody but its maker open the lock file for writing."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise BenchError(f"{path} is not a directory of its own.", f"Remove {path}.")
        with contextlib.suppress(PermissionError):
            path.chmod(0o777)
    except OSError as error:
        raise BenchError(f"The directory {path} cannot be made ({error.strerror}).", f"Remove {path}.") from error


def _holder(path: Path) -> str:
    """`` (process 1234, jupyter-lab)``, or nothing where the kernel does not tell; from ``/proc/locks``:
    ``1: FLOCK ADVISORY WRITE pid major:minor:inode 0 EOF``."""
    import psutil

    try:
        inode = str(path.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if "FLOCK" in words and len(words) > 5 and words[-3].split(":")[-1] == inode and words[-4].isdigit():
                return f" (process {words[-4]}, {psutil.Process(int(words[-4])).name()})"
    except (OSError, psutil.Error):
        pass
    return ""
