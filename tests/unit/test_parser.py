"""One parser for the magic and the shell, and the wording of its refusals."""

from __future__ import annotations

import contextlib
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.analysis.chart import CHARTS
from unibeam_nb.arms import RUNNERS_OF
from unibeam_nb.errors import UsageError
from unibeam_nb.notebook.commands import COMMANDS
from unibeam_nb.notebook.parser import overview, parse, split_line


def refused(line: str, body: str | None = None, program: str = "unibeam") -> tuple[str, str | None]:
    with pytest.raises(UsageError) as caught:
        parse(split_line(line), body, program)
    return caught.value.message, caught.value.hint


def test_options_may_stand_anywhere_around_the_positionals() -> None:
    for line in ("chart -o x.svg boot run1", "chart boot -o x.svg run1", "chart boot run1 --output=x.svg"):
        request = parse(split_line(line))
        assert {key: value for key, value in request.values.items() if value} == {
            "kind": "boot", "experiment": "run1", "output": "x.svg"}


def test_what_was_not_given_is_none_so_that_defaults_stay_elsewhere() -> None:
    values = parse(["boot", "hello"]).values
    assert values.pop("name") == "hello"
    assert set(values.values()) == {None, (), False}


def test_lists_split_at_commas_and_may_be_repeated() -> None:
    values = parse(split_line("bench hello --on linux@qemu,release@process --on oci+slim@crun -n30")).values
    assert values["on"] == ("linux@qemu", "release@process", "oci+slim@crun")
    assert values["blocks"] == 30


def test_an_emulator_flag_keeps_its_commas_and_spaces() -> None:
    assert parse(split_line("build hello --flag '+S 1:1' --flag=-x,y")).values["flag"] == ("+S 1:1", "-x,y")


@pytest.mark.parametrize(("line", "message", "hint"), [
    ("biuld hello", "'biuld' is not a command.", "Did you mean build?"),
    ("frobnicate", "'frobnicate' is not a command.", f"The commands are {', '.join(COMMANDS)}."),
    ("build", "build needs a name.", "For example: unibeam build hello --port 8080"),
    ("logs", "logs needs a machine.", "For example: unibeam logs hello -n 100"),
    ("boot hello there", "boot does not know what to do with 'there'.", "See 'unibeam boot -h'."),
    ("boot hello --memm 3", "boot has no option '--memm'.", "Did you mean --mem?"),
    ("ps --all", "ps has no option '--all'.", "See 'unibeam ps -h'."),
    ("boot hello --mem", "--mem needs a value.", "Write --mem VALUE, or --mem=VALUE if the value starts with a dash."),
    ("boot hello --mem 1G", "--mem takes a whole number, not '1G'.", "Write for example --mem 10."),
    ("boot hello --mem ²", "--mem takes a whole number, not '²'.", "Write for example --mem 10."),
    ("boot hello --deadline so", "--deadline takes a positive number, not 'so'.", "Write for example --deadline 60."),
    ("boot hello --deadline nan", "--deadline takes a positive number, not 'nan'.", "Write for example --deadline 60."),
    ("boot hello --accel kvn", "--accel cannot be 'kvn'.", "Did you mean kvm?"),
    ("build hello --target windows", "--target cannot be 'windows'.",
     "It can be linux, disk, osv, oci, oci+scratch, oci+slim, release."),
    ("stop --all=yes", "--all takes no value.", "Write --all alone."),
    ("chart bot", "chart has no kind 'bot'.", "Did you mean boot?"),
    ("build 'hello", "The line has an opening quote that is never closed.",
     "Close it, or write \\' for a quote that is meant as itself."),
    ("build hello\\", "The line ends in a backslash with nothing after it.", "Remove it."),
])
def test_a_mistake_is_one_sentence_and_what_would_have_been_right(line: str, message: str, hint: str) -> None:
    assert refused(line) == (message, hint)


def test_a_body_for_a_command_that_takes_none_is_refused() -> None:
    assert refused("boot hello", "-module(x).", "%%unibeam") == (
        "boot takes no cell body.", "Write it as a line of its own, with one %: %unibeam boot")


