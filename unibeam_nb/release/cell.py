"""What a cell's text says about itself, before any compiler sees it. Pure.

Line numbers are those of the cell: the first line of its body is line 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unibeam_nb.errors import SourceError
from unibeam_nb.release.beamfile import Beam

LANGUAGES = ("erlang", "elixir")

_ERLANG_MODULE = re.compile(
    r"^[ \t]*-[ \t]*module[ \t]*\([ \t]*('(?:[^'\n\\]|\\.)+'|[a-z][\w@]*)[ \t]*\)", re.MULTILINE)
_ELIXIR_MODULE = re.compile(r"^[ \t]*defmodule[ \t(]+([A-Z][\w.]*)", re.MULTILINE)

ERLANG_EXAMPLE = "-module(hello). -export([start/0]). start() -> io:format(\"hello~n\")."
ELIXIR_EXAMPLE = "defmodule Hello do def start, do: IO.puts(\"hello\") end"


@dataclass(frozen=True)
class Unit:
    """One file for the compiler: its name, and its text padded so that its line numbers are the cell's."""

    filename: str
    text: str


def language_of(text: str, said: str | None = None) -> str:
    """``erlang`` or ``elixir``. Raises SourceError when the text is neither."""
    if said is not None:
        if said not in LANGUAGES:
            raise SourceError(f"{said!r} is not a language of cells.", "The languages are erlang and elixir.")
        return said
    erlang, elixir = _ERLANG_MODULE.search(text), _ELIXIR_MODULE.search(text)
    if erlang and (not elixir or erlang.start() < elixir.start()):
        return "erlang"
    if elixir:
        return "elixir"
    if not text.strip():
        raise SourceError("The cell is empty.", f"Write a module, for example: {ERLANG_EXAMPLE}")
    raise SourceError("The cell holds neither an Erlang nor an Elixir module.",
                      f"Begin with -module(...) or defmodule, for example: {ERLANG_EXAMPLE}")


def units(text: str, language: str, name: str = "cell") -> list[Unit]:
    """The files to compile. An Erlang cell is split at its ``-module`` lines, what stands before the first
    belongs to it; an Elixir cell is one file. Raises SourceError when there is no module, or one twice."""
    if language == "elixir":
        if not _ELIXIR_MODULE.search(text):
            raise SourceError("The cell holds no Elixir module.", f"Write one, for example: {ELIXIR_EXAMPLE}")
        return [Unit(f"{name}.ex", text)]
    found = list(_ERLANG_MODULE.finditer(text))
    if not found:
        raise SourceError("The cell holds no Erlang module.", f"Write one, for example: {ERLANG_EXAMPLE}")
    made: list[Unit] = []
    starts = [0, *(m.start() for m in found[1:]), len(text)]
    for index, match in enumerate(found):
        module = match[1].strip("'")
        if "/" in module or module in (".", ".."):
            raise SourceError(f"{module!r} cannot be a module's name here.", "Use letters, digits and underscores.")
        if any(unit.filename == f"{module}.erl" for unit in made):
            line = text.count("\n", 0, match.start()) + 1
            raise SourceError(f"The cell holds the module {module} twice.", f"Rename the one on line {line}.")
        before = text.count("\n", 0, starts[index])
        made.append(Unit(f"{module}.erl", "\n" * before + text[starts[index]:starts[index + 1]]))
    return made


def in_cell_order(text: str, language: str, modules: Sequence[str]) -> list[str]:
    """Compiled modules in the order in which the cell defines them (nested Elixir modules by their last name)."""
    pattern = _ERLANG_MODULE if language == "erlang" else _ELIXIR_MODULE
    places = {m[1].strip("'"): m.start() for m in reversed(list(pattern.finditer(text)))}

    def place(module: str) -> tuple[int, str]:
        short = module.removeprefix("Elixir.")
        parts = short.split(".")
        at = (places["." .join(parts[i:])] for i in range(len(parts)) if ".".join(parts[i:]) in places)
        return next(at, len(text)), module

    return sorted(modules, key=place)


@dataclass(frozen=True)
class Main:
    """Which module starts the program; ``callback`` tells that it is an OTP application callback itself."""

    module: str
    callback: bool


def main_of(text: str, language: str, beams: Mapping[str, Beam]) -> Main:
    """The first module of the cell that can start a program. Raises SourceError when there is none."""
    for module in in_cell_order(text, language, list(beams)):
        beam = beams[module]
        if beam.exported("start", 2) and _is_callback(beam):
            return Main(module, True)
        if beam.exported("start", 0):
            return Main(module, False)
    if language == "elixir":
        raise SourceError("No module of the cell has a start function.",
                          f"Define start/0, or use Application and define start/2. For example: {ELIXIR_EXAMPLE}")
    raise SourceError("No module of the cell exports a start function.",
                      f"Export start/0, or start/2 with -behaviour(application). For example: {ERLANG_EXAMPLE}")


def _is_callback(beam: Beam) -> bool:
    """Whether its attributes name the behaviour ``application`` (chunk ``Attr``: a term that holds the atom)."""
    attributes = dict(beam.chunks).get("Attr", b"")
    named = any(word in attributes for word in (b"behaviour", b"behavior"))
    return named and bool(re.search(rb"(?:d\x00|w|s)(?:\x0bapplication|\x12Elixir\.Application)", attributes))


def display_name(module: str) -> str:
    """A module's name as its author writes it."""
    return module.removeprefix("Elixir.")


def app_name(name: str, taken: Mapping[str, object] | None = None) -> str:
    """An OTP application name made from what the user calls the thing, none of OTP's own."""
    plain = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_") or "cell"
    plain = plain if plain[0].isalpha() else f"app_{plain}"
    return f"{plain}_cell" if taken and plain in taken else plain
