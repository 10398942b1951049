"""Comparisons of arms within an experiment, and the sentences that say them.

Two arms are compared block by block: both samples of a block were taken within seconds of one another. What is called
a difference has passed twice: its interval leaves out 1, and Wilcoxon's test says so after Holm's correction over
all comparisons made together. Where the arms are the same, at most one family in twenty then claims a difference.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from unibeam_nb.analysis.frames import accelerators, emulated
from unibeam_nb.analysis.intervals import (
    Interval,
    bca_ratio,
    blocks_needed,
    difference_p,
    holm,
    ratio_interval,
    superiority,
)
from unibeam_nb.analysis.measures import MEASURES, Measure
from unibeam_nb.analysis.rows import arm_of, row_of, rows_of
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.errors import BenchError
from unibeam_nb.model import Sample

ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """How ``arm`` compares with ``base``: the ratio of what ``measure`` names, block by block.

    ``p`` is adjusted for all comparisons of its ``family`` (their number). ``wins`` is the probability that in one
    block ``arm`` has less than ``base``. ``of_medians`` is the ratio of the medians with its BCa interval, for
    reference (:func:`~unibeam_nb.analysis.intervals.bca_ratio`). ``counts`` is said where n is no number of blocks.
    """

    arm: str
    base: str
    ratio: Interval
    caveat: str = ""
    p: float = 0.0
    family: int = 1
    measure: str = "boot"
    wins: Interval | None = None
    of_medians: Interval | None = None
    counts: str = ""

    @property
    def differs(self) -> bool:
        """Whether a difference is shown."""
        return self.ratio.enough and not self.ratio.low <= 1 <= self.ratio.high and self.p <= ALPHA

    def __str__(self) -> str:
        return sentence(self)


def sentence(found: Comparison) -> str:
    """``a is 2.3x faster than b (95 % 2.1-2.6), n=30 blocks.``, or that no difference is shown and about how many
    blocks would show the one seen."""
    ratio, blocks = found.ratio, found.counts or f"n={found.ratio.n} block{'s' if found.ratio.n > 1 else ''}"
    words = (MEASURES[found.measure].less, MEASURES[found.measure].more)
    claim = f"{found.arm} {_factor(ratio, words)} {found.base} ({_span(ratio)}), {blocks}"
    apart = not ratio.low <= 1 <= ratio.high
    if not ratio.enough:
        text = f"{claim}: too few for a 95 % interval."
    elif found.differs:
        text = f"{claim}."
    elif apart and not found.counts and ratio.n < (least := _least_blocks(found.family)):
        text = f"{claim}: too few to be sure among {found.family} comparisons, {least} would do."
    else:
        needed = blocks_needed(ratio)
        more = f" (would need about {needed:,})" if needed and needed <= 10_000 else ""
        among = f" among {found.family} comparisons" if found.family > 1 else ""
        text = f"{found.arm} and {found.base}: no difference shown at {blocks}{among}{more}; {_plain(ratio)}."
    return f"{text} {found.caveat}" if found.caveat else text


def short(found: Comparison) -> str:
    """What stands beside a row: ``2.30x faster`` and its interval, the other way round where that is above 1; the bare
    ratio where its interval holds 1."""
    if found.ratio.low <= 1 <= found.ratio.high:
        digits = _digits(found.ratio)
        return f"{found.ratio.value:.{digits}f}x\n({_plain(found.ratio).partition('(')[2]}"
    shown = _turned(found.ratio)
    less = MEASURES[found.measure].brief[0 if found.ratio.value < 1 else 1]
    return f"{shown.value:.{_digits(shown)}f}x {less}\n({_span(found.ratio)})"


def _least_blocks(family: int) -> int:
    """How many blocks, all speaking the same way, Wilcoxon's test needs to be sure in a family of so many: the least
    p that n blocks can have is 2^(1-n)."""
    return 1 + math.ceil(math.log2(family / ALPHA))


def _factor(ratio: Interval, words: tuple[str, str]) -> str:
    """``is 2.3x faster than``."""
    shown = _turned(ratio)
    return (words[0] if ratio.value < 1 else words[1]).format(f"{shown.value:.{_digits(shown)}f}x")


def _span(ratio: Interval) -> str:
    """``95 % 2.1-2.6``."""
    shown = _turned(ratio)
    digits = _digits(shown)
    return f"{shown.kind} {shown.low:.{digits}f}-{shown.high:.{digits}f}"


def _plain(ratio: Interval) -> str:
    """``ratio 1.01 (95 % 0.95-1.08)``."""
    digits = _digits(ratio)
    return f"ratio {ratio.value:.{digits}f} ({ratio.kind} {ratio.low:.{digits}f}-{ratio.high:.{digits}f})"


def _turned(ratio: Interval) -> Interval:
    """A ratio below 1 the other way round, as people say it."""
    if ratio.value >= 1:
        return ratio
    return Interval(1 / ratio.value, 1 / ratio.high, 1 / ratio.low, ratio.n)


def _digits(ratio: Interval) -> int:
    """Digits after the point so that the ends of the interval can be told apart, and no more."""
    width = ratio.high - ratio.low
    if ratio.value >= 100:
        return 0
    least = 1 if ratio.value >= 10 else 2
    return least if width <= 0 else min(4, max(least, math.ceil(-math.log10(width))))


def compare(exp: Experiment, arm: str, base: str, *, measure: str = "boot", force: bool = False) -> Comparison:
    """Compare two arms (or rows, where the plan has factors) over the blocks in which both succeeded.

    Raises BenchError where the samples were not taken under the same conditions, unless ``force``. A
    virtual machine against a container is the one pair whose accelerators differ by nature; if the machine
    was emulated, the comparison says so.
    """
    what = measure_of(measure)
    rows = rows_of(exp, what.kind)
    for name in (arm, base):
        if name not in rows:
            raise BenchError(f"{name} is not in the experiment {exp.name}.", f"Its arms are {', '.join(rows)}.")
    chosen = [s for s in exp.measured_of(what.kind) if row_of(s) in (arm, base)]
    if not force:
        refuse_mixed(chosen)
    values = values_by_block(exp, what)
    blocks = sorted(values[arm].keys() & values[base].keys())
    if not blocks:
        raise BenchError(f"There is no block in which both {arm} and {base} succeeded.",
                         "See the failed boots in the report.")
    first, second = [values[arm][b] for b in blocks], [values[base][b] for b in blocks]
    return Comparison(arm, base, ratio_interval(first, second), caveat(exp, (arm_of(arm), arm_of(base))),
                      difference_p(first, second), 1, measure, superiority(first, second),
                      bca_ratio(first, second, exp.plan.seed))


def measure_of(name: str) -> Measure:
    """The measure of this name. Raises BenchError with those there are."""
    if name not in MEASURES:
        raise BenchError(f"There is no measure {name!r}.", f"The measures are {', '.join(MEASURES)}.")
    return MEASURES[name]


def values_by_block(exp: Experiment, measure: Measure) -> dict[str, dict[int, float]]:
    """Every row's values by block; rows without any are there, and empty."""
    values: dict[str, dict[int, float]] = {row: {} for row in rows_of(exp, measure.kind)}
    for sample in exp.measured_of(measure.kind):
        value = measure.of(sample, exp.until)
        if value is not None:
            values[row_of(sample)][sample.block] = value
    return values


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


