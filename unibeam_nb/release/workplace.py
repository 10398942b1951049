"""The directory in which a source is built: the same path for the same inputs.

Compilers leave the path of a file in what they make where a program asks for it. :mod:`~unibeam_nb.release.samepath`
makes that one path for everybody; where a host forbids it, a path that depends on the inputs only still keeps two
builds of one user the same, from whatever directory and into whatever store.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unibeam_nb.errors import UnibeamError
from unibeam_nb.held import remove_tree, sweep
from unibeam_nb.progress import checkpoint
from unibeam_nb.store import disk_errors


@contextmanager
def build_directory(key: str) -> Iterator[Path]:
    """An empty directory for building what ``key`` identifies; it is gone afterwards.

    Two processes that build the same thing take turns.
    """
    base = _base()
    sweep(base)
    with disk_errors(base):
        work = base / key[:32]
        handle = _taken(work)
        try:
            for left in work.iterdir():  # by a process that died
                if left.is_dir() and not left.is_symlink():
                    remove_tree(left)
                else:
                    left.unlink()
            yield work
        finally:
            remove_tree(work)
            os.close(handle)


def sweep_builds() -> list[Path]:
    """Remove what builds whose process was killed have left."""
    return sweep(_base())


def _taken(work: Path) -> int:
    """The directory ``work``, made and locked: a file descriptor that holds the lock until it is closed.

    The lock is on the directory itself, so that nothing is left behind. Whoever waited may find that it locked
    a directory that has been removed meanwhile, and then begins again.
    """
    while True:
        work.mkdir(mode=0o700, exist_ok=True)
        try:
            handle = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            while not _locked(handle):
                checkpoint()
                time.sleep(0.05)
            if work.exists() and os.path.samestat(os.fstat(handle), work.stat()):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _base() -> Path:
    """A directory below the temporary one that belongs to this user alone; a name somebody else has taken is
    left to them."""
    parent = Path(tempfile.gettempdir())
    for name in ("unibeam-build", f"unibeam-build-{os.geteuid()}"):
        path = parent / name
        try:
            path.mkdir(mode=0o700, exist_ok=True)
        except FileExistsError:  # a file or a link to nowhere
            continue
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
            return path
    raise UnibeamError(f"No private directory can be made in {parent}.", "Set TMPDIR to a directory you own.")
