"""Errors are interface."""

from __future__ import annotations

import pytest

from unibeam_nb import errors
from unibeam_nb.errors import Cancelled, CompileError, UnibeamError


def test_an_error_reads_as_sentence_details_and_hint() -> None:
    error = CompileError("hello.erl does not compile.", "Mend the lines above.", ["3: syntax error before: '.'"])
    assert str(error) == ("hello.erl does not compile.\n  | 3: syntax error before: '.'\n"
                          "  Hint: Mend the lines above.")


def test_a_notebook_shows_no_traceback() -> None:
    assert CompileError("It does not compile.", "Mend it.")._render_traceback_() == [
        "CompileError: It does not compile.", "  Hint: Mend it."]


def test_stopping_needs_no_words() -> None:
    assert str(Cancelled()) == "Stopped."


OURS = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", OURS)
def test_every_error_of_ours_is_one_family_and_drawn_in_the_tree(kind: type) -> None:
    assert issubclass(kind, UnibeamError)
    assert errors.__doc__ is not None
    assert kind.__name__ in errors.__doc__
