"""How much memory a linux image takes before its program runs: what is said before a boot that cannot succeed.

Measured with ``bench --min-memory``: a hello on a tiny kernel with its root on a disk answers with some 8 MiB for the
kernel, its tables included, and 16 for a lean emulator or 32 for one that compiles. A root that is unpacked into memory
comes on top, twice over, since the kernel lets it have half of the memory that there is (the kernel's
Documentation/filesystems/tmpfs.rst, "size").
"""

from __future__ import annotations

from dataclasses import dataclass

from unibeam_nb.errors import MachineError
from unibeam_nb.model import Image

MIB = 1 << 20
UNPACKED = 3
"""How much larger a kernel is in memory than as a bzImage, at least."""

EMULATOR_MB, LEAN_MB, TABLES_MB = 32, 16, 8
ROUND = 8


@dataclass(frozen=True)
class Room:
    """What an image takes in MiB: its ``kernel``; its ``root``, where that is unpacked into memory; and ``enough`` for
    them and the emulator."""

    kernel: int
    root: int
    enough: int

    @property
    def least(self) -> int:
        """Less than this cannot do: nothing would be left for the program."""
        return self.kernel + self.root


def room_of(image: Image, kernel_bytes: int, packed_bytes: int, *, direct: bool) -> Room:
    """The room of a linux image, whose kernel has ``kernel_bytes`` and is entered ``direct`` or unpacks itself, and
    whose initramfs has ``packed_bytes``, 0 where its root is on a disk."""
    content = sum(part.bytes for part in image.parts if part.name != "linux kernel")
    kernel = _mib(kernel_bytes * (1 if direct else UNPACKED))
    root = _mib(2 * content) if packed_bytes else 0
    emulator = LEAN_MB if "lean" in image.options else EMULATOR_MB
    enough = kernel + TABLES_MB + root + _mib(packed_bytes) + emulator
    return Room(kernel, root, -(-enough // ROUND) * ROUND)


def refuse_too_little(image: Image, mem_mb: int) -> None:
    """Raise MachineError, with the number that would do, for less memory than a linux image can be booted with."""
    kernel, packed = image.artefact("kernel"), image.artefact("initramfs")
    if image.target != "linux" or kernel is None:
        return
    with kernel.open("rb") as stream:
        direct = stream.read(4) == b"\x7fELF"
    room = room_of(image, kernel.stat().st_size, packed.stat().st_size if packed else 0, direct=direct)
    if mem_mb >= room.least:
        return
    root = f" and {room.root} MB for a root that is unpacked into memory" if room.root else ""
    raise MachineError(f"{image.name} cannot start in {mem_mb} MB: it takes {room.kernel} MB for its kernel{root}.",
                       f"Give it more: --mem {room.enough}.")


def refuse_more_than_there_is(name: str, mem_mb: int, available: int) -> None:
    """Raise MachineError, with the number that would do, for a virtual machine with more memory than the host has left
    (``available`` bytes)."""
    left = available // MIB
    if mem_mb > left:
        raise MachineError(f"{name} may come to take {mem_mb} MB, and this host has {left} MB left.",
                           f"Stop another machine, or give it less: --mem {max(left // 2 // ROUND * ROUND, ROUND)}.")


def _mib(size: int) -> int:
    return -(-size // MIB)
