"""What the dashboard of an experiment stands for and shows. Pure: values in, plain data out."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unibeam_nb.notebook.sheet import printable
from unibeam_nb.units import format_seconds

if TYPE_CHECKING:
    from unibeam_nb.bench.follow import Follow
    from unibeam_nb.model import Sample

OFFERED = ("linux@qemu", "linux+tiny@qemu", "linux+tiny+lean@qemu", "linux+tiny+lean+resume@qemu", "linux@uml",
           "oci+scratch@crun", "oci+scratch@podman", "oci+slim@podman", "oci+scratch@docker", "oci+scratch@runc",
           "release@process", "release+lean@process")
"""The arms that the form offers; others are written into the cell."""

MOST_DOTS = 400
"""Boots of each case that the live chart draws, the latest ones: a page has to draw them all anew."""


@dataclass(frozen=True)
class Form:
    """What is chosen in the form. ``probe`` is as in ``--http``; empty for none."""

    name: str
    arms: tuple[str, ...] = ("oci+scratch@crun", "release@process")
    blocks: int = 5
    mem_mb: int = 256
    probe: str = ""

    def toml(self) -> str:
        """The plan, as the body of ``%%unibeam bench``."""
        arms = "".join(f"    {json.dumps(arm)},\n" for arm in self.arms)
        lines = [f"source = {json.dumps(self.name)}", f"arms = [\n{arms}]", f"blocks = {self.blocks}",
                 f"mem_mb = {self.mem_mb}", *([f"probe = {json.dumps(self.probe)}"] if self.probe else [])]
        return "\n".join(lines) + "\n"

    @property
    def cell(self) -> str:
        """The whole cell."""
        return f"%%unibeam bench\n{self.toml()}"


def changed(form: Form, given: Mapping[str, Any]) -> Form:
    """The form with what a page sent. What makes no sense is left as it was: a field may be half typed."""
    values: dict[str, Any] = {key: given[key] for key in ("blocks", "mem_mb")
               if isinstance(given.get(key), int) and not isinstance(given.get(key), bool)}
    values |= {key: given[key] for key in ("name", "probe") if isinstance(given.get(key), str)}
    if isinstance(arms := given.get("arms"), list):
        values["arms"] = tuple(arm for arm in OFFERED if arm in arms)
    return replace(form, **values)


def progress_state(seen: Follow) -> dict[str, Any]:
    """How far an experiment has come: ``fraction``, ``where`` in words, ``cases``, and ``samples`` as lists of the
    index of the case, seconds, and whether it counts."""
    if seen.plan is None:
        return {"cases": [], "samples": [], "fraction": 0.0, "where": "", "words": ""}
    names, until = seen.plan.names, seen.plan.until
    left = seen.left_s()
    failed = sum(not sample.ok for sample in seen.samples)
    parts = [f"{seen.taken} of {seen.plan.boots} boots", *([f"{failed} failed"] if failed else []),
             *([f"about {format_seconds(left)} left"] if left else [])]
    return {"cases": [printable(name) for name in names], "samples": _dots(seen.samples, names, until),
            "fraction": round(min(seen.taken / seen.plan.boots, 1.0), 4), "where": ", ".join(parts),
            "words": _words(seen.samples, names, until)}


def _dots(samples: Sequence[Sample], names: Sequence[str], until: str) -> list[list[Any]]:
    found: list[list[Any]] = []
    for row, name in enumerate(names):
        own = [s for s in samples if s.case == name and s.ok and until in s.marks]
        found += [[row, round(s.marks[until], 4), not s.warmup] for s in own[-MOST_DOTS:]]
    return found


def _words(samples: Sequence[Sample], names: Sequence[str], until: str) -> str:
    """The chart for those who cannot see it."""
    told = []
    for name in names:
        times = [s.marks[until] for s in samples if s.case == name and s.ok and not s.warmup and until in s.marks]
        if times:
            told.append(f"{printable(name)}: median {format_seconds(statistics.median(times))} of {len(times)}")
    return f"Boot times so far. {'; '.join(told)}." if told else "No boots yet."
