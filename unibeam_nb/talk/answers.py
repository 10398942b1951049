"""What a machine answered, taken apart without believing that it is what was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from unibeam_nb.errors import MachineError


@contextmanager
def sensible(name: str) -> Iterator[None]:
    """Turn an answer of another shape, from the machine ``name``, into MachineError."""
    try:
        yield
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise MachineError(f"{name} makes no sense.", "Boot it again.") from error


def text(term: Any) -> str:
    """A binary as text; what is no UTF-8 in it is replaced. Raises TypeError for any other term."""
    if not isinstance(term, bytes):
        raise TypeError(f"{type(term).__name__} instead of a binary")
    return term.decode("utf-8", "replace")


def texts(term: Any) -> list[str]:
    """A list of binaries as texts. Raises TypeError for any other term."""
    if not isinstance(term, list):
        raise TypeError(f"{type(term).__name__} instead of a list")
    return [text(each) for each in term]


def number(term: Any) -> int:
    """A whole number of at most 64 bits. Raises TypeError, ValueError."""
    if not isinstance(term, int):
        raise TypeError(f"{type(term).__name__} instead of a number")
    if not 0 <= term < 1 << 64:
        raise ValueError("a number of another size")
    return term
