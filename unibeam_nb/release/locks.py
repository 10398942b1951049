"""Which packages a project's lock file names: ``mix.lock`` and ``rebar.lock``.

Sources: ``Mix.Dep.Lock`` (one entry a line: ``"app": {:hex, :package, "version", "sha256", ...}`` or ``{:git, "url",
"commit", ...}``), and rebar3's ``rebar_config:consult_lock_file/1`` (terms of versions 1.0 to 1.2). Neither is ever
evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unibeam_nb.model import Locked
from unibeam_nb.release.terms import TermError, consult

_ENTRY = re.compile(r'^\s*"(?P<app>[a-z]\w*)":\s*\{:(?P<kind>hex|git),\s*'
                    r'(?:"(?P<text>[^"]*)"|:(?P<atom>\w+)),\s*"(?P<version>[^"]*)"(?P<rest>.*)\},?\s*$', re.MULTILINE)
_CHECKSUM = re.compile(r'"([0-9a-f]{64})"')


def locked(project: Path) -> tuple[Locked, ...]:
    """The packages that the lock file of ``project`` names, by application; none where there is no lock file, or one
    that nobody can read, for a build does not fail because of it."""
    for name, read in (("mix.lock", mix_lock), ("rebar.lock", rebar_lock)):
        path = project / name
        if path.is_file():
            return tuple(sorted(read(path.read_text(encoding="utf-8", errors="replace")), key=lambda one: one.name))
    return ()


def mix_lock(text: str) -> Iterator[Locked]:
    """The entries of a ``mix.lock``. The last checksum of an entry is that of the package as it is fetched; the first,
    and in old files only one, that of what is inside."""
    for found in _ENTRY.finditer(text):
        if found["kind"] == "git":
            yield Locked(found["app"], "git", found["text"] or "", found["version"])
            continue
        sums = _CHECKSUM.findall(found["rest"])
        yield Locked(found["app"], "hex", found["atom"] or found["text"], found["version"],
                     sums[-1] if len(sums) > 1 else "")


def rebar_lock(text: str) -> Iterator[Locked]:
    """The entries of a ``rebar.lock``."""
    try:
        terms = consult(text)
        entries = terms[0][1] if terms and isinstance(terms[0], tuple) else terms[0] if terms else []
        outer: dict[str, str] = {}
        for key, sums in terms[1] if len(terms) > 1 else ():
            if key == "pkg_hash_ext":
                outer = {_text(name): _text(value).lower() for name, value in sums}
        for name, source, _level in entries:
            if (one := _rebar_entry(_text(name), source, outer)) is not None:
                yield one
    except (TermError, ValueError, TypeError, IndexError):
        return


def _rebar_entry(name: str, source: tuple[Any, ...], outer: dict[str, str]) -> Locked | None:
    if source[0] == "pkg":
        return Locked(name, "hex", _text(source[1]), _text(source[2]), outer.get(name, ""))
    if source[0] == "git":
        return Locked(name, "git", _text(source[1]), _text(source[2][1]))
    return None


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