def test_an_empty_body_below_a_command_that_takes_none_is_forgiven() -> None:
    assert parse(["ps"], "\n  \n", "%%unibeam").command == "ps"


@pytest.mark.parametrize("line", ["build hello -", "build hello --from -", "build - hello"])
def test_a_dash_asks_for_standard_input(line: str) -> None:
    request = parse(line.split())
    assert (request.stdin, request.values["name"], request.values["from"]) == (True, "hello", None)


def test_a_dash_is_an_ordinary_word_for_commands_without_a_body() -> None:
    assert not parse(["logs", "-"]).stdin


def test_after_two_dashes_everything_is_positional() -> None:
    assert parse(["logs", "--", "--odd"]).values["machine"] == "--odd"


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["help"]])
def test_help_lists_every_command(words: list[str]) -> None:
    text = parse(words).help
    assert all(f"  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_its_flags_and_examples_that_parse(name: str) -> None:
    command = COMMANDS[name]
    for words in ([name, "-h"], ["help", name], [name, "--nonsense", "--help"]):
        text = parse(words, program="%unibeam").help
        assert text.startswith(f"Usage: %unibeam {name}")
        assert all(flag in text for option in command.options for flag in option.flags)
        assert max(map(len, text.splitlines())) <= 120
    for example in command.examples:
        assert parse(shlex.split(example)).command == name


def test_the_magics_overview_shows_a_cell() -> None:
    assert "%%unibeam build hello" in overview("%unibeam")
    assert "%%" not in overview("unibeam")


def test_no_two_values_of_a_command_share_a_key() -> None:
    for command in COMMANDS.values():
        keys = [p.key for p in command.positionals] + [o.key for o in command.options]
        assert len(keys) == len(set(keys)), command.name


def test_the_table_names_the_charts_and_targets_that_exist() -> None:
    assert COMMANDS["chart"].positionals[0].choices == CHARTS
    target = next(o for o in COMMANDS["build"].options if o.key == "target")
    assert {choice.partition("+")[0] for choice in target.choices} == set(RUNNERS_OF)


def understood_or_refused(words: list[str], body: str | None = None) -> bool:
    """Whether the words make a request; a refusal must be a sentence, and anything else escapes."""
    refusal = None
    try:
        parse(words, body)
    except UsageError as error:
        refusal = error.message
    return refusal is None or refusal.endswith(".")


@given(st.lists(st.text(max_size=20), max_size=6), st.none() | st.text(max_size=10))
def test_no_words_end_in_anything_but_a_request_or_a_sentence(words: list[str], body: str | None) -> None:
    assert understood_or_refused(words, body)


@given(st.sampled_from(sorted(COMMANDS)), st.lists(st.sampled_from(
    ["-n", "3", "--mem", "x", "--", "-", "--all", "=", "--on=a,b", "hello", "-h", "--from", "", "-n3", "--mem="]),
    max_size=6))
def test_no_arrangement_of_flags_ends_in_anything_but_a_request_or_a_sentence(name: str, words: list[str]) -> None:
    assert understood_or_refused([name, *words])


@given(st.text(max_size=60))
def test_every_line_splits_into_words_or_is_refused_in_a_sentence(line: str) -> None:
    with contextlib.suppress(UsageError):
        assert all(isinstance(word, str) for word in split_line(line))


@pytest.mark.parametrize(("line", "steady", "density"), [
    ("bench hello", None, ()), ("bench hello --steady", 5, ()),
    ("bench hello --steady 10 --density 1,2", 10, ("1", "2")),
    ("bench hello --density --steady=3", 3, ("1", "4", "16", "32"))])
def test_a_flag_may_stand_alone(line: str, steady: int | None, density: tuple[str, ...]) -> None:
    values = parse(line.split()).values
    assert (values["steady"], values["density"]) == (steady, density)
    assert values["name"] == "hello"


def test_a_flag_that_may_stand_alone_takes_no_name() -> None:
    with pytest.raises(UsageError) as caught:
        parse(["bench", "--steady", "hello"])
    assert caught.value.message == "--steady takes a whole number, not 'hello'."
