"""When an experiment ends: after its blocks, or at the first look at which its ratios are known closely enough.

A rule that is asked after every block and stops when it likes what it sees finds differences that are not there. So:

- it is asked at a few looks only, which the plan fixes beforehand (``at_least`` blocks, then half as many again, ...,
  ``at_most``);
- it sees how wide an interval is, never where it lies, so it cannot favour either arm (Kruschke 2015, Doing Bayesian
  Data Analysis, 13.3.2: stopping on precision, unlike stopping on a decision, leaves the estimate unbiased; Chow and
  Robbins 1965 for the coverage of such intervals);
- all ratios to the baseline must satisfy it at the same look, which stops all cases alike;
- what it decides depends on the samples of the blocks up to that look alone, so an experiment that
  was stopped and continued ends where it would have ended.

What is left of the price: an interval that is narrow by luck is kept a little more often than it should be, most at the
first look. ``tests/unit/test_stopping.py`` holds the coverage that comes of it against simulated data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from unibeam_nb.bench.plan import Plan, Stop
from unibeam_nb.bench.schedule import Failures, missing_slots
from unibeam_nb.model import Sample

GROWTH = 1.5
"""From one look to the next the number of blocks grows by this factor."""

Bounds = Callable[[Sequence[float], Sequence[float]], tuple[float, float, float]]
"""The ratio of two series, paired by block, with the ends of its 95 % interval: (ratio, low, high). The same series
always give the same. The arithmetic belongs to ``analysis``, which lies above this package and is handed in."""


@dataclass(frozen=True)
class Look:
    """What the rule saw after ``blocks``: the widest of the intervals of the ratios, end to end, as a part of its
    ratio, and whose it was. ``width`` is None where no ratio could be formed."""

    blocks: int
    name: str
    width: float | None
    wanted: float

    @property
    def enough(self) -> bool:
        return self.width is not None and self.width < self.wanted

    @property
    def last(self) -> bool:
        """Whether nothing more is to be measured."""
        return self.enough or self.width is None

    def __str__(self) -> str:
        if self.width is None:
            return f"Look after {self.blocks} blocks: no arm has a ratio to the baseline, so nothing is to be gained."
        end = "Enough." if self.enough else "Not yet enough."
        return (f"Look after {self.blocks} blocks: the widest interval, of {self.name}, spans {self.width:.1%} of its "
                f"ratio, wanted below {self.wanted:.1%}. {end}")


def looks(stop: Stop) -> list[int]:
    """The numbers of blocks after which the rule is asked, in order; the last one is the cap."""
    found, next_look = [], float(stop.at_least)
    while next_look < stop.at_most:
        found.append(int(next_look))
        next_look = max(next_look * GROWTH, found[-1] + 1)
    return [*found, stop.at_most]


def taken_looks(plan: Plan, samples: Sequence[Sample], bounds: Bounds, before: Sequence[Look] = ()) -> list[Look]:
    """The looks after those ``before`` that the samples allow, up to the one at which the experiment ends; none without
    a rule."""
    if plan.stop is None or (before and before[-1].last):
        return []
    done: list[Look] = []
    for blocks in looks(plan.stop)[len(before):]:
        first = [s for s in samples if s.block < plan.warmup + blocks]
        if not _complete(plan, blocks, first):
            break
        done.append(_look(plan, plan.stop, blocks, first, bounds))
        if done[-1].last:
            break
    return done


def blocks_wanted(plan: Plan, done: Sequence[Look]) -> int:
    """How many blocks are to be measured for all that is known: up to the look at which the experiment ended, or up to
    the next one."""
    if plan.stop is None:
        return plan.blocks
    if done and done[-1].last:
        return done[-1].blocks
    return looks(plan.stop)[min(len(done), len(looks(plan.stop)) - 1)]


def _complete(plan: Plan, blocks: int, samples: Sequence[Sample]) -> bool:
    """Whether nothing up to this look is still to be measured."""
    failures = Failures(samples)
    return all(slot.block >= plan.warmup + blocks or failures.given_up(slot.case.name, slot.kind)
               for slot in missing_slots(plan, samples))


def _look(plan: Plan, stop: Stop, blocks: int, samples: Iterable[Sample], bounds: Bounds) -> Look:
    times: dict[str, dict[int, float]] = {name: {} for name in plan.names}
    for s in samples:
        if s.ok and not s.warmup and s.kind == "boot" and plan.until in s.marks:
            times[s.case][s.block] = s.marks[plan.until]
    widest: tuple[float, str] | None = None
    for case in plan.cases:
        baseline = plan.baseline_of(case)
        if baseline is None:
            continue
        own, base = times[case.name], times[baseline.name]
        common = sorted(own.keys() & base.keys())
        # A case that fails is compared with what it has; one that was given up has too little to wait for.
        if len(common) < stop.at_least / 2:
            continue
        ratio, low, high = bounds([own[b] for b in common], [base[b] for b in common])
        widest = max(widest or (0.0, case.name), ((high - low) / ratio, case.name))
    return Look(blocks, widest[1] if widest else "", widest[0] if widest else None, stop.ratio_within)
