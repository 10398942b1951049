"""Two experiments against each other: what changed between two versions of a program, or two settings of a host.

Their blocks have nothing in common, so arms are not paired: the ratio is that of Hodges and Lehmann, the median of all
ratios between the two samples, with the interval that inverts the test of Mann and Whitney (Lehmann, "Nonparametric
confidence intervals for a shift parameter", Annals of Mathematical Statistics 34, 1963). Simulations
(``tests/unit/test_coverage.py``) hold it to its 95 %. What the whole host did differently at the two times is in the
ratio too: only an experiment that measures both in one run can take that out, and every comparison says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from unibeam_nb.analysis.frames import accelerators
from unibeam_nb.analysis.intervals import Z_INTERVAL, Interval, holm
from unibeam_nb.analysis.measures import Measure
from unibeam_nb.analysis.rows import arm_of, rows_of
from unibeam_nb.analysis.stats import Comparison, caveat, measure_of, values_by_block
from unibeam_nb.bench.checks import ENOUGH
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.errors import BenchError
from unibeam_nb.visible import visible

if TYPE_CHECKING:
    import pandas as pd

APART = "The two were measured at different times: what the host did differently then is part of every ratio."


@dataclass(frozen=True)
class Across:
    """How ``second`` compares with ``first``, row by row. ``forced`` says why it is no fair comparison; empty where it
    is one."""

    first: Experiment
    second: Experiment
    measure: str
    found: tuple[Comparison, ...]
    forced: str = ""

    def __str__(self) -> str:
        return "\n".join((*([self.forced] if self.forced else []), *map(str, self.found), APART))

    def __repr__(self) -> str:
        return f"<{self.second.name} against {self.first.name}: {len(self.found)} rows>"

    def _repr_html_(self) -> str:
        loud = f"<p><strong>{escape(self.forced)}</strong></p>" if self.forced else ""
        return f"{loud}<ul>{''.join(f'<li>{escape(visible(str(one)))}</li>' for one in self.found)}</ul><p>{APART}</p>"

    def to_frame(self) -> pd.DataFrame:
        """One row of the comparison a row: ``ratio``, ``low``, ``high``, ``p`` (after Holm) and ``differs``."""
        import pandas as pd

        return pd.DataFrame([{"row": one.arm.partition(" in ")[0], "ratio": one.ratio.value, "low": one.ratio.low,
                              "high": one.ratio.high, "p": one.p, "differs": one.differs} for one in self.found])


def compare_experiments(first: Experiment, second: Experiment, *, measure: str = "boot",
                        force: bool = False) -> Across:
    """``second`` against ``first`` over the rows that both have.

    Raises BenchError where they have none in common, end their boots at different marks, or come from different hosts
    or accelerators; the last two only without ``force``.
    """
    what = measure_of(measure)
    names = (first.name, second.name) if first.name != second.name else (f"{first.name} (first)",
                                                                           f"{second.name} (second)")
    if what.name == "boot" and first.until != second.until:
        raise BenchError(f"A boot ends with {first.until} in {names[0]} and with {second.until} in {names[1]}.",
                         "Measure one of them again until the same mark.")
    values = [values_by_block(exp, what) for exp in (first, second)]
    rows = [row for row in rows_of(first, what.kind) if values[0].get(row) and values[1].get(row)]
    if not rows:
        raise BenchError(f"{names[0]} and {names[1]} have no arm with a {what.title} in common.",
                         f"The first has {', '.join(first.arms)}; the second {', '.join(second.arms)}.")
    unfair = _unfair(first, second, what, {arm_of(row) for row in rows}, names)
    if unfair and not force:
        raise BenchError(unfair, "Measure both in one experiment on one host, or use --force to compare them all the "
                                 "same.")
    found = [_compare(row, names, list(values[0][row].values()), list(values[1][row].values()), measure,
                      caveat(second, (arm_of(row),))) for row in rows]
    adjusted = holm([one.p for one in found])
    return Across(first, second, measure,
                  tuple(dataclasses.replace(one, p=p, family=len(found))
                        for one, p in zip(found, adjusted, strict=True)),
                  f"FORCED, NOT A FAIR COMPARISON: {unfair}" if unfair else "")


def _compare(row: str, names: tuple[str, str], before: Sequence[float], after: Sequence[float], measure: str,
             told: str) -> Comparison:
    from scipy import stats

    p = float(stats.mannwhitneyu(np.log(after), np.log(before)).pvalue) if set(after) != set(before) else 1.0
    return Comparison(f"{row} in {names[1]}", f"in {names[0]}", shift_ratio(after, before), told, p, 1, measure,
                      counts=f"n={len(after)} against {len(before)}")


def shift_ratio(a: Sequence[float], b: Sequence[float]) -> Interval:
    """How many times ``b`` is in ``a``, of two samples that are not paired; the range of all ratios where either has
    fewer than ENOUGH values. ``n`` is that of the smaller."""
    logs = np.sort((np.log(np.asarray(a, dtype=float))[:, None] - np.log(np.asarray(b, dtype=float))[None, :]).ravel())
    low, high = shift_bounds(logs, len(a), len(b))
    return Interval(math.exp(float(np.median(logs))), math.exp(low), math.exp(high), min(len(a), len(b)))


def shift_bounds(ordered: Any, m: int, n: int) -> tuple[Any, Any]:
    """The ends of the 95 % interval of a shift, of all ``m * n`` differences in rising order along the last axis: the
    normal approximation to the law of Mann and Whitney, interpolated between the differences."""
    if min(m, n) < ENOUGH:
        return ordered[..., 0], ordered[..., -1]
    place = m * n / 2 - Z_INTERVAL * math.sqrt(m * n * (m + n + 1) / 12)
    k, inwards = math.floor(place), place - math.floor(place)
    low = (1 - inwards) * ordered[..., k - 1] + inwards * ordered[..., k]
    high = (1 - inwards) * ordered[..., m * n - k] + inwards * ordered[..., m * n - k - 1]
    return low, high


def _unfair(first: Experiment, second: Experiment, measure: Measure, arms: set[str], names: tuple[str, str]) -> str:
    """Why the two should not be compared; empty where they may be."""
    samples = [[s for s in exp.measured_of(measure.kind) if s.arm in arms] for exp in (first, second)]
    if len({s.host for own in samples for s in own}) > 1:
        return f"{names[0]} and {names[1]} were measured on different hosts."
    under = [accelerators(own) for own in samples]
    for arm in sorted(arms):
        if under[0].get(arm) != under[1].get(arm):
            was, now = (" and ".join(one.get(arm, ())) for one in under)
            return f"{arm} ran under {was} in {names[0]} and under {now} in {names[1]}."
    return ""
