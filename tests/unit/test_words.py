"""Variables as users write them."""

from __future__ import annotations

import pytest

from unibeam_nb.errors import UsageError
from unibeam_nb.lab.words import parse_env


def test_a_variable_has_the_value_that_is_written_or_our_own() -> None:
    own = {"TOKEN": "from outside"}
    assert parse_env("TOKEN=a=b", own) == ("TOKEN", "a=b")
    assert parse_env("TOKEN=", own) == ("TOKEN", "")
    assert parse_env("TOKEN", own) == ("TOKEN", "from outside")


@pytest.mark.parametrize(("text", "message", "hint"), [
    ("TOKEN", "TOKEN is not in your environment.", "Write TOKEN=VALUE, or export it first."),
    ("1X=2", "'1X=2' is not an environment variable.", "Write KEY=VALUE, or KEY for one of your own."),
    ("", "'' is not an environment variable.", "Write KEY=VALUE, or KEY for one of your own.")])
def test_what_is_no_variable_is_told(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_env(text, {})
    assert (caught.value.message, caught.value.hint) == (message, hint)
