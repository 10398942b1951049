"""Frames become figures: boot times, stages, sizes and memory.

Every chart takes an experiment (sizes also: images by arm) and optionally the axes to draw on, and returns
the axes; ``axes.figure`` is a plain matplotlib ``Figure`` that knows nothing of pyplot. Colours come from
cividis, which keeps its order for every kind of colour vision and in greyscale, and hatches say it again.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation

from unibeam_nb.analysis.frames import (
    PART_GROUPS,
    accelerators,
    measured_frame,
    memory_frame,
    sizes_frame,
    stages_frame,
    typical,
)
from unibeam_nb.analysis.intervals import median_interval
from unibeam_nb.analysis.words import (
    ENDS,
    STAGE_NAMES,
    date_of,
    describe_boot,
    describe_memory,
    describe_size,
    describe_stages,
    emulation_line,
    footer_lines,
)
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.errors import BenchError
from unibeam_nb.model import Image
from unibeam_nb.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CHARTS", "chart_boot", "chart_memory", "chart_size", "chart_stages", "describe_boot", "describe_memory",
           "describe_size", "describe_stages"]

WIDTH = 8.0
"""Inches: what fits beside a notebook's prompt."""

LOG_ABOVE = 40.0
"""Ratio of the slowest to the fastest median above which boot times need a logarithmic axis."""

FOOTER_COLUMNS, LOUD_COLUMNS = 100, 76
"""Characters of the footer's and of the loud line's size that fit below and above the plot."""

INK, QUIET, LOUD = "#1a1a1a", "#5a5a5a", "#a1320b"
HATCHES = ("", "////", "||||", "\\\\\\\\", "xxxx", "----", "++++")

STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 11, "axes.titleweight": "bold",
    "axes.edgecolor": QUIET, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "ytick.left": False,
    "axes.grid": True, "axes.grid.axis": "x", "grid.color": "#e3e3e3", "axes.axisbelow": True,
    "hatch.linewidth": 0.6, "legend.frameon": False, "legend.fontsize": 8.5, "figure.facecolor": "white",
    "axes.facecolor": "white", "savefig.facecolor": "white"}

F = TypeVar("F", bound=Callable[..., Any])


def _styled(draw: F) -> F:
    """Draw with our style, whatever the notebook's is."""
    @wraps(draw)
    def inside(*args: Any, **kwargs: Any) -> Any:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inside  # type: ignore[return-value]


@_styled
def chart_boot(exp: Experiment, ax: Axes | None = None) -> Axes:
    """Boot time of every arm: each boot as a point, the median as a line, its interval as a bar."""
    frame = measured_frame(exp)
    times = {arm: frame[frame["arm"] == arm] for arm in exp.arms}
    found = {arm: median_interval(own["seconds"].tolist()) for arm, own in times.items() if len(own)}
    ax = ax or _axes(len(exp.arms), exp)
    unit, scale = _time_unit([i.high for i in found.values()])
    for row, arm in enumerate(exp.arms):
        if arm not in found:
            _beside(ax, row, "no boot succeeded")
            continue
        own, middle = times[arm], found[arm]
        ax.barh(row, (middle.high - middle.low) * scale, 0.62, left=middle.low * scale, color="#b9cfe4", zorder=2)
        ax.plot([middle.value * scale] * 2, [row - 0.36, row + 0.36], color="#00204c", linewidth=2.2, zorder=4,
                solid_capstyle="butt")
        # Points in the order of their blocks from the top down: a drift of the host becomes visible.
        heights = [row + 0.24 * (2 * i / max(1, len(own) - 1) - 1) for i in range(len(own))]
        faces = ["white" if far else "#1a1a1abf" for far in own["outlier"]]
        ax.scatter(own["seconds"] * scale, heights, s=14, c=faces, edgecolors=INK, linewidths=0.9, zorder=3)
        _beside(ax, row, f"{format_seconds(middle.value)}\n({_span(middle.low, middle.high)})")
    _time_axis(ax, found, unit, exp)
    intervals = "95 % interval" if found and all(i.enough for i in found.values()) else "interval (range where n < 6)"
    handles = [_line("#00204c", "median"), Patch(color="#b9cfe4", label=intervals), _mark("o", INK, "one boot")]
    if bool(frame["outlier"].any()):
        handles.append(_mark("o", "white", "outlier, kept"))
    return _finish(ax, exp.arms, f"Boot time of {exp.plan.source}: from spawn to {ENDS[exp.until]}", exp, handles)


