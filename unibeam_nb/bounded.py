"""Bytes that somebody else wrote, read by their fields and never beyond their end. Pure.

Every place and every size in a file is only a claim. Whatever claim leads out of the bytes ends in the reader's own
error, and what is read is never more than there is: a count is checked against the bytes that are left before anything
is made of it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from unibeam_nb.errors import UnibeamError


class Bounded:
    """The bytes ``data``; ``error`` makes the error for a reason, as the end of a sentence (``it is cut short``)."""

    def __init__(self, data: bytes | mmap.mmap, error: Callable[[str], UnibeamError]) -> None:
        self.data, self._error = data, error

    def __len__(self) -> int:
        return len(self.data)

    def refuse(self, why: str) -> NoReturn:
        """Raise the error."""
        raise self._error(why)

    def piece(self, at: int, size: int) -> bytes:
        """``size`` bytes from ``at``."""
        if at < 0 or size < 0 or at + size > len(self.data):
            self.refuse("it is cut short")
        return self.data[at:at + size]

    def fields(self, layout: struct.Struct, at: int) -> tuple[Any, ...]:
        """The fields that lie at ``at``."""
        return layout.unpack(self.piece(at, layout.size))

    def rows(self, layout: struct.Struct, at: int, count: int) -> Iterator[tuple[Any, ...]]:
        """The fields of ``count`` rows without gaps between them."""
        return layout.iter_unpack(self.piece(at, count * layout.size))

    def text(self, at: int, longest: int = 4096) -> str:
        """The text that ends in NUL and begins at ``at``; at most ``longest`` bytes of UTF-8."""
        if not 0 <= at < len(self.data):
            self.refuse("a text lies outside of it")
        end = self.data.find(b"\0", at, at + longest + 1)
        if end < 0:
            self.refuse("a text does not end")
        return self.decoded(self.data[at:end])

    def decoded(self, raw: bytes) -> str:
        """Bytes as text."""
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self.refuse("a text in it is not UTF-8")
