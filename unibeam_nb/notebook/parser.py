"""One parser for the magic and the shell: words in, a :class:`Request` out. Pure.

The table of commands is in :mod:`unibeam_nb.notebook.commands`. Options are read by argparse; what it has
to say is turned into sentences here, because its own wording is not for people and its own exit ends kernels.
"""

from __future__ import annotations

import argparse
import difflib
import shlex
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from unibeam_nb.errors import UsageError
from unibeam_nb.notebook.commands import COMMANDS, Command, Option

HELP_FLAGS = ("-h", "--help")

Value = str | int | float | bool | tuple[str, ...] | None


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    ``values`` holds every option and positional of the command by key: None, ``()`` or False where it was
    not given, so that defaults stay with whoever carries the request out. ``stdin`` is set when the body
    is to be read from standard input. With ``help`` set, showing that text is all there is to do.
    """

    command: str
    values: dict[str, Value] = field(default_factory=dict)
    body: str | None = None
    stdin: bool = False
    help: str = ""


class _OptionReader(argparse.ArgumentParser):
    """argparse that never prints and never exits."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}.")


def split_line(line: str) -> list[str]:
    """The words of a magic's line, with a shell's quoting. Raises UsageError for an unfinished quote."""
    try:
        return shlex.split(line)
    except ValueError as error:
        if "escaped" in str(error):
            raise UsageError("The line ends in a backslash with nothing after it.", "Remove it.") from None
        raise UsageError("The line has an opening quote that is never closed.",
                         "Close it, or write \\' for a quote that is meant as itself.") from None


def parse(words: Sequence[str], body: str | None = None, program: str = "unibeam") -> Request:
    """Read one command with its options.

    ``body`` is the cell below the line, None where there is none; ``program`` is what the user typed before
    the command, for the help. Raises UsageError with what would have been right.
    """
    first = words[0] if words else "help"
    if first in (*HELP_FLAGS, "help"):
        named = [word for word in words[1:] if word not in HELP_FLAGS]
        return Request("help", help=help_for(find_command(named[0]), program) if named else overview(program))
    command = find_command(first)
    if any(word in HELP_FLAGS for word in words[1:]):
        return Request(command.name, help=help_for(command, program))
    values, loose = _read_options(command, words[1:], program)
    stdin = bool(command.body) and ("-" in loose or values.get("from") == "-")
    if values.get("from") == "-":
        values["from"] = None
    values |= _read_positionals(command, [word for word in loose if word != "-" or not stdin], program)
    if body is not None and body.strip() and not command.body:
        raise UsageError(f"{command.name} takes no cell body.",
                         f"Write it as a line of its own, with one %: {program.replace('%%', '%')} {command.name}")
    return Request(command.name, values, body, stdin)


def find_command(word: str) -> Command:
    """The command called ``word``. Raises UsageError that names the nearest one."""
    if word in COMMANDS:
        return COMMANDS[word]
    raise UsageError(f"{word!r} is not a command.", suggestion(word, COMMANDS, "The commands are"))


def suggestion(word: str, known: Iterable[str], otherwise: str) -> str:
    """The nearest of ``known`` as a question, or all of them after ``otherwise``."""
    everything = list(known)
    near = difflib.get_close_matches(word, everything, n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else f"{otherwise} {', '.join(everything)}."


def _read_options(command: Command, words: Sequence[str], program: str) -> tuple[dict[str, Value], list[str]]:
    """The options' values by key, and the words that belong to none."""
    reader = _OptionReader(prog=program, add_help=False, allow_abbrev=False, exit_on_error=False)
    by_flags = {}
    for option in command.options:
        action: Any = {"switch": "store_true", "list": "append"}.get(option.kind, "store")
        by_flags["/".join(option.flags)] = option.flags[-1]
        alone: Any = {"nargs": "?", "const": option.bare} if option.bare else {}
        reader.add_argument(*option.flags, dest=option.key, action=action, **alone)
    try:
        found, rest = reader.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        flag = by_flags.get(error.argument_name or "", error.argument_name or "")
        if "expected" in str(error):
            raise UsageError(f"{flag} needs a value.",
                             f"Write {flag} VALUE, or {flag}=VALUE if the value starts with a dash.") from None
        raise UsageError(f"{flag} takes no value.", f"Write {flag} alone.") from None
    loose = _loose_words(command, rest, program)
    return {option.key: _convert(option, getattr(found, option.key)) for option in command.options}, loose


def _loose_words(command: Command, rest: Sequence[str], program: str) -> list[str]:
    """Refuse what looks like an option; what remains are the positionals."""
    if "--" in rest:
        at = list(rest).index("--")
        return _loose_words(command, rest[:at], program) + list(rest[at + 1:])
    for word in rest:
        if word.startswith("-") and word != "-":
            flag = word.split("=")[0]
            flags = [flag for option in command.options for flag in option.flags]
            hint = suggestion(flag, flags, "Its options are") if flags else f"See '{program} {command.name} -h'."
            raise UsageError(f"{command.name} has no option {flag!r}.", hint)
    return list(rest)


def _convert(option: Option, given: Any) -> Value:
    """An option's words as the value its kind promises."""
    flag = option.flags[-1]
    if option.kind == "switch":
        return bool(given)
    if option.kind == "list":
        # An emulator flag or a variable's value may hold a comma of its own, so only ports, arms and names split.
        splits = option.metavar == "LIST"
        parts = [part.strip() for word in given or () for part in (word.split(",") if splits else [word])]
        for part in parts:
            _check_choice(flag, part, option.choices)
        return tuple(part for part in parts if part)
    if given is None:
        return None
    if option.kind == "count":
        if not str(given).isascii() or not str(given).isdigit():
            raise UsageError(f"{flag} takes a whole number, not {given!r}.", f"Write for example {flag} 10.")
        return int(given)
    if option.kind == "number":
        return _positive(flag, given)
    _check_choice(flag, given, option.choices)
    return str(given)


def _positive(flag: str, given: str) -> float:
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"{flag} takes a positive number, not {given!r}.", f"Write for example {flag} 60.")
    return value


