"""Memory: of a machine that is up, of many copies at once, and the least that will do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from unibeam_nb.analysis.charts.style import (
    BAND,
    INK,
    LOUD,
    MARKERS,
    MEDIAN,
    axes,
    beside,
    block,
    finish,
    finish_rows,
    legend_columns,
    line_key,
    line_look,
    mark_key,
    megabytes,
    missing,
    plain_numbers,
    points,
    row_axes,
    spread,
    styled,
    value_axis,
)
from unibeam_nb.analysis.frames import copies_frame, measured_frame, memory_frame, require_kind, typical
from unibeam_nb.analysis.intervals import median_interval
from unibeam_nb.analysis.rows import rows_of
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.units import format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MIB = 1 << 20


@styled
def chart_memory(exp: Experiment, ax: Axes | None = None) -> Axes:
    """Memory after the boot: payload and overhead of one boot of each row, at or next below its median."""
    require_kind(exp, "boot")
    frame, kinds, rows = measured_frame(exp), memory_frame(exp), rows_of(exp)
    ax = ax or row_axes(rows, exp, legend_rows=2)
    colours = {"payload": "#5b6e91", "overhead": "#e8d27a"}
    values = {}
    for row in rows:
        order = typical(frame, "memory_bytes", row)
        own = kinds[(kinds["row"] == row) & (kinds["order"] == order)]
        values[row] = dict(zip(own["kind"], own["bytes"].astype(float), strict=True)) if order is not None else {}
    largest = max((v["payload"] + v["overhead"] for v in values.values() if v), default=1e6) / 1e6
    for place, row in enumerate(rows):
        if not (own_values := values[row]):
            missing(ax, place)
            continue
        payload, overhead = own_values["payload"] / 1e6, own_values["overhead"] / 1e6
        block(ax, place, 0, payload, colours["payload"], "", megabytes(payload), largest)
        block(ax, place, payload, overhead, colours["overhead"], "////", megabytes(overhead), largest)
        if "beam" in own_values:
            # Below the bar and not across it: there it would hide the figure inside.
            ax.plot([own_values["beam"] / 1e6], [place + 0.39], marker="^", markersize=6.5, color=LOUD, linestyle="",
                    zorder=5)
        beside(ax, place, format_bytes(own_values["payload"] + own_values["overhead"]))
    ax.set_xlim(0, largest * 1.01)
    ax.set_xlabel("resident memory (MB, decimal, shared pages counted by share)")
    handles: list[Any] = [
        Patch(facecolor=colours["payload"], label="payload (guest RAM touched, or processes)"),
        Patch(facecolor=colours["overhead"], hatch="////", edgecolor="white", label="overhead (VMM or runtime)"),
        mark_key("^", LOUD, "the BEAM's own count")]
    return finish_rows(ax, rows, f"Memory of {exp.plan.source} when it is up", exp, handles,
                       ["each bar is one boot, the one at or next below the arm's median total"], columns=2)


@styled
def chart_density(exp: Experiment, ax: Axes | None = None) -> Axes:
    """Memory of each of N copies that run at once, over N: what copies share shows as a falling line."""
    require_kind(exp, "density")
    frame = copies_frame(exp)
    rows = list(dict.fromkeys(frame["row"]))
    names = {}
    for row in rows:
        own = frame[frame["row"] == row]
        most = int(own["copies"].max())
        each = float(own[own["copies"] == most]["each_bytes"].median())
        names[row] = f"{row}: {megabytes(each / 1e6)} MB each at {most}"
    columns = legend_columns(list(names.values()))
    ax = ax or axes(4.2 + 0.2 * math.ceil(len(rows) / columns), exp)
    handles = []
    for index, row in enumerate(rows):
        own = frame[frame["row"] == row]
        look = line_look(index) | {"marker": MARKERS[index % len(MARKERS)], "markersize": 5.5, "markeredgecolor": INK,
                                   "markeredgewidth": 0.7}
        found = [(copies, median_interval(group["each_bytes"].tolist())) for copies, group in own.groupby("copies")]
        across, middles = [copies for copies, _ in found], [i.value / 1e6 for _, i in found]
        ax.plot(across, middles, zorder=4, label=row, **look)
        ax.vlines(across, [i.low / 1e6 for _, i in found], [i.high / 1e6 for _, i in found], color=look["color"],
                  linewidth=3.2, alpha=0.35, zorder=3)
        handles.append(Line2D([], [], label=names[row], **look))
    counts = sorted(set(frame["copies"]))
    ax.set_xscale("log", base=2)
    ax.set_xlim(counts[0] / 1.15, counts[-1] * 1.15)
    ax.xaxis.set_major_locator(FixedLocator(counts))
    ax.xaxis.set_minor_locator(NullLocator())
    plain_numbers(ax.xaxis)
    ax.set_ylim(bottom=0)
    ax.grid(axis="both")
    ax.set_xlabel("copies that run at once")
    ax.set_ylabel("memory of each copy (MB, decimal)")
    return finish(ax, f"Memory of every copy of {exp.plan.source}, with N at once", exp, handles,
                  ["memory of all copies and of what runs them, divided by N; shared pages are counted by share",
                   "a line joins medians, a bar is the 95 % interval (the range where n < 6)"], columns=columns,
                  kind="density")


@styled
def chart_minimum(exp: Experiment, ax: Axes | None = None) -> Axes:
    """The least memory in which each row still reached its mark, search by search."""
    require_kind(exp, "minimum")
    frame, rows = measured_frame(exp, "minimum"), rows_of(exp, "minimum")
    ax = ax or row_axes(rows, exp)
    medians = []
    for place, row in enumerate(rows):
        own = [value / MIB for value in frame[frame["row"] == row].get("least_bytes", [])]
        if not own:
            missing(ax, place, "no search succeeded")
            continue
        middle = median_interval(own)
        medians.append(middle.value)
        spread(ax, place, middle.low, middle.value, middle.high)
        points(ax, place, own, [False] * len(own))
        beside(ax, place, f"{middle.value:.4g} MiB")
    value_axis(ax, medians, "least memory given", "MiB")
    handles = [line_key(MEDIAN, "median"), Patch(color=BAND, label="95 % interval (range where n < 6)"),
               mark_key("o", INK, "one search")]
    return finish_rows(ax, rows, f"Least memory in which {exp.plan.source} still reaches {exp.until}", exp, handles,
                       ["a machine's RAM, or a container's memory limit, found by bisection"], kind="minimum")
