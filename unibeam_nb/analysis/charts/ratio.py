"""Every arm against one of them: ratios with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import LogLocator, MaxNLocator

from unibeam_nb.analysis.charts.style import (
    INK,
    QUIET,
    beside,
    finish_rows,
    mark_key,
    missing,
    plain_numbers,
    row_axes,
    styled,
)
from unibeam_nb.analysis.frames import require_kind
from unibeam_nb.analysis.rows import rows_of
from unibeam_nb.analysis.stats import Comparison, comparisons, forced, measure_of, short
from unibeam_nb.bench.journal import Experiment

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def chart_ratio(exp: Experiment, ax: Axes | None = None, *, baseline: str | None = None, measure: str = "boot",
                force: bool = False) -> Axes:
    """A forest: the ratio of every row to ``baseline`` (the row with the least unless named), with its interval."""
    require_kind(exp, measure_of(measure).kind)
    found = {one.arm: one for one in comparisons(exp, baseline, measure=measure, force=force)}
    base = next(iter(found.values())).base if found else baseline
    rows = [row for row in rows_of(exp, measure_of(measure).kind) if row != base]
    ax = ax or row_axes(rows, exp)
    draw_forest(ax, [found.get(row) for row in rows])
    words = measure_of(measure).title
    ax.set_xlabel(f"{words}, as a multiple of {base} (no unit)")
    remarks = ["the median of the ratios within the blocks, with its 95 % interval (range where n < 6)",
               f"a filled point also passed Wilcoxon's test after Holm's correction for {len(found)} comparisons"]
    if told := forced(exp, measure_of(measure).kind):
        remarks.append(told)
    return finish_rows(ax, rows, f"{words[0].upper()}{words[1:]} of {exp.plan.source} against {base}", exp,
                       forest_keys(), remarks, kind=measure_of(measure).kind)


def draw_forest(ax: Axes, found: Sequence[Comparison | None]) -> None:
    """One row per comparison, a line at 1, and figures at the right."""
    ax.axvline(1, color=QUIET, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
    for place, one in enumerate(found):
        if one is None:
            missing(ax, place, "nothing to compare")
            continue
        ratio = one.ratio
        ax.plot([ratio.low, ratio.high], [place, place], color=INK, linewidth=2.2, zorder=2, solid_capstyle="butt")
        ax.plot([ratio.value], [place], marker="o", markersize=5.5, color=INK, zorder=3,
                markerfacecolor=INK if one.differs else "white", markeredgewidth=1.3)
        beside(ax, place, short(one))
    ends = [end for one in found if one for end in (one.ratio.low, one.ratio.high, 1.0)] or [1.0]
    if max(ends) / min(ends) > 3:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(7))
    plain_numbers(ax.xaxis)
    ax.margins(x=0.06)


def forest_keys() -> list[Any]:
    return [mark_key("o", INK, "difference shown"), mark_key("o", "white", "no difference shown"),
            mark_key("_", INK, "interval")]
