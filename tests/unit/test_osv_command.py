"""What OSv is told: read back by a reader with OSv's own rules (core/commands.cc)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.errors import ImageError, UsageError
from unibeam_nb.image.osv_command import LINKER, SHIM, Network, command_line, emulator_words, environment
from unibeam_nb.model import Launch

PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)


def options_of(line: str) -> tuple[list[str], str]:
    """The options as OSv takes them, and the rest: ``stresep`` with the delimiters and the escape of OSv's loader."""
    options: list[str] = []
    at = 0
    while at < len(line):
        while at < len(line) and line[at] in " \t\n":
            at += 1
        if line[at:at + 1] != "-":
            break
        word = ""
        while at < len(line) and line[at] not in " \t\n":
            at += 1 if line[at] == "\\" else 0
            word += line[at]
            at += 1
        options.append(word)
    return options, line[at:]


def words_of(text: str, variables: dict[str, str]) -> list[str]:
    """The program's words: the grammar of OSv's ``command``, and its replacement of variables."""
    words = []
    for found in re.finditer(r'"((?:\\[abfnrtv\\\'"]|[^"\\]|\\)*)"|((?:\\[abfnrtv\\\'"]|[^ ;&!])+)', text):
        raw = found[1] if found[1] is not None else found[2]
        word = re.sub(r'\\([\\\'"])', r"\1", raw)
        before, dollar, name = word.partition("$")
        words.append(before + variables.get(name, "") if dollar else word)
    return words


@given(st.lists(PRINTABLE.filter(lambda w: w[0] not in "+-"), max_size=5), st.dictionaries(
    st.from_regex(r"[A-Z]{1,6}", fullmatch=True), PRINTABLE, max_size=3))
def test_words_and_variables_arrive_as_they_are(extra: list[str], given_variables: dict[str, str]) -> None:
    launch = Launch("erts-1", ("+S", "1:1"), ("-noinput", "-extra", *extra))
    line = command_line(launch, given_variables, None)
    options, rest = options_of(line)
    variables = dict(option[6:].split("=", 1) for option in options if option.startswith("--env="))
    words = words_of(rest, variables)
    assert words[:3] == [LINKER, "--preload", SHIM]
    assert words[-len(extra):] == extra if extra else words[-1] == "-extra"
    assert given_variables.items() <= variables.items()


def test_the_emulator_is_told_what_erlexec_would_tell_it() -> None:
    launch = Launch("erts-13.1.5", ("+S", "1:1", "+sbwt", "none", "+Bd"), ("-noinput", "-boot", "{root}/x", "+P", "9"))
    assert emulator_words(launch, ("+SDcpu", "1:1"), "/r", "/s") == (
        "/r/erts-13.1.5/bin/beam.smp", "-SDcpu", "1:1", "-S", "1:1", "-sbwt", "none", "-Bd", "-P", "9",
        "--", "-root", "/r", "-bindir", "/r/erts-13.1.5/bin", "-progname", "erl", "--", "-home", "/s",
        "--", "-noshell", "-noinput", "-boot", "/r/x")


def test_flags_of_the_environment_become_words() -> None:
    """There is no erlexec on OSv that would read ERL_AFLAGS."""
    line = command_line(Launch("erts-1"), {"ERL_AFLAGS": "+S 2:2"}, None)
    assert "ERL_AFLAGS" not in line
    assert "beam.smp -S 2:2 --" in line


def test_an_address_spares_dhcp() -> None:
    network = Network("10.0.2.15", "255.255.255.0", "10.0.2.2", "10.0.2.3")
    line = command_line(Launch("erts-1"), {}, network, pci=False)
    assert "--ip=eth0,10.0.2.15,255.255.255.0 --defaultgw=10.0.2.2 --nameserver=10.0.2.3" in line
    assert "--nopci" in line
    assert "--ip" not in command_line(Launch("erts-1"), {}, None)


def test_names_are_looked_up_without_a_program() -> None:
    assert environment(Launch("erts-1"), (8080,))["ERL_INETRC"] == "/etc/erl_inetrc"
    assert environment(Launch("erts-1"), (8080,))["PORT"] == "8080"


def test_what_osv_cannot_be_told_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        command_line(Launch("erts-1"), {"MOTD": "two\nlines"}, None)
    assert str(caught.value.message) == "'MOTD' cannot be handed to OSv."
    with pytest.raises(ImageError) as long:
        command_line(Launch("erts-1"), {"A": "x" * 40000}, None)
    assert re.fullmatch(r"OSv's command line for this release has \d+ bytes, of 32255\.", str(long.value.message))
    with pytest.raises(ImageError) as heart:
        command_line(Launch("erts-1", (), ("-heart",)), {}, None)
    assert str(heart.value.message) == \
        "The release starts with -heart, which needs another process; OSv has only one."
