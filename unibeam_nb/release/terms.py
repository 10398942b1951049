"""Erlang terms as text, as in ``.app``, ``.rel`` and ``sys.config`` files: reading and writing them.

Source: the Erlang reference manual, "Data Types", and ``file:consult/1``. An atom becomes an :class:`Atom`,
a string a ``str``, a binary ``bytes``, tuples, lists, maps and numbers their Python namesakes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from unibeam_nb.errors import SourceError

MAX_DEPTH = 100


class Atom(str):
    """An Erlang atom; equal to the text of its name."""

    __slots__ = ()


class TermError(SourceError):
    """A text is not a sequence of Erlang terms."""


_TOKEN = re.compile(r"""
    (?P<space>\s+|%[^\n]*)
  | (?P<float>-?\d+\.\d+(?:[eE][-+]?\d+)?)
  | (?P<based>-?\d{1,2}\#[0-9a-zA-Z]+)
  | (?P<int>-?\d+(?:_\d+)*)
  | (?P<char>\$(?:\\.|[^\\]))
  | (?P<atom>[a-z][\w@]*|'(?:[^'\\]|\\.)*')
  | (?P<string>"(?:[^"\\]|\\.)*")
  | (?P<mark><<|>>|=>|\#\{|[{}\[\](),|./])
""", re.VERBOSE | re.DOTALL)

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b", "s": " ", "d": "\x7f"}
_ESCAPE = re.compile(r"\\(x\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{2}|[0-7]{1,3}|\^.|.)", re.DOTALL)


def _unescape(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        code = found[1]
        if code[0] == "x" and len(code) > 1:
            number = int(code[1:].strip("{}"), 16)
            if number > 0x10FFFF:
                raise TermError("An Erlang string holds an impossible character.")
            return chr(number)
        if code[0] in "01234567":
            return chr(int(code, 8))
        if code[0] == "^" and len(code) > 1:
            return chr(ord(code[1]) & 31)
        return _ESCAPES.get(code, code)

    return _ESCAPE.sub(one, text)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found or not found.lastgroup:
            line = text.count("\n", 0, at) + 1
            raise TermError(f"Line {line} is not an Erlang term.", "Check its brackets, commas and quotes.")
        at = found.end()
        if found.lastgroup != "space":
            yield found.lastgroup, found[0]
    yield "end", ""


def _integer(text: str) -> int:
    base, based, digits = text.rpartition("#")
    try:
        return int(digits, abs(int(base))) * (-1 if base.startswith("-") else 1) if based else int(text)
    except ValueError:  # A base or digit that there is not; or so many digits that Python refuses to read them.
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise TermError(f"{shown!r} is not an Erlang number.") from None


class _Reader:
    """A recursive-descent reader over the tokens, one token ahead."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.kind, self.text = next(self.tokens)
        self.depth = 0

    def advance(self) -> str:
        taken = self.text
        if self.kind != "end":
            self.kind, self.text = next(self.tokens)
        return taken

    def expect(self, mark: str) -> None:
        if self.text != mark or self.kind != "mark":
            raise TermError(f"An Erlang term has {self.text or 'its end'!r} where {mark!r} belongs.",
                            "Check its brackets, commas and quotes.")
        self.advance()

    def at(self, mark: str) -> bool:
        return self.kind == "mark" and self.text == mark

    def items(self, close: str) -> list[Any]:
        found: list[Any] = []
        while not self.at(close):
            if found:
                self.expect(",")
            found.append(self.term())
        self.expect(close)
        return found

    def term(self) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TermError(f"An Erlang term is nested more than {MAX_DEPTH} deep.")
        try:
            return self.compound() if self.kind == "mark" else self.scalar()
        finally:
            self.depth -= 1

    def scalar(self) -> Any:
        kind, text = self.kind, self.advance()
        if kind in ("int", "based"):
            return _integer(text)
        if kind == "float":
            return float(text)
        if kind == "char":
            return ord(_unescape(text[1:])[0])
        if kind == "atom":
            return Atom(_unescape(text[1:-1]) if text[0] == "'" else text)
        if kind == "string":
            whole = _unescape(text[1:-1])
            while self.kind == "string":  # adjacent literals are one string
                whole += _unescape(self.advance()[1:-1])
            return whole
        raise TermError("An Erlang term ends too early.", "Check its brackets, commas and quotes.")

    def compound(self) -> Any:
        mark = self.advance()
        if mark == "{":
            return tuple(self.items("}"))
        if mark == "[":
            return self.items("]")
        if mark == "#{":
            return self.map()
        if mark == "<<":
            return self.binary()
        raise TermError(f"An Erlang term cannot begin with {mark!r}.", "Check its brackets, commas and quotes.")

    def map(self) -> dict[Any, Any]:
        pairs: dict[Any, Any] = {}
        while not self.at("}"):
            if pairs:
                self.expect(",")
            key = self.term()
            self.expect("=>")
            pairs[key if isinstance(key, (str, bytes, int, float)) else repr(key)] = self.term()
        self.expect("}")
        return pairs

    def binary(self) -> bytes:
        whole = b""
        first = True
        while not self.at(">>"):
            if not first:
                self.expect(",")
            first = False
            part = self.term()
            if self.at("/"):  # <<"..."/utf8>>
                self.advance()
                self.advance()
            if isinstance(part, int):
                whole += bytes([part & 255])
            elif isinstance(part, str) and not isinstance(part, Atom):
                whole += part.encode("latin-1", "ignore") if part.isascii() else part.encode()
            else:
                raise TermError("A binary holds something that is neither a number nor a string.")
        self.expect(">>")
        return whole


def consult(text: str) -> list[Any]:
    """All terms of a text, each ended by a full stop. Raises TermError."""
    reader = _Reader(text)
    terms = []
    while reader.kind != "end":
        terms.append(reader.term())
        reader.expect(".")
    return terms


def atom(name: str) -> str:
    """``name`` written as an atom, quoted where it must be."""
    if re.fullmatch(r"[a-z][a-zA-Z0-9_@]*", name) and name not in RESERVED:
        return name
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


def write(term: Any) -> str:
    """A term as text that :func:`consult` reads back."""
    if isinstance(term, Atom):
        return atom(term)
    if isinstance(term, str):
        return '"' + term.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(term, bytes):
        return "<<" + ",".join(str(byte) for byte in term) + ">>"
    if isinstance(term, tuple):
        return "{" + ",".join(write(part) for part in term) + "}"
    if isinstance(term, list):
        return "[" + ",".join(write(part) for part in term) + "]"
    if isinstance(term, (int, float)) and not isinstance(term, bool):
        return repr(term)
    raise TypeError(f"no Erlang term for {type(term).__name__}")


RESERVED = frozenset((
    "after", "and", "andalso", "band", "begin", "bnot", "bor", "bsl", "bsr", "bxor", "case", "catch", "cond", "div",
    "else", "end", "fun", "if", "let", "maybe", "not", "of", "or", "orelse", "receive", "rem", "try", "when", "xor"))