def forced(exp: Experiment, kind: str = "boot") -> str:
    """What a figure must say whose comparison was only possible by force; empty where it was fair."""
    try:
        refuse_mixed(exp.measured_of(kind))
    except BenchError as error:
        return f"FORCED, NOT A FAIR COMPARISON: {error.message[0].lower()}{error.message[1:]}"
    return ""


def comparisons(exp: Experiment, base: str | None = None, *, measure: str = "boot",
                force: bool = False) -> list[Comparison]:
    """Every row against ``base`` (the one with the least unless named), corrected for being many (Holm); rows
    without a common block are left out. Raises BenchError where ``base`` is not there or has nothing to compare."""
    values = values_by_block(exp, measure_of(measure))
    medians = {row: statistics.median(own.values()) for row, own in values.items() if own}
    if base is not None and base not in medians:
        there = ", ".join(medians) or "none"
        raise BenchError(f"{base} has no {MEASURES[measure].title} in the experiment {exp.name}.",
                         f"A baseline is one of its arms that succeeded: {there}.")
    if not medians:
        return []
    chosen = base or min(medians, key=lambda row: medians[row])
    found = [compare(exp, row, chosen, measure=measure, force=force) for row in values
             if row != chosen and values[row].keys() & values[chosen].keys()]
    adjusted = holm([one.p for one in found])
    return [dataclasses.replace(one, p=p, family=len(found)) for one, p in zip(found, adjusted, strict=True)]
