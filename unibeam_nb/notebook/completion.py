"""What Tab offers on a line of the magic.

:func:`candidates` is pure: the text before the cursor and what there is to name, in; whole words, out. The
rest ties it to IPython's matchers (its second matcher API), which also see ``x = %unibeam ...``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from unibeam_nb.arms import DEFAULT_ARM_OF, FLAVOURS, RUNNERS_OF
from unibeam_nb.errors import UnibeamError
from unibeam_nb.notebook.commands import COMMANDS, Command, Completes, Option, Positional

if TYPE_CHECKING:
    from unibeam_nb.lab import Lab

IDENTIFIER = "unibeam"
"""What the completer calls our matcher."""

_LINE = re.compile(r"^\s*(?:%%|(?:[\w.,\[\]'\" ]+=\s*)?%)unibeam(?P<rest>\s.*)$", re.DOTALL)

ARMS = tuple(DEFAULT_ARM_OF) + tuple(
    "+".join((target, *flavour)) + "@" + runner
    for target, runners in RUNNERS_OF.items() for runner in runners
    for flavour in ([(f,) for f in FLAVOURS] if target == "oci" else [()]))
"""Every runner's name, and every arm in full."""


class Known(Protocol):
    """What there is to name."""

    def of(self, what: Completes) -> Iterable[str]:
        """The names of this kind."""


def candidates(before_cursor: str, known: Known) -> tuple[str, list[str]] | None:
    """The word being typed and the whole words it could become; None where the line is not the magic's."""
    found = _LINE.match(before_cursor)
    if not found:
        return None
    rest = found["rest"]
    words = rest.split()
    word = "" if rest[-1].isspace() else words.pop()
    if not words:
        return word, _starting(word, (*COMMANDS, "-h"))
    command = COMMANDS.get(words[0])
    if command is None:
        return word, _starting(word, COMMANDS) if words[0] in ("-h", "--help", "help") else []
    return word, _for_command(command, words[1:], word, known)


def _for_command(command: Command, words: list[str], word: str, known: Known) -> list[str]:
    flags = {flag: option for option in command.options for flag in option.flags}
    flag, equals, value = word.partition("=")
    if equals and flag in flags:
        return [f"{flag}={offer}" for offer in _values(flags[flag], value, known)]
    if words and words[-1] in flags and flags[words[-1]].kind != "switch":
        offers = _values(flags[words[-1]], word, known)
        if offers or not flags[words[-1]].bare:
            return offers
    if word.startswith("-"):
        return _starting(word, (*flags, "-h"))
    taken = _positionals_typed(words, flags)
    if taken < len(command.positionals):
        return _values(command.positionals[taken], word, known)
    return _starting(word, flags)


def _positionals_typed(words: list[str], flags: dict[str, Option]) -> int:
    count, skip = 0, False
    for word in words:
        if skip:
            skip = False
        elif word in flags:
            skip = flags[word].kind != "switch"
        elif not word.startswith("-"):
            count += 1
    return count


def _fixed(what: Completes) -> tuple[str, ...]:
    """What is offered wherever we are."""
    if what == "factors":
        from unibeam_nb.bench.plan import FACTORS

        return tuple(f"{name}=" for name in FACTORS)
    return ARMS if what == "arms" else ()


def _values(what: Option | Positional, word: str, known: Known) -> list[str]:
    """Whole words for a value; in a comma-separated list the last item is completed."""
    if what.completes == "files":
        return files(word)
    is_list = isinstance(what, Option) and what.kind == "list"
    head, comma, last = word.rpartition(",") if is_list else ("", "", word)
    offers = what.choices or _fixed(what.completes) or tuple(known.of(what.completes))
    done = set(head.split(","))
    return [f"{head}{comma}{offer}" for offer in _starting(last, offers) if offer not in done]


def _starting(word: str, offers: Iterable[str]) -> list[str]:
    return [offer for offer in offers if offer.startswith(word)]


def files(word: str) -> list[str]:
    """Paths that begin with ``word``, directories with a slash; hidden ones only where a dot was typed."""
    head, slash, stem = word.rpartition("/")
    try:
        directory = Path(head + slash).expanduser() if head + slash else Path()
        entries = sorted(directory.iterdir(), key=lambda path: path.name)
    except (OSError, RuntimeError, ValueError):  # The last: no path has a NUL in it.
        return []
    return [f"{head}{slash}{path.name}{'/' if path.is_dir() else ''}" for path in entries
            if path.name.startswith(stem) and (stem.startswith(".") or not path.name.startswith("."))]


class LabNames:
    """What a Lab has names for. Only directories are read, so that Tab answers at once."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def of(self, what: Completes) -> Iterable[str]:
        # A key press must never end in an error message: an unreadable directory offers nothing.
        with contextlib.suppress(UnibeamError, OSError, ValueError):
            if what == "names":
                return self._lab.names()
            if what == "boards":
                return [*self._lab.names(), *self._lab.experiments()]
            if what == "experiments":
                return self._lab.experiments()
            if what == "machines":
                return [machine.name for machine in self._lab.ps()]
            if what == "kernels":
                return list(dict.fromkeys(("stock", "tiny", "tiny-size", *(k.name for k in self._lab.kernels()))))
        return ()


def register(shell: Any, magics: Any) -> None:
    """Let the shell's completer ask us about lines of the magic."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    def unibeam_matcher(context: Any) -> Any:
        line = context.text_until_cursor
        # Below a cell magic's line stands its payload, which may look like anything.
        payload = context.full_text.lstrip().startswith("%%") and not line.lstrip().startswith("%%")
        found = None if payload else candidates(line, LabNames(magics.lab))
        if found is None:
            return {"completions": []}
        word, offers = found
        # The completer replaces its own token, which may be the end of our word: `scr` of `oci+scr`.
        token = context.token
        cut = len(word) - len(token) if word.endswith(token) else 0
        return {"completions": [SimpleCompletion(offer[cut:], type="magic") for offer in offers],
                "matched_fragment": token if word.endswith(token) else word,
                "suppress": True, "ordered": True}

    shell.Completer.custom_matchers.append(context_matcher(identifier=IDENTIFIER)(unibeam_matcher))


def unregister(shell: Any) -> None:
    """Undo :func:`register`."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [m for m in matchers if getattr(m, "matcher_identifier", "") != IDENTIFIER]
