"""A tar archive of a stranger's, opened so that its headers cannot take more memory or time than they are worth.

Python's tarfile believes headers: one that says that it has 8 GB is read whole, and from zeros that gzip has packed
into 8 MB it gets them; one with many digits is searched in a time that grows with their square (CVE-2024-6232). So
tarfile reads through :class:`Suspect`, which refuses both while the listing is read.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from unibeam_nb.errors import ArchiveError

LARGEST_HEADER = 256 << 10
"""Bytes of an extended header (long names, attributes); usual ones have less than one thousand."""

PIECE = 64 << 10
DICTIONARY = 100 << 20
"""Bytes of memory that an xz stream may ask for: ``xz -9`` packs with a dictionary of 64 MB."""

_DIGITS = re.compile(rb"\d{60}")
Packed = gzip.GzipFile | bz2.BZ2File | io.BufferedReader | IO[bytes]


class _Xz(io.RawIOBase):
    """What lzma.LZMAFile is, but for streams that ask for more memory than :data:`DICTIONARY`: it gives them 4 GB."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._begin()

    def _begin(self) -> None:
        self._file.seek(0)
        self._at, self._stream = 0, lzma.LZMADecompressor(memlimit=DICTIONARY)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def readinto(self, into: Any) -> int:
        piece = b""
        while not piece and not self._stream.eof:
            packed = self._file.read(PIECE) if self._stream.needs_input else b""
            if self._stream.needs_input and not packed:
                raise EOFError("it is cut short")
            piece = self._stream.decompress(packed, len(into))
        into[:len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Only from the beginning, as tarfile seeks; what lies behind is unpacked anew."""
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("it can be sought from the beginning only")
        if offset < self._at:
            self._begin()
        while self._at < offset and self.read(min(PIECE, offset - self._at)):
            pass
        return self._at


class Suspect:
    """A stream for tarfile to read from. While ``listing``, reads are those of headers."""

    def __init__(self, stream: Packed, name: str) -> None:
        self._stream, self._name, self.listing = stream, name, True

    def read(self, size: int = -1) -> bytes:
        if self.listing and (size < 0 or size > LARGEST_HEADER):
            raise ArchiveError(f"{self._name} has a header of {size} bytes, which no archive needs.",
                               "Do not trust this archive; build the release again.")
        try:
            data = self._stream.read(size)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise tarfile.ReadError(f"its compression is broken ({error})") from None
        if self.listing and size > tarfile.BLOCKSIZE and _DIGITS.search(data):
            raise ArchiveError(f"{self._name} has a header with a number that nothing has so many of.",
                               "Do not trust this archive; build the release again.")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._stream.seek(offset, whence)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise tarfile.ReadError(f"its compression is broken ({error})") from None

    def tell(self) -> int:
        return self._stream.tell()


@contextmanager
def opened(archive: Path) -> Iterator[tuple[tarfile.TarFile, Suspect]]:
    """An archive, compressed or not, and the stream that it is read through. Raises what tarfile raises."""
    with archive.open("rb") as file, _unpacking(file) as stream:
        suspect = Suspect(stream, archive.name)
        with tarfile.open(fileobj=cast(IO[bytes], suspect), mode="r:") as tar:
            yield tar, suspect


@contextmanager
def _unpacking(file: IO[bytes]) -> Iterator[Packed]:
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        with gzip.GzipFile(fileobj=file) as stream:
            yield stream
    elif magic.startswith(b"BZh"):
        with bz2.BZ2File(file) as packed:
            yield packed
    elif magic.startswith((b"\xfd7zXZ", b"]\0\0")):
        yield io.BufferedReader(_Xz(file))
    else:
        yield file