@_styled
def chart_stages(exp: Experiment, ax: Axes | None = None) -> Axes:
    """Where the time of a boot goes: the stages of one boot of each arm, at or next below its median."""
    frame, stages = measured_frame(exp), stages_frame(exp)
    ax = ax or _axes(len(exp.arms), exp, legend_rows=2)
    # A stage keeps its colour on every chart, also where other stages are missing.
    look = dict(zip(STAGE_NAMES, zip(_shades(len(STAGE_NAMES)), HATCHES, strict=False), strict=True))
    chosen = {arm: typical(frame, "seconds", arm) for arm in exp.arms}
    shown = stages[stages["order"] == stages["arm"].map(chosen)]
    totals = shown.groupby("arm")["seconds"].sum()
    unit, scale = _time_unit(totals.tolist())
    longest = float(totals.max()) * scale if len(totals) else 1.0
    for row, arm in enumerate(exp.arms):
        own = shown[shown["arm"] == arm]
        if own.empty:
            _beside(ax, row, "no boot succeeded")
            continue
        for stage, start, seconds in zip(own["stage"], own["start"], own["seconds"], strict=True):
            _block(ax, row, start * scale, seconds * scale, *look[stage], format_seconds(seconds), longest)
        _beside(ax, row, format_seconds(float(own["seconds"].sum())))
    ax.set_xlim(0, longest * 1.01)
    ax.set_xlabel(f"time since spawn ({unit})")
    handles = [Patch(facecolor=look[name][0], hatch=look[name][1], edgecolor="white", label=STAGE_NAMES[name])
               for name in STAGE_NAMES if (stages["stage"] == name).any()]
    return _finish(ax, exp.arms, f"Where the boot of {exp.plan.source} goes", exp, handles,
                   ["each bar is one boot, the one at or next below the arm's median; its stages sum to its total"],
                   columns=3)


@_styled
def chart_size(source: Experiment | Mapping[str, Image], ax: Axes | None = None) -> Axes:
    """Image sizes: unpacked by part, and shipped (compressed) below it."""
    frame = sizes_frame(source)
    images = list(dict.fromkeys(frame["image"]))
    exp = source if isinstance(source, Experiment) else None
    ax = ax or _axes(len(images), None, legend_rows=2, each=0.62)
    look = dict(zip(PART_GROUPS, zip(_shades(len(PART_GROUPS)), HATCHES, strict=True), strict=True))
    totals = frame.groupby(["image", "measure"])["bytes"].sum()
    largest = float(totals.max()) / 1e6
    labels = []
    for row, image in enumerate(images):
        own = frame[frame["image"] == image]
        left = 0.0
        unpacked = own[own["measure"] == "unpacked"]
        for group, count in zip(unpacked["part"], unpacked["bytes"], strict=True):
            width = count / 1e6
            _block(ax, row - 0.16, left, width, *look[group], _mb(width), largest, height=0.46)
            left += width
        shipped = int(totals[image, "shipped"])
        ax.barh(row + 0.25, shipped / 1e6, 0.2, color="#8c8c8c", edgecolor=INK, linewidth=0.6, zorder=3)
        _beside(ax, row - 0.16, f"{format_bytes(int(totals[image, 'unpacked']))} unpacked")
        _beside(ax, row + 0.25, f"{format_bytes(shipped)} shipped", QUIET)
        labels.append(f"{image}\n{_runners(own['arms'].iloc[0])}")
    ax.set_xlim(0, largest * 1.01)
    ax.set_xlabel("size (MB, decimal)")
    handles = [Patch(facecolor=look[group][0], hatch=look[group][1], edgecolor="white", label=group)
               for group in PART_GROUPS if (frame["part"] == group).any()]
    handles.append(Patch(facecolor="#8c8c8c", edgecolor=INK, label="shipped (compressed)"))
    what = exp.plan.source if exp else next(iter(source.values())).name  # type: ignore[union-attr]
    footer = ["one image for all boots of its arms; a size depends on neither host nor accelerator",
              *([f"{date_of(exp)}; experiment {exp.name}"] if exp else [])]
    return _finish(ax, labels, f"Image size of {what}: unpacked by part, and as shipped", None, handles, footer)


