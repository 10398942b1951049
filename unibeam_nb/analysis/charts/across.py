"""Two experiments against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibeam_nb.analysis.charts.ratio import draw_forest, forest_keys
from unibeam_nb.analysis.charts.style import LOUD, finish_rows, row_axes, styled
from unibeam_nb.analysis.compare import APART, Across
from unibeam_nb.analysis.stats import measure_of
from unibeam_nb.analysis.words import accelerator_line, date_of, host_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def chart_across(across: Across, ax: Axes | None = None) -> Axes:
    """A forest: the ratio of every row of the second experiment to the same row of the first."""
    rows = [one.arm.partition(" in ")[0] for one in across.found]
    ax = ax or row_axes(rows, across.second)
    draw_forest(ax, across.found)
    words = measure_of(across.measure).title
    ax.set_xlabel(f"{words} in {across.second.name}, as a multiple of that in {across.first.name} (no unit)")
    if across.forced:
        ax.annotate("NOT A FAIR COMPARISON", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center",
                    color=LOUD, alpha=0.28, size=20, weight="bold", zorder=0)
    remarks = ["the median of all ratios between the two samples, with its 95 % interval (range where n < 6)",
               *([across.forced] if across.forced else []), APART]
    for exp, counts in ((across.first, "first"), (across.second, "second")):
        remarks.append(f"{counts}: {exp.name}, {date_of(exp)}, {_counts(across, counts)}; {accelerator_line(exp)}; "
                       f"{host_line(exp)}")
    return finish_rows(ax, rows, f"{words[0].upper()}{words[1:]}: {across.second.name} against {across.first.name}",
                       across.second, forest_keys(), remarks, footer=False)


def _counts(across: Across, which: str) -> str:
    """``n = 10``, or ``n = 9 to 10``."""
    place = 1 if which == "first" else 0
    found = sorted(int(one.counts.removeprefix("n=").split(" against ")[place]) for one in across.found)
    return f"n = {found[0]}" if found[0] == found[-1] else f"n = {found[0]} to {found[-1]}"
