"""What shaking did to a release, for people."""

from __future__ import annotations

from dataclasses import dataclass

from unibeam_nb.model import LeftOut, Release
from unibeam_nb.release.shake.names import TRIMMED
from unibeam_nb.release.shake.reach import dynamic
from unibeam_nb.release.shake.tree import Tree


@dataclass(frozen=True)
class Shaking:
    """What was left out of the release ``name``; ``unfollowed`` are pairs (module, calls in it that make names of
    modules while they run)."""

    name: str
    left_out: tuple[LeftOut, ...]
    unfollowed: tuple[tuple[str, str], ...]


def shaking(release: Release) -> Shaking:
    """The account of a shaken release."""
    own = (module for module in Tree(release, release.path).modules.values() if module.app not in TRIMMED)
    unfollowed = ((module.name.removeprefix("Elixir."), ", ".join(dynamic(module))) for module in own)
    return Shaking(release.name, release.left_out or (), tuple(pair for pair in sorted(unfollowed) if pair[1]))