@_styled
def chart_memory(exp: Experiment, ax: Axes | None = None) -> Axes:
    """Memory after the boot: payload and overhead of one boot of each arm, at or next below its median."""
    frame, kinds = measured_frame(exp), memory_frame(exp)
    ax = ax or _axes(len(exp.arms), exp, legend_rows=2)
    colours = {"payload": "#5b6e91", "overhead": "#e8d27a"}
    values = {}
    for arm in exp.arms:
        order = typical(frame, "memory_bytes", arm)
        own = kinds[(kinds["arm"] == arm) & (kinds["order"] == order)]
        values[arm] = dict(zip(own["kind"], own["bytes"].astype(float), strict=True)) if order is not None else {}
    largest = max((v["payload"] + v["overhead"] for v in values.values() if v), default=1e6) / 1e6
    for row, arm in enumerate(exp.arms):
        if not (own_values := values[arm]):
            _beside(ax, row, "no boot succeeded")
            continue
        payload, overhead = own_values["payload"] / 1e6, own_values["overhead"] / 1e6
        _block(ax, row, 0, payload, colours["payload"], "", _mb(payload), largest)
        _block(ax, row, payload, overhead, colours["overhead"], "////", _mb(overhead), largest)
        if "beam" in own_values:
            # Below the bar and not across it: there it would hide the figure inside.
            ax.plot([own_values["beam"] / 1e6], [row + 0.39], marker="^", markersize=6.5, color=LOUD, linestyle="",
                    zorder=5)
        _beside(ax, row, format_bytes(own_values["payload"] + own_values["overhead"]))
    ax.set_xlim(0, largest * 1.01)
    ax.set_xlabel("resident memory (MB, decimal, shared pages counted by share)")
    handles: list[Any] = [
        Patch(facecolor=colours["payload"], label="payload (guest RAM touched, or processes)"),
        Patch(facecolor=colours["overhead"], hatch="////", edgecolor="white", label="overhead (VMM or runtime)"),
        _mark("^", LOUD, "the BEAM's own count")]
    return _finish(ax, exp.arms, f"Memory of {exp.plan.source} when it is up", exp, handles,
                   ["each bar is one boot, the one at or next below the arm's median total"], columns=2)


CHARTS: dict[str, tuple[Callable[[Experiment], Axes], Callable[[Experiment], str]]] = {
    "boot": (chart_boot, describe_boot), "stages": (chart_stages, describe_stages),
    "size": (chart_size, describe_size), "memory": (chart_memory, describe_memory)}
"""How each chart is drawn, and said in words."""


def _axes(rows: int, exp: Experiment | None, *, legend_rows: int = 1, each: float = 0.42) -> Axes:
    """Fresh axes, high enough for so many rows."""
    if rows == 0:
        raise BenchError("There is nothing to draw.", "The experiment has no arms.")
    loud = len(_wrapped(emulation_line(exp), LOUD_COLUMNS)) if exp is not None else 0
    height = 1.75 + 0.2 * (legend_rows + loud) + each * max(rows, 2)
    axes: Axes = Figure(figsize=(WIDTH, height), layout="constrained").add_subplot()
    return axes


