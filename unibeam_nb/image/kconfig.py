"""Fragments of a Linux configuration: reading them, and seeing to it that the kernel took them. Pure.

A fragment has lines of a ``.config`` (Documentation/kbuild/kconfig.rst): ``CONFIG_NAME=value`` or
``# CONFIG_NAME is not set``, below a comment that says why. kconfig passes over an option that it does not know, and
drops one whose dependencies are off, both in silence; :func:`refuse_unknown` and :func:`refuse_lost` speak up.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from unibeam_nb.errors import ImageError, UsageError

OFF = "n"
"""The value of an option that is not set."""

_ON = re.compile(r"CONFIG_([A-Z0-9_a-z]+)=(\S.*)")
_NOT_SET = re.compile(r"# CONFIG_([A-Z0-9_a-z]+) is not set")
_UNTIL = re.compile(r"Linux <= (\d+)\.(\d+): ")
_DECLARED = re.compile(r"^\s*(?:menu)?config[ \t]+([A-Z0-9_a-z]+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Setting:
    """One option with its value, and the comment above it."""

    name: str
    value: str
    reason: str = ""

    def __str__(self) -> str:
        return f"# CONFIG_{self.name} is not set" if self.value == OFF else f"CONFIG_{self.name}={self.value}"


def parse(text: str, where: str = "the fragment") -> tuple[Setting, ...]:
    """The settings of a fragment. Raises UsageError that names the first line which is none."""
    settings: list[Setting] = []
    reason: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        setting = _setting(stripped)
        if setting is not None:
            settings.append(Setting(*setting, " ".join(reason)))
            reason = []
        elif stripped.startswith("#"):
            reason.append(stripped.lstrip("# "))
        elif stripped:
            raise UsageError(f"Line {number} of {where} is no kernel option: {stripped!r}.",
                             "Write CONFIG_NAME=y or '# CONFIG_NAME is not set'.")
        else:
            reason = []
    return tuple(settings)


def fitting(settings: Iterable[Setting], version: str) -> tuple[Setting, ...]:
    """The settings that are meant for Linux ``version`` (``6.12``): those whose reason does not begin with an earlier
    one as the last that has the option (``Linux <= 6.1: ``)."""
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return tuple(setting for setting in settings
                 if (last := _UNTIL.match(setting.reason)) is None or number <= (int(last[1]), int(last[2])))


def _setting(line: str) -> tuple[str, str] | None:
    if found := _NOT_SET.fullmatch(line):
        return found[1], OFF
    found = _ON.fullmatch(line)
    return (found[1], found[2].strip()) if found else None


def declared(texts: Iterable[str]) -> frozenset[str]:
    """The options that the texts of ``Kconfig`` files declare."""
    return frozenset(name for text in texts for name in _DECLARED.findall(text))


def refuse_unknown(settings: Iterable[Setting], known: frozenset[str], version: str) -> None:
    """Raise UsageError for an option that this kernel does not have. Switching such a one off is no mistake."""
    for setting in settings:
        if setting.name not in known and setting.value != OFF:
            near = difflib.get_close_matches(setting.name, known, n=1, cutoff=0.6)
            raise UsageError(f"Linux {version} has no option CONFIG_{setting.name}.",
                             f"Did you mean CONFIG_{near[0]}?" if near else "Leave it out, or use another kernel.")


def refuse_lost(settings: Iterable[Setting], config: str) -> None:
    """Raise ImageError for an option that is not in ``config``, the text of a finished ``.config``, as it was set."""
    final = dict(found for line in config.splitlines() if (found := _setting(line.strip())))
    for setting in {setting.name: setting for setting in settings}.values():
        became = final.get(setting.name, OFF)
        if became != setting.value:
            raise ImageError(f"The kernel's configuration does not take {setting}: it becomes {became}.",
                             "Another option decides it; look for what it depends on or is selected by, and set that "
                             "too: --with CONFIG_NAME=y.")
