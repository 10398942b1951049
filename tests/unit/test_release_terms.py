from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.errors import SourceError
from unibeam_nb.release.terms import MAX_DEPTH, Atom, TermError, atom, consult, write

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.integers(), st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10).map(Atom), st.binary(max_size=10))
TERMS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple))


@given(TERMS)
def test_what_is_written_reads_back_the_same(term: Any) -> None:
    assert consult(write(term) + ".\n") == [term]


@given(st.text(max_size=200))
def test_garbage_is_a_term_error_or_a_term(text: str) -> None:
    with contextlib.suppress(TermError):
        assert isinstance(consult(text), list)


def test_an_app_file_reads_as_python_values() -> None:
    text = """% comment
    {application, 'my-app', [{vsn, "1" ".2"}, {modules, [a, 'B']}, {env, [{limit, 16#ff}, {key, <<"k",1>>},
      {map, #{a => 1}}, {float, -1.5e3}, {char, $a}, {escaped, "a\\n\\"b\\""}]}]}."""
    [(tag, name, pairs)] = consult(text)
    values = dict(pairs)
    assert (tag, name) == ("application", "my-app")
    assert values["vsn"] == "1.2"
    assert values["modules"] == ["a", "B"]
    assert dict(values["env"]) == {"limit": 255, "key": b"k\x01", "map": {"a": 1}, "float": -1500.0, "char": 97,
                                   "escaped": 'a\n"b"'}


@pytest.mark.parametrize("text", ["{a, b.", "{a b}.", "[1, 2", "a", "}.", '"open', "#{a = 1}.", "<<a>>."])
def test_a_malformed_term_is_refused(text: str) -> None:
    with pytest.raises(SourceError):
        consult(text)


def test_a_term_nested_too_deep_is_refused() -> None:
    with pytest.raises(TermError) as caught:
        consult("[" * (MAX_DEPTH + 1))
    assert caught.value.message == "An Erlang term is nested more than 100 deep."


def test_an_error_names_the_line() -> None:
    with pytest.raises(TermError) as caught:
        consult("{a,\n ~}.")
    assert caught.value.message == "Line 2 is not an Erlang term."


@pytest.mark.parametrize(("name", "written"), [("hello", "hello"), ("Elixir.A", "'Elixir.A'"), ("end", "'end'"),
                                               ("it's", "'it\\'s'"), ("a-b", "'a-b'")])
def test_an_atom_is_quoted_where_it_must_be(name: str, written: str) -> None:
    assert atom(name) == written


@pytest.mark.parametrize(("text", "value"), [("1_000.", 1000), ("-1_0_0.", -100), ("16#ff.", 255), ("-2#101.", -5)])
def test_whole_numbers_are_read_as_erlang_reads_them(text: str, value: int) -> None:
    assert consult(text) == [value]


@pytest.mark.parametrize(("text", "said"), [
    ("2#7.", "'2#7' is not an Erlang number."), ("99#1.", "'99#1' is not an Erlang number."),
    ("9" * 5000 + ".", f"'{'9' * 40}...' is not an Erlang number."),
    ("1_.", "Line 1 is not an Erlang term."), ("1__0.", "Line 1 is not an Erlang term.")])
def test_what_only_begins_like_a_number_is_refused(text: str, said: str) -> None:
    with pytest.raises(TermError) as caught:
        consult(text)
    assert caught.value.message == said