def _finish(ax: Axes, labels: Sequence[str], title: str, exp: Experiment | None, handles: Sequence[Any],
            remarks: Sequence[str] = (), columns: int = 4) -> Axes:
    """Rows, title, legend and footer, the same on every chart; ``exp`` where the figures depend on its boots."""
    found = accelerators(exp.samples) if exp else {}
    names = [f"{label}\n(tcg: emulated)" if "tcg" in found.get(label, ()) else label for label in labels]
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.45, -0.55)
    loud = _wrapped(emulation_line(exp), LOUD_COLUMNS) if exp else []
    ax.set_title(title, loc="left", pad=8 + 12 * len(loud))
    if loud:
        ax.annotate("\n".join(loud), (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", color=LOUD,
                    weight="bold", size=8.5, va="bottom")
    footer = (*remarks, *(footer_lines(exp) if exp else []))
    lines = [part for line in footer for part in _wrapped(line, FOOTER_COLUMNS)]
    rows = math.ceil(len(handles) / columns)
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, 0), borderaxespad=0, ncols=columns,
              bbox_transform=_below(ax, 34), handlelength=1.8, columnspacing=1.4)
    ax.annotate("\n".join(lines), (0, 0), (0, -40 - 15 * rows), xycoords="axes fraction", textcoords="offset points",
                color=QUIET, size=7.5, va="top", linespacing=1.35)
    return ax


def _wrapped(text: str, columns: int) -> list[str]:
    """Text in lines that fit beside the widest row label; an arm's name is never torn."""
    return textwrap.wrap(text, columns, break_long_words=False, break_on_hyphens=False)


def _below(ax: Axes, points: float) -> Any:
    """Axes coordinates, moved down by so many points."""
    figure = ax.figure
    return ax.transAxes + ScaledTranslation(0, -points / 72, figure.dpi_scale_trans)


def _beside(ax: Axes, row: float, text: str, colour: str = INK) -> None:
    """A figure to the right of the plot, where no bar can be in its way."""
    ax.annotate(text, (1, row), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
                size=8.5, color=colour, linespacing=1.15)


def _block(ax: Axes, row: float, left: float, width: float, colour: Any, hatch: str, text: str, whole: float,
           height: float = 0.62) -> None:
    """One piece of a stacked bar; its figure stands inside where there is room for it."""
    ax.barh(row, width, height, left=left, color=colour, hatch=hatch, edgecolor="white", linewidth=0.6, zorder=3)
    # About 85 characters of this size fit across the plot.
    if width > whole * (len(text) + 1.2) / 85:
        ax.text(left + width / 2, row, text, ha="center", va="center", size=7.5, zorder=6, color=INK,
                bbox={"boxstyle": "round,pad=0.16", "facecolor": "white", "edgecolor": "none", "alpha": 0.88})


def _shades(count: int) -> list[tuple[float, float, float, float]]:
    """So many shades from dark to light."""
    cividis = matplotlib.colormaps["cividis"]
    return [cividis(0.08 + 0.87 * i / max(1, count - 1)) for i in range(count)]


def _time_unit(seconds: Sequence[float]) -> tuple[str, float]:
    """The unit in which these durations read best, and what a second is in it."""
    return ("ms", 1000.0) if max(seconds, default=1.0) < 1 else ("s", 1.0)


def _time_axis(ax: Axes, found: Mapping[str, Any], unit: str, exp: Experiment) -> None:
    """From zero, or logarithmic where the fast arms could not be told apart otherwise."""
    medians = [i.value for i in found.values()]
    if medians and max(medians) / min(medians) > LOG_ABOVE:
        ax.set_xscale("log")
        ax.margins(x=0.08)
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel(f"boot time ({unit}, logarithmic axis)")
    else:
        ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(MaxNLocator(8))
        ax.set_xlabel(f"boot time ({unit})")


def _span(low: float, high: float) -> str:
    """An interval in one unit: ``180-190 ms``, ``4.05-4.33 s``."""
    return f"{low * 1000:.0f}-{high * 1000:.0f} ms" if high < 1 else f"{low:.2f}-{high:.2f} s"


def _mb(megabytes: float) -> str:
    return f"{megabytes:.1f}" if megabytes < 99.5 else f"{megabytes:.0f}"


def _runners(arms: Sequence[str]) -> str:
    return "on " + ", ".join(dict.fromkeys(arm.partition("@")[2] for arm in arms))


def _line(colour: str, label: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linewidth=2.4, label=label)


def _mark(marker: str, face: str, label: str) -> Any:
    from matplotlib.lines import Line2D

    edge = INK if marker == "o" else face
    return Line2D([], [], linestyle="", marker=marker, markersize=4 if marker == "o" else 6.5, markerfacecolor=face,
                  markeredgecolor=edge, label=label)
