"""Boot times: every boot as a point, and their distribution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from unibeam_nb.analysis.charts.style import (
    BAND,
    INK,
    MEDIAN,
    axes,
    beside,
    finish,
    finish_rows,
    legend_columns,
    line_key,
    line_look,
    mark_key,
    missing,
    points,
    row_axes,
    span,
    spread,
    styled,
    time_unit,
    value_axis,
)
from unibeam_nb.analysis.frames import measured_frame, require_kind
from unibeam_nb.analysis.intervals import median_interval
from unibeam_nb.analysis.rows import rows_of
from unibeam_nb.analysis.words import ENDS
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.units import format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@styled
def chart_boot(exp: Experiment, ax: Axes | None = None) -> Axes:
    """Boot time of every row: each boot as a point, the median as a line, its interval as a bar."""
    require_kind(exp, "boot")
    frame, rows = measured_frame(exp), rows_of(exp)
    times = {row: frame[frame["row"] == row] for row in rows}
    found = {row: median_interval(own["seconds"].tolist()) for row, own in times.items() if len(own)}
    ax = ax or row_axes(rows, exp)
    unit, scale = time_unit([i.high for i in found.values()])
    for place, row in enumerate(rows):
        if row not in found:
            missing(ax, place)
            continue
        own, middle = times[row], found[row]
        spread(ax, place, middle.low * scale, middle.value * scale, middle.high * scale)
        points(ax, place, (own["seconds"] * scale).tolist(), own["outlier"].tolist())
        beside(ax, place, f"{format_seconds(middle.value)}\n({span(middle.low, middle.high)})")
    value_axis(ax, [i.value for i in found.values()], "boot time", unit)
    intervals = "95 % interval" if found and all(i.enough for i in found.values()) else "interval (range where n < 6)"
    handles = [line_key(MEDIAN, "median"), Patch(color=BAND, label=intervals), mark_key("o", INK, "one boot")]
    if bool(frame["outlier"].any()):
        handles.append(mark_key("o", "white", "outlier, kept"))
    return finish_rows(ax, rows, f"Boot time of {exp.plan.source}: from spawn to {ENDS[exp.until]}", exp, handles)


@styled
def chart_ecdf(exp: Experiment, ax: Axes | None = None) -> Axes:
    """The share of boots that were ready after so long, for every row; numbered in the order of the medians."""
    require_kind(exp, "boot")
    frame, rows = measured_frame(exp), rows_of(exp)
    times = {row: np.sort(frame[frame["row"] == row]["seconds"].to_numpy()) for row in rows}
    order = sorted((row for row in rows if len(times[row])), key=lambda row: float(np.median(times[row])))
    names = {row: f"{index}  {row}, median {format_seconds(float(np.median(times[row])))}"
             for index, row in enumerate(order, 1)}
    names |= {row: f"-  {row}: no boot succeeded" for row in rows if row not in order}
    columns = legend_columns(list(names.values()))
    ax = ax or axes(4.4 + 0.2 * math.ceil(len(rows) / columns), exp)
    unit, scale = time_unit([float(own[-1]) for own in times.values() if len(own)])
    handles = []
    for index, row in enumerate(order):
        own, look = times[row] * scale, line_look(index)
        ax.step([own[0], *own], [0, *(np.arange(1, len(own) + 1) / len(own))], where="post", zorder=3, **look)
        # The number climbs from line to line, so that close lines have theirs at different heights.
        height = (index + 1) / (len(order) + 1)
        ax.annotate(str(index + 1), (float(np.quantile(own, height, method="inverted_cdf")), height), size=7.5,
                    ha="center", va="center", zorder=5, bbox={"boxstyle": "circle,pad=0.2", "facecolor": "white",
                                                              "edgecolor": look["color"], "linewidth": 0.9})
        handles.append(Line2D([], [], label=names[row], **look))
    handles += [Line2D([], [], linestyle="", label=names[row]) for row in rows if row not in order]
    value_axis(ax, [float(np.median(times[row])) * scale for row in order], "boot time", unit)
    ax.set_ylim(-0.02, 1.03)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    ax.set_ylabel("share of boots that were ready")
    ax.grid(axis="both")
    return finish(ax, f"Boot time of {exp.plan.source}: share of boots ready by then", exp, handles, columns=columns)
