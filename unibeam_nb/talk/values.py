"""Erlang values as Python sees them. Pure.

| Erlang, Elixir | Python |
|---|---|
| numbers | ``int``, ``float`` |
| ``true``, ``false``; Elixir: ``nil`` | ``bool``; ``None`` |
| any other atom | :class:`~unibeam_nb.release.terms.Atom`, equal to the text of its name |
| Erlang: a list of printable characters, as Erlang's own shell sees it | ``str`` |
| any other list; tuple; map | ``list``; ``tuple``; ``dict`` (a list among its keys is a tuple) |
| Erlang: a binary; Elixir: one that is no valid text | ``bytes`` |
| Elixir: a binary that is valid text | ``str`` |
| pid, port, reference, fun, odd bits | :class:`Opaque`, its text as the machine writes it |
"""

from __future__ import annotations

from typing import Any

from unibeam_nb.release.terms import Atom
from unibeam_nb.talk.etf import Improper, Pairs

MARKER = "$unibeam"
"""What the machine puts before the text of something that has no meaning outside of it."""


class Opaque(str):
    """What cannot leave the machine, as text: a pid, a port, a reference, a fun."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def python(term: Any, language: str) -> Any:
    """A decoded term as a Python value."""
    if isinstance(term, Atom):
        known = {"true": True, "false": False} | ({"nil": None} if language == "elixir" else {})
        return known.get(term, term)
    if isinstance(term, bytes):
        return _binary(term) if language == "elixir" else term
    if isinstance(term, Pairs):
        return {_key(python(key, language)): python(value, language) for key, value in term}
    if isinstance(term, Improper):
        return Improper(python(part, language) for part in term)
    if isinstance(term, list):
        if language == "erlang" and (text := _text(term)):
            return text
        return [python(part, language) for part in term]
    if isinstance(term, tuple):
        if len(term) == 2 and term[0] == MARKER and isinstance(term[1], bytes):
            return Opaque(term[1].decode("utf-8", "replace"))
        return tuple(python(part, language) for part in term)
    return term


def _key(key: Any) -> Any:
    """A key of a map as Python can hold it: lists become tuples, maps their pairs."""
    if isinstance(key, list | tuple):
        return tuple(_key(part) for part in key)
    if isinstance(key, dict):
        return tuple((name, _key(value)) for name, value in key.items())
    return key


def _binary(data: bytes) -> str | bytes:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


def _text(numbers: list[Any]) -> str | None:
    """The string that a list of printable characters is (io_lib:printable_unicode_list/1)."""
    if not numbers or not all(type(number) is int and _printable(number) for number in numbers):
        return None
    return "".join(map(chr, numbers))


def _printable(code: int) -> bool:
    return (32 <= code <= 126 or 8 <= code <= 13 or code == 27 or 0xA0 <= code < 0xD800 or 0xE000 <= code < 0xFFFE
            or 0x10000 <= code <= 0x10FFFF)
