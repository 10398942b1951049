"""A plan in words, and what it will cost here: how many boots, about how long, and which arms cannot run.

Everything is known before anything runs. How long a boot takes is told by earlier samples of the same arm in this store
where there are any, and guessed, and called a guess, where there are none.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from unibeam_nb.arms import RESUME, Arm
from unibeam_nb.bench.plan import Case, Plan
from unibeam_nb.bench.schedule import schedule
from unibeam_nb.bench.stopping import looks
from unibeam_nb.model import Sample

GUESSES: Mapping[str, float] = {"qemu": 8.0, "uml": 6.0, "process": 1.5}
"""Seconds that a sample of an arm on this runner is guessed to take, ending the machine included."""

OTHERWISE = 2.5
"""The guess for every other runner: containers."""

AFTER_BOOT = 1.0
"""Seconds added to an earlier sample's boot that does not say how long it took beyond it."""

RECENT = 50
"""So many of the newest earlier samples of an arm are looked at."""


@dataclass(frozen=True)
class Cost:
    """What one case will take: ``each`` seconds a sample, known from ``samples`` earlier ones, or guessed from none."""

    case: Case
    each: float
    samples: int


@dataclass(frozen=True)
class Absent:
    """An arm that cannot run here, and why not, with what would help."""

    arm: str
    why: str

    def __str__(self) -> str:
        return f"{self.arm}: {self.why}"


