"""Directories that belong to one user of a host with several: made private, and refused where they are not.

What unibeam keeps (images that will be booted, the RAM of machines, sockets that steer them) must neither be read nor
replaced by other users. One closed door above it does that whatever the umask was when the rest was made, and
whatever modes files below have.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from unibeam_nb.errors import UnibeamError

OTHERS = 0o077
"""The mode bits by which anybody but the owner gets anything."""

OVERFLOW = Path("/proc/sys/kernel/overflowuid")


def private(path: Path) -> Path:
    """The directory ``path``, which only this user can enter afterwards; it is made where it is not there, with what is
    missing above it, and closed where it was open. A link is followed where it is this user's own.

    Raises UnibeamError where that cannot be had: it is no directory, belongs to somebody else, keeps other rights than
    it is given, or lies where others could put another one in its place.
    """
    _made(path)
    # Opened once: whoever exchanges it between two looks at its name must not get its mode set elsewhere.
    handle = _opened(path)
    try:
        status = os.fstat(handle)
        for owner in (status.st_uid, path.lstat().st_uid):
            if owner != os.geteuid():
                raise UnibeamError(f"{path} belongs to another user (uid {owner}).", _ELSEWHERE)
        if status.st_mode & OTHERS:
            with contextlib.suppress(OSError):
                os.fchmod(handle, stat.S_IMODE(status.st_mode) & ~OTHERS)
            if os.fstat(handle).st_mode & OTHERS:
                raise UnibeamError(f"{path} cannot be made private: its file system keeps no permissions.", _ELSEWHERE)
    finally:
        os.close(handle)
    _refuse_exchangeable(path)
    return path


_ELSEWHERE = "Set UNIBEAM_HOME to a directory that only you can write to."


def _made(path: Path) -> None:
    """Make ``path`` and what is missing above it, all of it private: of a mode mkdir(2) takes the umask away, and
    never adds to it."""
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for directory in reversed(missing):
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except (NotADirectoryError, FileNotFoundError):  # A file, or a link to nowhere.
        raise UnibeamError(f"{path} is not a directory.", f"Look at it, then remove it: rm {path}") from None
    except PermissionError:
        raise UnibeamError(f"{path} belongs to another user.", _ELSEWHERE) from None


def _refuse_exchangeable(path: Path) -> None:
    """Raise UnibeamError where another user may rename what lies on the way to ``path``: he owns a directory of it, or
    everybody may write to one that has no sticky bit.

    Root is trusted, and so is the user that a user namespace shows for all whom it does not know.
    """
    trusted = {0, os.geteuid(), int(OVERFLOW.read_text()) if OVERFLOW.exists() else 0}
    for above in {*path.absolute().parents, *path.resolve().parents}:
        status = above.stat()
        if status.st_uid not in trusted:
            raise UnibeamError(f"{above}, in which {path.name} lies, belongs to another user (uid {status.st_uid}).",
                               _ELSEWHERE)
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            raise UnibeamError(f"Every user of this host can replace what is in {above}.",
                               f"Close it (chmod o-w {above}), or set UNIBEAM_HOME to a directory of your own.")
