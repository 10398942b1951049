"""Medians and ratios of medians with their intervals, and the sentences that say them.

Intervals are 95 % percentile bootstrap intervals, the same for the same values and seed. A ratio is
resampled by block: both arms of a block were measured within seconds of one another, so what slowed the
host down then cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unibeam_nb.analysis.frames import accelerators, emulated
from unibeam_nb.bench.checks import ENOUGH
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.errors import BenchError
from unibeam_nb.model import Sample

CONFIDENCE = 0.95
RESAMPLES = 9999


@dataclass(frozen=True)
class Interval:
    """A figure with what is known about it: ``low`` to ``high`` holds the true value with 95 %
    confidence where ``enough`` samples (:data:`~unibeam_nb.bench.checks.ENOUGH`) were taken, and is only
    the range of what was seen where they were not."""

    value: float
    low: float
    high: float
    n: int

    @property
    def enough(self) -> bool:
        return self.n >= ENOUGH

    @property
    def kind(self) -> str:
        """What ``low`` to ``high`` is called: ``95 %``, or ``range`` where samples are too few."""
        return "95 %" if self.enough else "range"


def median_interval(values: Sequence[float], seed: int) -> Interval:
    """The median of ``values`` and its interval. Raises BenchError when there are none."""
    if len(values) == 0:
        raise BenchError("There is no sample to take a median of.", "See the failed boots in the report.")
    sample = np.asarray(values, dtype=float)
    middle = float(np.median(sample))
    if len(sample) < ENOUGH or np.ptp(sample) == 0:
        return Interval(middle, float(sample.min()), float(sample.max()), len(sample))
    low, high = _bootstrap((sample,), lambda x, axis: np.median(x, axis=axis), seed, paired=False)
    return Interval(middle, low, high, len(sample))


def ratio_interval(a: Sequence[float], b: Sequence[float], seed: int) -> Interval:
    """The ratio of the medians of ``a`` and ``b``, whose values at the same place come from one block.

    Raises BenchError when there is no block, or they do not pair up, or a value is not positive.
    """
    if len(a) != len(b) or len(a) == 0:
        raise BenchError(f"{len(a)} and {len(b)} samples cannot be compared block by block.",
                         "Give the values of the blocks in which both arms succeeded.")
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if min(first.min(), second.min()) <= 0:
        raise BenchError("A ratio needs positive values.", "Times and sizes of good boots are.")
    value = float(np.median(first) / np.median(second))
    each = first / second
    if len(first) < ENOUGH:
        return Interval(value, min(value, float(each.min())), max(value, float(each.max())), len(first))
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        return Interval(value, value, value, len(first))
    low, high = _bootstrap((first, second), lambda x, y, axis: np.median(x, axis=axis) / np.median(y, axis=axis),
                           seed, paired=True)
    return Interval(value, low, high, len(first))


def _bootstrap(data: tuple[Any, ...], statistic: Callable[..., Any], seed: int, *,
               paired: bool) -> tuple[float, float]:
    """scipy's percentile bootstrap. Not its default BCa: that one needs jackknife values that differ, and a
    median's hardly do."""
    from scipy import stats

    # random_state and not rng: scipy before 1.15 knows only the former, and newer ones take both.
    done = stats.bootstrap(data, statistic, n_resamples=RESAMPLES, paired=paired, vectorized=True,
                           confidence_level=CONFIDENCE, method="percentile",
                           random_state=np.random.default_rng(seed))
    return float(done.confidence_interval.low), float(done.confidence_interval.high)


@dataclass(frozen=True)
class Comparison:
    """How ``arm`` compares with ``base``: the ratio of the medians of their boot times, by block."""

    arm: str
    base: str
    ratio: Interval
    caveat: str = ""

    def __str__(self) -> str:
        return sentence(self.arm, self.base, self.ratio, self.caveat)