@dataclass(frozen=True)
class Preview:
    """A plan before it runs: what each case costs, and what cannot run here."""

    plan: Plan
    costs: tuple[Cost, ...]
    absent: tuple[Absent, ...] = ()

    @property
    def seconds(self) -> float:
        """About how long the whole will take; with a stop rule, at most."""
        return (self.plan.blocks + self.plan.warmup) * sum(block_seconds(self.plan, cost.each) for cost in self.costs)

    @property
    def guessed(self) -> tuple[str, ...]:
        """The cases of which nothing is known."""
        return tuple(cost.case.name for cost in self.costs if not cost.samples)

    def __repr__(self) -> str:
        return f"<Preview {self.plan.name}: {many(self.plan.boots, 'boot')}, {about(self.seconds)}>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """All of it for a person."""
        most = "at most " if self.plan.stop else ""
        how = ""
        if self.guessed:
            how = " (a guess)" if len(self.guessed) == len(self.costs) else f" (a guess for {', '.join(self.guessed)})"
        found = [*describe(self.plan), f"  takes {most}{about(self.seconds)}{how}"]
        if self.absent:
            found.append("  cannot run here:")
            found += [f"    {absent}" for absent in self.absent]
        return found


BESIDE_LOAD = 3.0
"""Seconds of a steady sample besides its boot and its load: the idle machine is watched, and the load warms up."""

TRIES = 13
"""Boots of a search for the least memory, about: eight to halve 256 MiB down to one, and five to be sure."""


def block_seconds(plan: Plan, each: float) -> float:
    """About how long one block takes a case whose boot takes ``each`` seconds, with every kind of measurement."""
    takes = {"boot": each, "steady": each + BESIDE_LOAD + plan.load_s,
             "density": each * sum(plan.copies), "minimum": each * TRIES}
    return sum(takes[kind] for kind in plan.kinds)


def preview(plan: Plan, earlier: Iterable[tuple[str, Sample]] = (), absent: Iterable[Absent] = ()) -> Preview:
    """What ``plan`` will cost, reckoned from ``earlier`` samples with their arms' spelling, the oldest first.

    Those of the same factors count before those of others.
    """
    alike: dict[tuple[str, frozenset[tuple[str, str]]], list[float]] = {}
    same: dict[str, list[float]] = {}
    for arm, s in earlier:
        if s.ok and plan_end(plan, s) is not None:
            took = _took(plan, s)
            alike.setdefault((arm, frozenset(s.factors.items())), []).append(took)
            same.setdefault(arm, []).append(took)
    costs = []
    for case in plan.cases:
        arm = str(case.arm)
        found = (alike.get((arm, frozenset(case.factors))) or same.get(arm) or [])[-RECENT:]
        costs.append(Cost(case, statistics.median(found) if found else guess(case.arm), len(found)))
    return Preview(plan, tuple(costs), tuple(absent))


def plan_end(plan: Plan, sample: Sample) -> float | None:
    """When a boot of the plan would have ended in this earlier sample, in seconds; None where it does not tell."""
    if plan.until == "auto":
        return sample.marks.get("http", sample.marks.get("app"))
    return sample.marks.get(plan.until)


def _took(plan: Plan, sample: Sample) -> float:
    end = plan_end(plan, sample)
    assert end is not None
    beyond = [sample.values[key] for key in ("harness_s", "settle_s", "stop_s") if key in sample.values]
    return end + (sum(beyond) if beyond else AFTER_BOOT)


def guess(arm: Arm) -> float:
    """Seconds that a sample of this arm may take where none was ever taken."""
    seconds = GUESSES.get(arm.runner, OTHERWISE)
    return seconds / 4 if RESUME in arm.extras else seconds


def describe(plan: Plan, blocks_shown: int = 3) -> list[str]:
    """The plan as lines for people: how many boots, timed how, in which order."""
    slots = schedule(plan)
    warm = f"{plan.warmup} warm-up + " if plan.warmup else ""
    most = "at most " if plan.stop else ""
    fixed = {"mem_mb": f"{plan.mem_mb} MiB", "vcpus": f"{plan.vcpus} vCPU"}
    sizes = " and ".join(text for name, text in fixed.items() if name not in {f.name for f in plan.factors})
    machine = f"{sizes} for virtual machines, accelerator {plan.accelerator}" if sizes else \
        f"accelerator {plan.accelerator}"
    machine += ", with a way out" if plan.outgoing else ""
    ends = {"app": "every application is started", "http": "the first good HTTP answer",
            "auto": "the first good HTTP answer (every application started, where no port is served)"}[plan.until]
    kinds = "" if plan.kinds == ("boot",) else f" x {many(len(plan.kinds), 'kind')} ({', '.join(plan.kinds)})"
    lines = [f"Experiment {plan.name}: {_compared(plan)}{kinds} x ({warm}{most}{many(plan.blocks, 'block')}) = "
             f"{most}{many(len(slots), 'boot')}",
             f"  timed from the start of the runner's process until {ends}; {machine}"]
    lines += [f"  {factor.name}: {', '.join(factor.values)}" for factor in plan.factors]
    lines += _rule(plan)
    lines.append(f"  order (seed {plan.seed}):")
    shown = min(blocks_shown, plan.warmup + plan.blocks)
    for block in range(shown):
        names = ", ".join(s.case.name if s.kind == "boot" else f"{s.case.name} ({s.kind})"
                          for s in slots if s.block == block)
        lines.append(f"    block {block}{' (warm-up)' if block < plan.warmup else ''}: {names}")
    rest = plan.warmup + plan.blocks - shown
    if rest:
        lines.append(f"    and {most}{rest} more block{'s' if rest > 1 else ''}, each in its own order")
    return lines


def _compared(plan: Plan) -> str:
    arms = many(len(plan.arms), "arm")
    return arms if len(plan.cases) == len(plan.arms) else f"{arms} under factors, {many(len(plan.cases), 'case')},"


def _rule(plan: Plan) -> list[str]:
    if plan.stop is None:
        return []
    return [f"  ends when the interval of every ratio to {plan.stop.baseline} is narrower than "
            f"{plan.stop.ratio_within:.3g} of it; looked at after {', '.join(map(str, looks(plan.stop)))} blocks "
            "and at no other time, by its width alone"]


def many(count: int, noun: str) -> str:
    """``3 boots``, ``1 boot``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def about(seconds: float) -> str:
    """``about 40 s``, ``about 12 min``, ``about 3.5 h``."""
    if seconds < 100:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 6000 else f"about {seconds / 3600:.1f} h"
