"""The ELF kernel inside a bzImage, for what boots nothing else (Firecracker).

Source: Documentation/arch/x86/boot.rst of Linux, protocol 2.08: the payload begins ``payload_offset`` bytes behind the
setup sectors and has ``payload_length`` bytes, the last four of which are the size it unpacks to.
"""

from __future__ import annotations

import struct

from unibeam_nb.errors import ArchiveError
from unibeam_nb.image.formats.unpacking import unpacked

_ELF = b"\x7fELF"

LARGEST = 96 << 20
"""Bytes that a kernel may unpack to; a distribution's has 50 to 70 MB."""


def elf_inside(kernel: bytes) -> bytes:
    """The uncompressed ELF kernel of a bzImage; an ELF file as it is. Raises ArchiveError where there is none."""
    if kernel.startswith(_ELF):
        return kernel
    if len(kernel) < 0x250 or kernel[0x202:0x206] != b"HdrS" or struct.unpack_from("<H", kernel, 0x206)[0] < 0x208:
        raise ArchiveError("The kernel is not a bzImage that tells where its payload is (boot protocol 2.08).")
    setup = (kernel[0x1F1] or 4) + 1
    offset, length = struct.unpack_from("<II", kernel, 0x248)
    payload = kernel[setup * 512 + offset:][:length]
    if len(payload) != length or length < 8:
        raise ArchiveError("The kernel is cut short: its payload is not all there.")
    size, = struct.unpack("<I", payload[-4:])
    if size > LARGEST:
        raise ArchiveError(f"The kernel would unpack to {size} bytes, which is no kernel's size.")
    # What stands behind the ELF file are the relocations of the kernel's own loader.
    whole = payload[:-4]
    if not whole.startswith(_ELF):
        try:
            found = unpacked(whole, size)
        except ArchiveError as error:
            raise ArchiveError(f"The kernel's payload is damaged ({error.message}).") from None
        if found is None:
            raise ArchiveError("The kernel is compressed in a way that is not known here (LZO perhaps).")
        whole = found
    if len(whole) != size or not whole.startswith(_ELF):
        raise ArchiveError(f"The kernel's payload unpacks to {len(whole)} bytes, and {size} of an ELF file were "
                           "promised.")
    return whole
