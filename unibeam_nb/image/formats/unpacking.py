"""What kernels and their modules are compressed with, undone, with a bound on what comes out. Pure.

A few bytes can become gigabytes, so nothing is unpacked at once: it comes in pieces, and ends where it may not grow.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator

from unibeam_nb.errors import ArchiveError

PIECE = 1 << 20
LZ4_BLOCK = 8 << 20
"""Bytes that a block of lz4's legacy frame unpacks to at most."""

DICTIONARY = 100 << 20
"""Bytes of memory that an xz stream may ask for: the kernel packs with a dictionary of 32 MB."""


def unpacked(packed: bytes, most: int) -> bytes | None:
    """What is compressed in ``packed``, by what it begins with; None where that is not known.

    Raises ArchiveError, whose message is the reason, where it is damaged or would be more than ``most`` bytes.
    """
    way = next((way for magic, way in _WAYS if packed.startswith(magic)), None)
    if way is None:
        return None
    whole = io.BytesIO()
    try:
        for piece in way(packed):
            if whole.tell() + len(piece) > most:
                raise ArchiveError(f"it unpacks to more than {most} bytes")
            whole.write(piece)
    except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
        raise ArchiveError(str(error) or "its compression is broken") from None
    return whole.getvalue()


def _read(stream: gzip.GzipFile | bz2.BZ2File) -> Iterator[bytes]:
    while piece := stream.read(PIECE):
        yield piece


def _gzip(packed: bytes) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
        yield from _read(stream)


def _bzip2(packed: bytes) -> Iterator[bytes]:
    with bz2.BZ2File(io.BytesIO(packed)) as stream:
        yield from _read(stream)


def _xz(packed: bytes) -> Iterator[bytes]:
    stream = lzma.LZMADecompressor(memlimit=DICTIONARY)
    piece = stream.decompress(packed, PIECE)
    while piece or not stream.eof:
        if not piece and stream.needs_input:
            raise EOFError("it is cut short")
        yield piece
        piece = b"" if stream.eof else stream.decompress(b"", PIECE)


def _zstd(packed: bytes) -> Iterator[bytes]:
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed)) as stream:
            while piece := stream.read(PIECE):
                yield piece
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def _lz4(packed: bytes) -> Iterator[bytes]:
    """lz4's legacy frame: blocks of at most 8 MiB, each behind its length in four bytes."""
    import lz4.block

    at = 4
    while at + 4 <= len(packed):
        length, = struct.unpack_from("<I", packed, at)
        try:
            yield lz4.block.decompress(packed[at + 4:at + 4 + length], uncompressed_size=LZ4_BLOCK)
        except lz4.block.LZ4BlockError as error:
            raise ValueError(str(error)) from None
        at += 4 + length


_WAYS: tuple[tuple[bytes, Callable[[bytes], Iterator[bytes]]], ...] = (
    (b"\x1f\x8b", _gzip), (b"\xfd7zXZ", _xz), (b"]\0\0", _xz), (b"BZh", _bzip2), (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x02\x21\x4c\x18", _lz4))