def _check_choice(what: str, given: str, choices: tuple[str, ...]) -> None:
    if choices and given not in choices:
        raise UsageError(f"{what} cannot be {given!r}.", suggestion(given, choices, "It can be"))


def _read_positionals(command: Command, words: Sequence[str], program: str) -> dict[str, Value]:
    """The positionals' values by key."""
    for positional in command.positionals[len(words):]:
        if positional.required:
            example = command.examples[0] if command.examples else f"{command.name} NAME"
            raise UsageError(f"{command.name} needs {_article(positional.key)}.", f"For example: {program} {example}")
    if len(words) > len(command.positionals):
        extra = words[len(command.positionals)]
        raise UsageError(f"{command.name} does not know what to do with {extra!r}.",
                         f"See '{program} {command.name} -h'.")
    values: dict[str, Value] = {positional.key: None for positional in command.positionals}
    for positional, word in zip(command.positionals, words, strict=False):
        if positional.choices and word not in positional.choices:
            raise UsageError(f"{command.name} has no {positional.key} {word!r}.",
                             suggestion(word, positional.choices, "There are"))
        values[positional.key] = word
    return values


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def overview(program: str = "unibeam") -> str:
    """The help of the whole: one line for each command."""
    width = max(map(len, COMMANDS))
    magic = program.startswith("%")
    lines = ["Erlang and Elixir code becomes a booted, measured machine image.", "",
             f"Usage: {program} COMMAND [options]", ""]
    lines += [f"  {command.name:<{width}}  {command.summary}" for command in COMMANDS.values()]
    lines += ["", f"'{program} COMMAND -h' explains one command."]
    if magic:
        lines += ["The first line of a cell is the command; with %%unibeam the rest is the modules to build,",
                  "or the experiment as TOML. '%config UnibeamMagics' holds the defaults.", "",
                  "For example:", "  %%unibeam build hello --port 8080", "  -module(hello).", "  ...",
                  "  machine = %unibeam boot hello --http /"]
    return "\n".join(lines)


def help_for(command: Command, program: str = "unibeam") -> str:
    """The help of one command: usage, arguments, options, examples."""
    words = [p.key.upper() if p.required else f"[{p.key.upper()}]" for p in command.positionals]
    usage = " ".join((program, command.name, *words, *(["[options]"] if command.options else [])))
    lines = [f"Usage: {usage}", "", f"{command.summary[:1].upper()}{command.summary[1:]}."]
    if command.body:
        lines.append(f"A cell's body (with %%unibeam) is {command.body}.")
    rows = [(p.key.upper(), _with_choices(p.help, p.choices)) for p in command.positionals]
    rows += [(" ".join(filter(None, (", ".join(o.flags), f"[{o.metavar}]" if o.bare else o.metavar))),
              _with_choices(o.help, o.choices)) for o in command.options]
    if rows:
        width = max(len(left) for left, _ in rows)
        lines.append("")
        for left, right in rows:
            wrapped = textwrap.wrap(right, width=max(40, 100 - width))
            lines.append(f"  {left:<{width}}  {wrapped[0]}")
            lines += [" " * (width + 4) + more for more in wrapped[1:]]
    if command.examples:
        lines += ["", "For example:", *(f"  {program} {example}" for example in command.examples)]
    return "\n".join(lines)


def _with_choices(text: str, choices: tuple[str, ...]) -> str:
    return f"{text} ({', '.join(choices)})" if choices and not any(c in text for c in choices) else text
