"""The directory in which a source is built: the same path for the same inputs.

Compilers leave the path of a file in what they make where a program asks for it (``__FILE__``, ``?FILE``,
and every call of Elixir's Logger). A path that depends on the inputs only keeps two builds the same, from
whatever directory and into whatever store.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from unibeam_nb.errors import UnibeamError
from unibeam_nb.store import disk_errors, remove_tree


@contextmanager
def build_directory(key: str) -> Iterator[Path]:
    """An empty directory for building what ``key`` identifies; it is gone afterwards.

    Two processes that build the same thing take turns. There are sixteen locks for all keys, because a lock
    file cannot be removed safely.
    """
    base = _base()
    with disk_errors(base), FileLock(str(base / f".{key[0]}.lock")):
        work = base / key[:32]
        if work.exists():  # left by a process that died
            remove_tree(work)
        work.mkdir()
        try:
            yield work
        finally:
            remove_tree(work)


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
