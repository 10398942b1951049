"""What a disk needs so that a BIOS, which knows no file system, starts it too: GRUB, told where things lie.

The boot record holds GRUB's first 440 bytes, a partition of its own the rest ("core image"), made by ``grub-mkimage``
with our three commands inside. They name kernel and initramfs by their blocks inside the firmware's executable, so
that both exist once on the disk. Where the pieces find each other is written into them as ``grub-bios-setup`` does
(the GNU GRUB Manual, "BIOS installation"; ``include/grub/i386/pc/boot.h`` for the places), which itself needs a mounted
disk and root.
"""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import ImageError, ToolMissing

BIOS = "bios"
"""The option of an arm: a disk that a BIOS starts too, booted by one."""

PLACE = Path("/usr/lib/grub/i386-pc")
MODULES = ("biosdisk", "boot", "linux")
CODE_BYTES = 440
BLOCK = 512

CORE_BYTES = 512 << 10
"""Bytes of the partition for the core image, which has some 130 kB."""

_CORE_AT, _DRIVE_CHECK_AT = 0x5C, 0x66
_NO_CHECK = b"\x90\x90"
_LIST_AT, _LOADED_AT = 0x1F4, 0x820
"""In the first block: number of the core's first block, and a jump that old floppy drives need. In the core: the list
of the blocks behind its first one, and the segment they are read to."""


@dataclass(frozen=True)
class Extent:
    """A run of blocks of the disk."""

    first: int
    blocks: int

    def __str__(self) -> str:
        return f"(hd0){self.first}+{self.blocks}"


def extent(offset: int, size: int) -> Extent:
    """The blocks of ``size`` bytes from byte ``offset`` of the disk on. Raises ImageError inside a block."""
    if offset % BLOCK:
        raise ImageError(f"What lies at byte {offset} of the disk does not begin with a block.")
    return Extent(offset // BLOCK, -(-size // BLOCK))


def commands(kernel: Extent, initramfs: Extent, command_line: str) -> str:
    """What GRUB does. A BIOS always calls the disk it starts from its first."""
    return f"linux {kernel} {command_line}\ninitrd {initramfs}\nboot\n"


def core_image(text: str) -> bytes:
    """The core image with ``text`` as its commands. Raises ToolMissing without GRUB, ImageError when it refuses."""
    if not (PLACE / "boot.img").is_file():
        raise ToolMissing("GRUB for a BIOS is not on this host.", "Install it: apt-get install grub-pc-bin grub-common")
    with tempfile.TemporaryDirectory(prefix="unibeam-") as scratch:
        script, core = Path(scratch) / "commands", Path(scratch) / "core"
        script.write_text(text, encoding="utf-8")
        process.run([tools.find("grub-mkimage"), "-O", "i386-pc", "-d", PLACE, "-p", "/", "-c", script, "-o", core,
                     *MODULES])
        made = core.read_bytes()
    if len(made) > CORE_BYTES:
        raise ImageError(f"GRUB's core image has {len(made)} bytes, and there is room for {CORE_BYTES}.")
    return made


def placed(core: bytes, first: int) -> tuple[bytes, bytes]:
    """The boot record's code, and the core image, once both know that the core lies at block ``first``."""
    code = bytearray((PLACE / "boot.img").read_bytes()[:CODE_BYTES])
    struct.pack_into("<Q", code, _CORE_AT, first)
    code[_DRIVE_CHECK_AT:_DRIVE_CHECK_AT + 2] = _NO_CHECK
    told = bytearray(core)
    struct.pack_into("<QHH", told, _LIST_AT, first + 1, -(-len(core) // BLOCK) - 1, _LOADED_AT)
    return bytes(code), bytes(told)
