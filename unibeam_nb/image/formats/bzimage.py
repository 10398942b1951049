"""The ELF kernel inside a bzImage, for what boots nothing else (Firecracker).

Source: Documentation/arch/x86/boot.rst of Linux, protocol 2.08: the payload begins ``payload_offset`` bytes behind the
setup sectors and has ``payload_length`` bytes, the last four of which are the size it unpacks to.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zlib
from collections.abc import Callable

from unibeam_nb.errors import ArchiveError

_ELF = b"\x7fELF"


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
    # What stands behind the ELF file are the relocations of the kernel's own loader.
    whole = _unpacked(payload[:-4])
    if len(whole) != size or not whole.startswith(_ELF):
        raise ArchiveError(f"The kernel's payload unpacks to {len(whole)} bytes, and {size} of an ELF file were "
                           "promised.")
    return whole


def _unpacked(payload: bytes) -> bytes:
    kinds: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
        (b"\x1f\x8b", gzip.decompress), (b"\xfd7zXZ", lzma.decompress), (b"]\0\0", lzma.decompress),
        (b"BZh", bz2.decompress), (b"\x28\xb5\x2f\xfd", _zstd), (b"\x02\x21\x4c\x18", _lz4))
    if payload.startswith(_ELF):
        return payload
    for magic, unpack in kinds:
        if payload.startswith(magic):
            try:
                return unpack(payload)
            except (OSError, EOFError, lzma.LZMAError, zlib.error, RuntimeError, ValueError) as error:
                raise ArchiveError(f"The kernel's payload is damaged ({error}).") from None
    raise ArchiveError("The kernel is compressed in a way that is not known here (LZO perhaps).")


def _zstd(payload: bytes) -> bytes:
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(payload)) as stream:
            return stream.read()
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def _lz4(payload: bytes) -> bytes:
    """lz4's legacy frame: blocks of at most 8 MiB, each behind its length in four bytes."""
    import lz4.block

    whole, at = [], 4
    while at + 4 <= len(payload):
        length, = struct.unpack_from("<I", payload, at)
        try:
            whole.append(lz4.block.decompress(payload[at + 4:at + 4 + length], uncompressed_size=8 << 20))
        except lz4.block.LZ4BlockError as error:
            raise ValueError(str(error)) from None
        at += 4 + length
    return b"".join(whole)
