"""Disks in the formats of others, by ``qemu-img``: the same bytes for the same image.

qemu-img writes random numbers and the time into two formats; they are replaced by what comes from the image:

- vhd: the footer's time stamp and identifier (Virtual Hard Disk Image Format Specification 1.0, "Hard Disk Footer").
- vmdk: the content identifier in the descriptor, and in the same place the file's own name, which is fixed.

Other versions of qemu-img may write other bytes (the creator's version in a vhd, the layout of a qcow2).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import struct
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import ImageError
from unibeam_nb.image.formats.gpt import NAMESPACE
from unibeam_nb.progress import step

MIB = 1 << 20

OPTIONS = {"raw": ("-O", "raw"), "qcow2": ("-O", "qcow2"), "vmdk": ("-O", "vmdk", "-o", "subformat=streamOptimized"),
           "vhd": ("-O", "vpc", "-o", "subformat=fixed,force_size=on")}
"""What each format is for qemu-img. ``force_size`` keeps the size as it is, where cylinders and heads would round it;
Azure wants whole MiB, which our disks have (formats/gpt.py)."""

_FOOTER = struct.Struct(">8sIIQI4sI4sQQIII16sB")
_DESCRIPTOR = re.compile(rb"(# Disk DescriptorFile\n[^\0]*?\n)CID=[0-9a-f]{1,8}(\n[^\0]*)\0{7,}")


def convert(disk: Path, kind: str, output: Path, seed: str) -> Path:
    """Write the raw ``disk`` as ``kind`` to ``output``, which appears whole or not at all. ``seed`` is the image's
    sha256, from which identifiers come. Raises ToolMissing, ImageError, ProgramFailed."""
    program = tools.find("qemu-img")
    with step(f"Writing {output.name}"), beside(output) as place:
        made = place / "disk"
        process.run([program, "convert", "-f", "raw", *OPTIONS[kind], disk, made])
        if kind == "vhd":
            fix_vhd(made, seed)
        elif kind == "vmdk":
            fix_vmdk(made, seed)
        made.replace(output)
    return output


@contextlib.contextmanager
def beside(output: Path) -> Iterator[Path]:
    """A directory on the file system of ``output``, gone afterwards. Raises ImageError where nothing can be written."""
    try:
        if output.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".unibeam-") as place:
            yield Path(place)
    except OSError as error:
        raise ImageError(f"{output} cannot be written: {error.strerror}.",
                         "Name a file in a directory that you may write to: -o FILE") from None


def fix_vhd(path: Path, seed: str) -> None:
    """Take time and chance out of the footer of a fixed VHD, its last 512 bytes."""
    with path.open("r+b") as stream:
        stream.seek(-512, os.SEEK_END)
        fields = list(_FOOTER.unpack(stream.read(_FOOTER.size)))
        fields[4] = 0  # time stamp: seconds since 2000
        fields[13] = uuid.uuid5(NAMESPACE, f"{seed}/vhd").bytes
        fields[12] = 0
        fields[12] = ~sum(_FOOTER.pack(*fields)) & 0xFFFFFFFF
        stream.seek(-512, os.SEEK_END)
        stream.write(_FOOTER.pack(*fields))


def fix_vmdk(path: Path, seed: str) -> None:
    """Take chance out of the descriptor of a stream-optimised VMDK, a text with zeros behind it in its first 64 KiB."""
    with path.open("r+b") as stream:
        head = stream.read(1 << 16)
        found = _DESCRIPTOR.search(head)
        if found is None:
            raise ImageError("qemu-img wrote a vmdk without a content identifier.")
        # qemu-img writes it without leading zeros; all ones, and all but the last, are reserved.
        fixed = b"%sCID=0%s%s" % (found[1], seed[:7].encode(), found[2])
        stream.seek(found.start())
        stream.write(fixed.ljust(found.end() - found.start(), b"\0"))
