"""What an image holds beside its release so that its machine can mind it: how the program is watched, and the release
to fall back to (guest/watch.c, guest/program.c).

The other release lies below its own root. A file of it that the first one has as well is a link to that one, so two
releases on one emulator take little more room than one.
"""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unibeam_nb.errors import ImageError
from unibeam_nb.image import root
from unibeam_nb.image.tree import Entry, directory, file, from_directory, link
from unibeam_nb.manners import UNWATCHED, Manners
from unibeam_nb.model import IMAGE_ROOT, Release
from unibeam_nb.store import digest, digest_file

FALLBACK_ROOT = "/opt/fallback"
ETC = "etc/unibeam"
PART = "fallback release"

GUARD = 60
"""Seconds in which a release must come up that has another one behind it, where nothing else was said."""


@dataclass(frozen=True)
class Appliance:
    """How a program is watched, what PID 1 is told besides, and which release takes over where it does not come up."""

    manners: Manners = UNWATCHED
    fallback: Release | None = None
    words: tuple[str, ...] = ()

    def told(self) -> tuple[str, ...]:
        """The words in the image."""
        manners = self.manners
        if self.fallback is not None and not manners.guard:
            manners = dataclasses.replace(manners, guard=GUARD)
        return (*self.words, *manners.words())

    def inputs(self) -> dict[str, Any]:
        """What of an image's bytes follows from this; empty where nothing does."""
        other = self.fallback
        behind = {"fallback": [other.sha256, other.launch.argv(), other.launch.env()]} if other else {}
        return ({"told": list(self.told())} if self.told() else {}) | behind


ALONE = Appliance()


def entries(release: Release, appliance: Appliance) -> Iterator[Entry]:
    """The files for it; none for a release that stands alone and is not watched."""
    if told := appliance.told():
        yield file(f"{ETC}/options", " ".join(told) + "\n")
    if appliance.fallback is None:
        return
    other = appliance.fallback
    yield file(f"{ETC}/identity", identity(release))
    yield file(f"{ETC}/fallback/argv", _lines(other.launch.argv(FALLBACK_ROOT)))
    variables = root.environment(other) | other.launch.env(FALLBACK_ROOT)
    yield file(f"{ETC}/fallback/env", _lines(f"{key}={value}" for key, value in variables.items()))
    yield directory(FALLBACK_ROOT.lstrip("/"))
    for entry in from_directory(other.path, FALLBACK_ROOT.lstrip("/"), lambda _: PART):
        yield _linked(entry, release.path)


def identity(release: Release) -> str:
    """What a release is remembered by that did not come up."""
    return digest(release.sha256, release.launch.argv())[:16]


def with_fallback(libraries: Mapping[str, Path], appliance: Appliance) -> dict[str, Path]:
    """The libraries of both releases. Raises ImageError where they want different ones at one place."""
    if appliance.fallback is None:
        return dict(libraries)
    others = root.release_libraries(appliance.fallback)
    differ = sorted(path for path in libraries.keys() & others.keys()
                    if digest_file(libraries[path]) != digest_file(others[path]))
    if differ:
        raise ImageError(f"The two releases need different versions of {differ[0]}.", "Build both on the same host.")
    return {**libraries, **others}


def _linked(entry: Entry, first: Path) -> Entry:
    """The entry, or a link to the same file of the first release."""
    relative = Path(entry.path).relative_to(FALLBACK_ROOT.lstrip("/"))
    same = first / relative
    if not (stat.S_ISREG(entry.mode) and isinstance(entry.content, Path) and same.is_file()):
        return entry
    mode = 0o111 & entry.mode
    if digest_file(same) != digest_file(entry.content) or bool(same.stat().st_mode & 0o111) != bool(mode):
        return entry
    return link(entry.path, f"{IMAGE_ROOT}/{relative}", part=PART)


def _lines(words: Any) -> str:
    return "".join(f"{word}\n" for word in words)
