"""Temporary directories that are held by whoever uses them, so that what a dead process left can be told and removed.

The hold is a lock on the directory itself (flock(2)), which the kernel lets go of when its process ends, however it
ends. What nobody holds is remains: :func:`sweep` ends the programs that were started for it and removes it. A process
that was killed cannot tidy up; the next one that works in the same place does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VARIABLE = "UNIBEAM_HELD"
"""The variable by which a program that was started for such a directory is known, with everything that it starts."""

PROC = Path("/proc")

PASSES = 100
"""How often programs of a directory are looked for: until there are none, but one that cannot be killed stays."""


@contextmanager
def held_directory(parent: Path, prefix: str = "") -> Iterator[Path]:
    """A new private directory below ``parent``, whose name begins so, held until it is left and gone then."""
    path, handle = _new(parent, prefix)
    try:
        yield path
    finally:
        try:
            remove_tree(path)
        finally:
            os.close(handle)


def _new(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        handle = hold(path, wait=True)
        if handle is not None:
            return path, handle


def hold(path: Path, *, wait: bool = False) -> int | None:
    """Hold a file or directory until the file descriptor that is returned is closed; None where it is gone, or, unless
    told to ``wait``, somebody else holds it."""
    # Not above: a page that reads a shared report has this module, too, in a browser, where there are no locks.
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        # Whoever swept meanwhile has removed what was locked here.
        if os.path.samestat(os.fstat(handle), path.lstat()):
            return handle
    except OSError:
        pass
    os.close(handle)
    return None


def sweep(parent: Path, pattern: str = "*") -> list[Path]:
    """Remove what lies in ``parent``, has a name like ``pattern``, is this user's and is held by nobody; programs that
    were started for it and still run are killed first. Returns what was removed."""
    gone = []
    for path in sorted(parent.glob(pattern)) if parent.is_dir() else ():
        with contextlib.suppress(OSError):
            if path.lstat().st_uid != os.geteuid():
                continue
            handle = hold(path)
            if handle is None:
                continue
            try:
                kill_those_of(path)
                remove_tree(path) if path.is_dir() else path.unlink()
                gone.append(path)
            finally:
                os.close(handle)
    return gone


def kill_those_of(path: Path) -> None:
    """Kill every program that was started for the held directory ``path``, also those that others of them were just
    starting."""
    for _ in range(PASSES):
        if not _kill_those_of(path):
            return


def _kill_those_of(path: Path) -> bool:
    """Kill those that are there now; whether there were any."""
    wanted, any_there = f"{VARIABLE}={path}".encode(), False
    for entry in PROC.iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                # Opened before it is looked at: what is killed is what was looked at (pidfd_open(2)).
                handle = os.pidfd_open(int(entry.name))
                try:
                    if wanted in (entry / "environ").read_bytes().split(b"\0"):
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                        any_there = True
                finally:
                    os.close(handle)
    return any_there


def remove_tree(path: Path) -> None:
    """Remove a directory with everything in it, also where a directory was made read-only or closed."""
    def unlock(function: Callable[..., Any], name: str, _info: Any) -> None:
        with contextlib.suppress(OSError):
            Path(name).parent.chmod(0o700)
            if function in (os.unlink, os.rmdir):
                function(name)
            elif Path(name).lstat().st_mode & 0o40700 == 0o40000:
                # A directory without rights for its owner, as an overlay's work directory is.
                Path(name).chmod(0o700)
                remove_tree(Path(name))

    shutil.rmtree(path, onerror=unlock)
