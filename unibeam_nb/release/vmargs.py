"""Reading ``vm.args``: the emulator's command line that a release keeps in a file.

Sources: ``-args_file`` in the manual of ``erl``, and relx' ``vm.args.src``, in which ``${NAME}`` and
``${NAME:-default}`` stand for environment variables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from unibeam_nb.errors import SourceError

# What a release's own start script decides, and here Launch: flag -> number of words that belong to it.
_OURS = {"-mode": 1, "-boot": 1, "-noshell": 0, "-noinput": 0, "-detached": 0, "-config": 1, "-args_file": 1}

_WORD = re.compile(r"""(?:\\.|'[^']*'|"(?:[^"\\]|\\.)*"|[^\s'"\\])+""", re.DOTALL)
_PIECE = re.compile(r"""\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)"|([^'"\\]+)""", re.DOTALL)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(frozen=True)
class VmArgs:
    """A release's emulator arguments: ``words`` as they stand, ``extra`` after ``-extra``.

    ``distributed`` tells that they give the node a name; ``heart`` that they ask for the heart program.
    """

    words: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    distributed: bool = False
    heart: bool = False


def words(text: str) -> list[str]:
    """The words of a ``vm.args`` file: ``#`` begins a comment, quotes and backslashes protect."""
    found = []
    for line in text.splitlines():
        for match in _WORD.finditer(line):
            if match[0].startswith("#"):
                break
            found.append("".join(p[1] or p[2] or re.sub(r"\\(.)", r"\1", p[3] or "") or p[4] or ""
                                 for p in _PIECE.finditer(match[0])))
    return found


def fill_in(text: str) -> str:
    """``text`` with its ``${NAME:-default}`` replaced by the defaults.

    Raises SourceError where a variable has none: an image has no environment to take it from when the
    command line is made.
    """
    def one(found: re.Match[str]) -> str:
        if found[2] is None:
            raise SourceError(f"vm.args wants the environment variable {found[1]}, which has no default.",
                              f"Write ${{{found[1]}:-default}} in vm.args.src.")
        return found[2]

    lines = [line if line.lstrip().startswith("#") else _VARIABLE.sub(one, line) for line in text.splitlines()]
    return "\n".join(lines)


def parse(text: str) -> VmArgs:
    """The arguments of a ``vm.args`` file, without those that the launch itself decides."""
    listed = words(text)
    extra: list[str] = []
    if "-extra" in listed:
        at = listed.index("-extra")
        listed, extra = listed[:at], listed[at + 1:]
    kept: list[str] = []
    heart = False
    rest = iter(listed)
    for word in rest:
        if word == "-heart":
            heart = True
        elif word in _OURS:
            for _ in range(_OURS[word]):
                next(rest, None)
        else:
            kept.append(word)
    return VmArgs(tuple(kept), tuple(extra), bool({"-name", "-sname"} & set(kept)), heart)