def sentence(arm: str, base: str, ratio: Interval, caveat: str = "") -> str:
    """``linux@qemu takes 12.3x (95 % 11.0-13.6) as long as release@process, n=10 blocks.``, or that no
    difference can be told where the interval holds 1."""
    blocks = f"n={ratio.n} block{'s' if ratio.n > 1 else ''}"
    digits = _digits(ratio)
    figures = f"{ratio.value:.{digits}f}x ({ratio.kind} {ratio.low:.{digits}f}-{ratio.high:.{digits}f})"
    if not ratio.enough:
        text = f"{arm} took {figures} as long as {base}, {blocks}: too few for a 95 % interval."
    elif ratio.low <= 1 <= ratio.high:
        text = f"No difference between {arm} and {base} can be told: {figures}, {blocks}."
    else:
        text = f"{arm} takes {figures} as long as {base}, {blocks}."
    return f"{text} {caveat}" if caveat else text


def _digits(ratio: Interval) -> int:
    """Digits after the point so that the ends of the interval can be told apart, and no more."""
    width = ratio.high - ratio.low
    if ratio.value >= 100:
        return 0
    least = 1 if ratio.value >= 10 else 2
    return least if width <= 0 else min(4, max(least, math.ceil(-math.log10(width))))


def compare(exp: Experiment, arm: str, base: str, *, force: bool = False) -> Comparison:
    """Compare the boot times of two arms over the blocks in which both succeeded.

    Raises BenchError where the samples were not taken under the same conditions, unless ``force``. A
    virtual machine against a container is the one pair whose accelerators differ by nature; if the machine
    was emulated, the comparison says so.
    """
    for name in (arm, base):
        if name not in exp.arms:
            raise BenchError(f"{name} is not in the experiment {exp.name}.", f"Its arms are {', '.join(exp.arms)}.")
    chosen = [s for s in exp.measured if s.arm in (arm, base)]
    if not force:
        refuse_mixed(chosen)
    times = {name: {s.block: s.marks[exp.until] for s in chosen if s.arm == name} for name in (arm, base)}
    blocks = sorted(times[arm].keys() & times[base].keys())
    if not blocks:
        raise BenchError(f"There is no block in which both {arm} and {base} succeeded.",
                         "See the failed boots in the report.")
    ratio = ratio_interval([times[arm][b] for b in blocks], [times[base][b] for b in blocks], exp.plan.seed)
    return Comparison(arm, base, ratio, caveat(exp, (arm, base)))


def caveat(exp: Experiment, arms: Sequence[str]) -> str:
    """The sentence that must stand beside every figure of an emulated machine; empty where none is."""
    slow = [arm for arm in emulated(exp) if arm in arms]
    if not slow:
        return ""
    return f"{' and '.join(slow)} ran under tcg: software emulation, not what production would show."


def refuse_mixed(samples: Sequence[Sample], what: str = "These samples") -> None:
    """Raise BenchError where samples come from several hosts, or virtual machines from several accelerators."""
    hint = "Measure all arms in one experiment on one host, or use --force to compare them all the same."
    if len({s.host for s in samples}) > 1:
        raise BenchError(f"{what} come from different hosts.", hint)
    virtual = sorted({name for names in accelerators(samples).values() for name in names} - {"native", ""})
    if len(virtual) > 1:
        raise BenchError(f"{what} come from virtual machines with different accelerators ({', '.join(virtual)}).", hint)


def comparisons(exp: Experiment, base: str | None = None, *, force: bool = False) -> list[Comparison]:
    """Every arm against ``base`` (the fastest arm unless named); arms without a common block are left out."""
    medians = {arm: float(np.median(times)) for arm in exp.arms
               if (times := [s.marks[exp.until] for s in exp.measured if s.arm == arm])}
    if not medians:
        return []
    chosen = base or min(medians, key=lambda arm: medians[arm])
    blocks = {arm: {s.block for s in exp.measured if s.arm == arm} for arm in (*exp.arms, chosen)}
    return [compare(exp, arm, chosen, force=force) for arm in exp.arms
            if arm != chosen and blocks[arm] & blocks[chosen]]
