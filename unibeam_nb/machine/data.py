"""The disk on which a machine's program keeps what it writes: a raw file with an ext4 file system, made here on first
use by ``mkfs.ext4``, because a guest has no such program.

A file is ours when it is an ext4 file system with our label, which is also how the guest finds its disk (guest/data.c).
What is not ours is never formatted: only a file that does not exist, or that has no data at all, becomes a disk.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import MachineError, UsageError
from unibeam_nb.progress import note, step
from unibeam_nb.store import Store
from unibeam_nb.units import format_bytes

LABEL = "unibeam-data"
SUFFIX = ".ext4"
LEAST = 16 << 20
"""Bytes: less leaves an ext4 file system no room for its journal of 4 MiB."""

USUAL = 1 << 30
"""Bytes of a file that is named without a size; it is sparse, so they are taken when they are written."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SUPERBLOCK, _MAGIC, _LABEL = 1024, slice(56, 58), slice(120, 136)
"""Where ext4 has its superblock, and in it its magic number and label (the kernel's filesystems/ext4/super.rst)."""


def size_of(text: str) -> int | None:
    """``64M`` or ``2G`` as bytes; None for what is no size, and thus a path. Raises UsageError for too small a one."""
    found = re.fullmatch(r"(\d{1,15})([KMGT]?)i?B?", text)
    if found is None:
        return None
    size = int(found[1]) * _UNITS[found[2]]
    if size < LEAST:
        raise UsageError(f"A data disk of {text} is too small.", "Give it at least 16M; it is sparse.")
    return size


def provide(store: Store, wanted: str, name: str) -> Path:
    """The disk meant by ``wanted``: a size, for the disk that belongs to the name ``name``, or a file's path.

    Raises UsageError for a file that holds anything else, ToolMissing without mkfs.ext4.
    """
    size = size_of(wanted)
    path = Path(wanted).expanduser().absolute() if size is None else store.directory("data") / f"{name}{SUFFIX}"
    if not path.parent.is_dir():
        raise UsageError(f"There is no directory {path.parent}.", "Make it, or give a size instead: --data 64M")
    if not path.exists():
        _make(path, size or USUAL)
    elif not path.is_file():
        raise UsageError(f"{path} is not a file.", "Name a file, or give a size: --data 64M")
    elif _blank(path):
        _make(path, size or max(path.stat().st_size, LEAST))
    elif not is_ours(path):
        raise UsageError(f"{path} holds something that is not a data disk of unibeam's, and is left alone.",
                         "Name another file, or a size: --data 64M")
    elif size is not None and path.stat().st_size != size:
        note(f"The data disk of {name} was made with {format_bytes(path.stat().st_size)} and keeps that size.")
    return path


def is_ours(path: Path) -> bool:
    """Whether this is an ext4 file system with our label."""
    with path.open("rb") as stream:
        stream.seek(_SUPERBLOCK)
        block = stream.read(_LABEL.stop)
    return block[_MAGIC] == b"\x53\xef" and block[_LABEL].rstrip(b"\0") == LABEL.encode()


def _blank(path: Path) -> bool:
    """Whether a file has no data: it is empty, or one hole from end to end (lseek(2))."""
    with path.open("rb") as stream:
        try:
            os.lseek(stream.fileno(), 0, os.SEEK_DATA)
        except OSError as error:
            return error.errno == errno.ENXIO
    return False


def _make(path: Path, size: int) -> None:
    """Write an empty file system of ``size`` bytes; it takes its place whole or not at all."""
    program = tools.find("mkfs.ext4")
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with step(f"Making a data disk of {format_bytes(size)}"):
        try:
            with fresh.open("xb") as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.truncate(size)
            # The file is all zeros already, so tables that are zeros need neither be written here nor by the guest.
            process.run([program, "-q", "-F", "-L", LABEL, "-b", "4096", "-m", "0", "-E",
                         "root_owner=0:0,nodiscard,assume_storage_prezeroed=1", fresh], timeout=120)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)


def refuse_shared(path: Path, others: dict[str, Path | None]) -> None:
    """Raise MachineError where one of the machines in ``others``, each with its disk, has this one: a file system
    that two kernels write to is lost."""
    owner = next((name for name, theirs in others.items() if theirs == path), None)
    if owner is not None:
        raise MachineError(f"The data disk {path} belongs to {owner}, which is running.",
                           f"Stop it with 'unibeam stop {owner}', or name another disk.")
