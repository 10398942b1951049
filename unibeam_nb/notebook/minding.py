"""What a sheet says of how a program is minded: its disk, its restarts, the release to fall back to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unibeam_nb.lab import Build
    from unibeam_nb.machine import Machine


def of_build(build: Build) -> tuple[tuple[str, str], ...]:
    """How every machine of a build minds its program; nothing where none does."""
    manners = build.manners
    words = (("up within", manners.guard, " s"), ("a sign of life every", manners.heart, " s"),
             ("restarts", manners.restarts, ""))
    watched = ", ".join(f"{what} {value}{unit}" for what, value, unit in words if value)
    behind = (("falls back to", build.fallback),) if build.fallback else ()
    return (*behind, *((("watched", watched),) if watched else ()))


def of_machine(machine: Machine) -> tuple[tuple[str, str], ...]:
    """What has become of a machine's program; nothing where that is nothing out of the ordinary."""
    facts = []
    if machine.data is not None:
        facts.append(("data", str(machine.data)))
    if machine.fell_back:
        facts.append(("release", "the one to fall back to, since the first did not come up"))
    if machine.restarts:
        facts.append(("restarts", f"started again {machine.restarts} time{'s' if machine.restarts > 1 else ''}"))
    return tuple(facts)
