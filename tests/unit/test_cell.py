from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.errors import SourceError
from unibeam_nb.release.beamfile import Beam
from unibeam_nb.release.cell import Main, app_name, in_cell_order, language_of, main_of, units

TWO = "%% both\n-module(one).\n-export([go/0]).\ngo() -> ok.\n\n-module('two').\n-export([start/0]).\nstart() -> ok.\n"


def module(name: str, *exports: tuple[str, int], behaviour: str = "") -> Beam:
    atoms = [name, *(f for f, _ in exports)]
    table = struct.pack(">i", len(atoms)) + b"".join(bytes([len(a)]) + a.encode() for a in atoms)
    rows = b"".join(struct.pack(">III", index, arity, 1) for index, (_, arity) in enumerate(exports, 2))
    attributes = b"\x83l\0\0\0\1h\2d\0\x09behaviourl\0\0\0\1d" + struct.pack(">H", len(behaviour)) + behaviour.encode()
    return Beam((("AtU8", table), ("ExpT", struct.pack(">I", len(exports)) + rows), ("Attr", attributes + b"jj")))


@pytest.mark.parametrize(("text", "language"), [
    ("-module(a).", "erlang"), ("  - module ( 'A b' ) .", "erlang"), ("%% c\n\n-module(a).", "erlang"),
    ("defmodule A do\nend", "elixir"), ("# c\n  defmodule A.B do\nend", "elixir"),
    ("-module(a).\n%% defmodule A do", "erlang"),
])
def test_the_language_is_seen(text: str, language: str) -> None:
    assert language_of(text) == language


def test_a_comment_does_not_make_a_module() -> None:
    with pytest.raises(SourceError) as caught:
        language_of("% -module(a).\n")
    assert caught.value.message == "The cell holds neither an Erlang nor an Elixir module."
    assert "-module(...)" in (caught.value.hint or "")


def test_an_empty_cell_is_one_sentence() -> None:
    with pytest.raises(SourceError) as caught:
        language_of(" \n")
    assert caught.value.message == "The cell is empty."


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(SourceError) as caught:
        language_of("x", "perl")
    assert (caught.value.message, caught.value.hint) == (
        "'perl' is not a language of cells.", "The languages are erlang and elixir.")


def test_a_cell_is_split_at_its_modules_and_lines_stay() -> None:
    one, two = units(TWO, "erlang")
    assert (one.filename, two.filename) == ("one.erl", "two.erl")
    lines = TWO.splitlines()
    for unit, name in ((one, "go() ->"), (two, "start() ->")):
        at = next(i for i, line in enumerate(unit.text.splitlines()) if line.startswith(name))
        assert lines[at].startswith(name)
    assert "two" not in one.text


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_every_line_of_every_module_keeps_its_number(gaps: list[int]) -> None:
    text = "".join("\n" * gap + f"-module(m{i}).\nf{i}() -> ok.\n" for i, gap in enumerate(gaps))
    for i, unit in enumerate(units(text, "erlang")):
        numbered = [n for n, line in enumerate(unit.text.splitlines()) if line == f"f{i}() -> ok."]
        assert numbered == [text.splitlines().index(f"f{i}() -> ok.")]


def test_the_same_module_twice_is_refused_with_its_line() -> None:
    with pytest.raises(SourceError) as caught:
        units("-module(a).\n\n-module(a).\n", "erlang")
    assert caught.value.message == "The cell holds the module a twice."
    assert caught.value.hint == "Rename the one on line 3."


@pytest.mark.parametrize("name", ["'../x'", "'a/b'", "'..'"])
def test_a_module_name_cannot_leave_the_directory(name: str) -> None:
    with pytest.raises(SourceError):
        units(f"-module({name}).\n", "erlang")


def test_the_first_module_with_a_start_function_is_the_main_one() -> None:
    beams = {"two": module("two", ("start", 0)), "one": module("one", ("go", 0))}
    assert main_of(TWO, "erlang", beams) == Main("two", False)
    both = {"two": module("two", ("start", 0)), "one": module("one", ("start", 0))}
    assert main_of(TWO, "erlang", both) == Main("one", False)


@pytest.mark.parametrize("behaviour", ["application", "Elixir.Application"])
def test_an_application_callback_is_recognised(behaviour: str) -> None:
    beams = {"two": module("two", ("start", 2), ("start", 0), behaviour=behaviour)}
    assert main_of(TWO, "erlang", beams) == Main("two", True)


def test_start_2_without_the_behaviour_is_not_a_callback() -> None:
    with pytest.raises(SourceError) as caught:
        main_of(TWO, "erlang", {"two": module("two", ("start", 2), behaviour="gen_server")})
    assert caught.value.message == "No module of the cell exports a start function."
    assert "-behaviour(application)" in (caught.value.hint or "")


def test_elixir_modules_are_ordered_by_where_they_are_defined() -> None:
    text = "defmodule B do\n  defmodule Inner do\n  end\nend\ndefmodule A.C do\nend\n"
    assert in_cell_order(text, "elixir", ["Elixir.A.C", "Elixir.B.Inner", "Elixir.B"]) == [
        "Elixir.B", "Elixir.B.Inner", "Elixir.A.C"]


@pytest.mark.parametrize(("name", "app"), [("hello", "hello"), ("My App!", "my_app"), ("9lives", "app_9lives"),
                                           ("ssl", "ssl_cell"), ("", "cell"), ("äöü", "cell")])
def test_any_name_becomes_an_application_name(name: str, app: str) -> None:
    assert app_name(name, {"ssl": None}) == app
