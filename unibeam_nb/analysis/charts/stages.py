"""Where the time of a boot goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.patches import Patch

from unibeam_nb.analysis.charts.style import beside, block, finish_rows, looks, missing, row_axes, styled, time_unit
from unibeam_nb.analysis.frames import measured_frame, require_kind, stages_frame, typical
from unibeam_nb.analysis.rows import rows_of
from unibeam_nb.analysis.words import STAGE_NAMES
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.model import ICOUNT
from unibeam_nb.units import format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def chart_stages(exp: Experiment, ax: Axes | None = None) -> Axes:
    """The stages of one boot of each row, at or next below its median; they sum to the total printed beside them."""
    require_kind(exp, "boot")
    frame, stages, rows = measured_frame(exp), stages_frame(exp), rows_of(exp)
    ax = ax or row_axes(rows, exp, legend_rows=2)
    look = looks(tuple(STAGE_NAMES))
    chosen = {row: typical(frame, "seconds", row) for row in rows}
    shown = stages[stages["order"] == stages["row"].map(chosen)]
    totals = shown.groupby("row")["seconds"].sum()
    unit, scale = time_unit(totals.tolist())
    longest = float(totals.max()) * scale if len(totals) else 1.0
    for place, row in enumerate(rows):
        own = shown[shown["row"] == row]
        if own.empty:
            missing(ax, place)
            continue
        for stage, start, seconds in zip(own["stage"], own["start"], own["seconds"], strict=True):
            block(ax, place, start * scale, seconds * scale, *look[stage], format_seconds(seconds), longest)
        beside(ax, place, f"= {format_seconds(float(own['seconds'].sum()))}")
    ax.set_xlim(0, longest * 1.01)
    since = "guest time since it was switched on" if exp.plan.accelerator == ICOUNT else "time since spawn"
    ax.set_xlabel(f"{since} ({unit})")
    handles = [Patch(facecolor=look[name][0], hatch=look[name][1], edgecolor="white", label=STAGE_NAMES[name])
               for name in STAGE_NAMES if (stages["stage"] == name).any()]
    return finish_rows(ax, rows, f"Where the boot of {exp.plan.source} goes", exp, handles,
                       ["each bar is one boot, the one at or next below the arm's median; its stages sum to its total"],
                       columns=3)
