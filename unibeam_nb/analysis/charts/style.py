"""What all charts have in common: size, type, greys, rows, title, legend, footer.

Colours come from cividis, which keeps its order for every kind of colour vision and in greyscale; hatches, markers
and dashes say it again. Every figure is a plain matplotlib ``Figure`` that knows nothing of pyplot.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import matplotlib
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation

from unibeam_nb.analysis.chart import NO_FORMULAS
from unibeam_nb.analysis.frames import accelerators
from unibeam_nb.analysis.rows import arm_of
from unibeam_nb.analysis.words import clipped, emulation_line, footer_lines
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.errors import BenchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 8.0
"""Inches: what fits beside a notebook's prompt."""

LOG_ABOVE = 40.0
"""Ratio of the largest to the smallest median above which an axis is logarithmic."""

FOOTER_COLUMNS, LOUD_COLUMNS, LABEL_COLUMNS = 92, 76, 27
"""Characters that fit below and above the plot, and beside a row."""

MOST_COLUMNS, MOST_LINES, TITLE_COLUMNS = 60, 6, 100
"""Characters of a word, lines of a text, and characters in a title beyond which a text is cut off."""

ALONE_COLUMNS, BESIDE_COLUMNS = 84, 46
"""Characters of what stands alone in a row of a legend, and of what shares one, beyond which it is cut off."""

INK, QUIET, LOUD = "#1a1a1a", "#5a5a5a", "#a1320b"
MEDIAN, BAND = "#00204c", "#b9cfe4"
HATCHES = ("", "////", "||||", "\\\\\\\\", "xxxx", "----", "++++")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.4, 1.2, 1.4)))

STYLE: Any = NO_FORMULAS | {
    "font.family": "DejaVu Sans", "font.size": 9, "axes.titlesize": 11, "axes.titleweight": "bold",
    "axes.edgecolor": QUIET, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "ytick.left": False,
    "axes.grid": True, "axes.grid.axis": "x", "grid.color": "#e3e3e3", "axes.axisbelow": True,
    "hatch.linewidth": 0.6, "legend.frameon": False, "legend.fontsize": 8.5, "figure.facecolor": "white",
    "axes.facecolor": "white", "savefig.facecolor": "white"}

F = TypeVar("F", bound=Callable[..., Any])


def styled(draw: F) -> F:
    """Draw with our style, whatever the notebook's is."""
    @wraps(draw)
    def inside(*args: Any, **kwargs: Any) -> Any:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return inside  # type: ignore[return-value]


def row_axes(rows: Sequence[str], exp: Experiment | None, *, legend_rows: int = 1, each: float = 0.42) -> Axes:
    """Fresh axes, high enough for these rows."""
    return axes(1.75 + 0.2 * legend_rows + rows_height(rows, exp, each), exp)


def rows_height(rows: Sequence[str], exp: Experiment | None, each: float) -> float:
    """Inches that these rows need, ``each`` at least: every row gets what the longest label needs."""
    if not rows:
        raise BenchError("There is nothing to draw.", "The experiment has no arms.")
    lines = max(label.count("\n") + 1 for label in _labels(rows, exp))
    return max(each, 0.16 * lines) * max(len(rows), 2)


def axes(height: float, exp: Experiment | None) -> Axes:
    """Fresh axes of the usual width; what must be said loudly about ``exp`` gets its own room."""
    loud = len(wrapped(emulation_line(exp), LOUD_COLUMNS)) if exp is not None else 0
    made: Axes = Figure(figsize=(WIDTH, height + 0.2 * loud), layout="constrained").add_subplot()
    return made


def two_panels(height: float, exp: Experiment, handles: int, remarks: Sequence[str], columns: int,
               kind: str) -> tuple[Axes, Axes]:
    """Two axes side by side, ``height`` inches high. What :func:`finish` writes above and below the first runs across
    both: the layout must not ask how wide it is, and the room below is kept by hand."""
    loud = len(wrapped(emulation_line(exp), LOUD_COLUMNS))
    lines = sum(len(wrapped(line, FOOTER_COLUMNS)) for line in (*remarks, *footer_lines(exp, kind)))
    below = (16 + 15 * math.ceil(handles / columns) + 10.6 * lines) / 72
    whole = below + height + (54 + 12 * loud) / 72
    figure = Figure(figsize=(WIDTH, whole),
                    layout=ConstrainedLayoutEngine(rect=(0, below / whole, 1, 1 - below / whole)))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2), gridspec_kw={"wspace": 0.14})
    return left, right


def finish_rows(ax: Axes, labels: Sequence[str], title: str, exp: Experiment | None, handles: Sequence[Any],
                remarks: Sequence[str] = (), columns: int = 4, kind: str = "boot",
                across: bool = False, footer: bool = True) -> Axes:
    """Rows, title, legend and footer, the same on every chart; ``exp`` where the figures depend on its boots."""
    ax.set_yticks(range(len(labels)), _labels(labels, exp))
    ax.set_ylim(len(labels) - 0.45, -0.55)
    return finish(ax, title, exp, handles, remarks, columns, kind, across, footer)


def finish(ax: Axes, title: str, exp: Experiment | None, handles: Sequence[Any], remarks: Sequence[str] = (),
           columns: int = 4, kind: str = "boot", across: bool = False, footer: bool = True) -> Axes:
    """Title, loud line, legend and footer, which counts the samples of this kind; ``across`` more than these axes.
    Without ``footer`` the remarks are all that stands below."""
    loud = wrapped(emulation_line(exp), LOUD_COLUMNS) if exp else []
    wide: list[Any] = [ax.set_title(clipped(title, TITLE_COLUMNS), loc="left", pad=8 + 12 * len(loud))]
    if loud:
        wide.append(ax.annotate("\n".join(loud), (0, 1), (0, 6), xycoords="axes fraction",
                                textcoords="offset points", color=LOUD, weight="bold", size=8.5, va="bottom"))
    below = (*remarks, *(footer_lines(exp, kind) if exp and footer else []))
    lines = [part for line in below for part in wrapped(line, FOOTER_COLUMNS)]
    rows = math.ceil(len(handles) / columns)
    for handle in handles:
        handle.set_label(clipped(str(handle.get_label()), ALONE_COLUMNS if columns == 1 else BESIDE_COLUMNS))
    if handles:
        wide.append(ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, 0), borderaxespad=0, ncols=columns,
                              bbox_transform=_below(ax, 34), handlelength=2.4, columnspacing=1.4))
    wide.append(ax.annotate("\n".join(lines), (0, 0), (0, -40 - 15 * rows), xycoords="axes fraction",
                            textcoords="offset points", color=QUIET, size=7.5, va="top", linespacing=1.35))
    for artist in wide if across else ():
        artist.set_in_layout(False)
    return ax


def _labels(rows: Sequence[str], exp: Experiment | None) -> list[str]:
    """The rows' names; of arms that were emulated they say so."""
    found = accelerators(exp.samples) if exp else {}
    return [row_label(row, "(tcg: emulated)" if "tcg" in found.get(arm_of(row), ()) else "") for row in rows]


def row_label(row: str, remark: str = "") -> str:
    """A row's name in lines that leave room for the plot: torn before ``+`` or ``@``, the rest below."""
    arm, _, factors = row.partition(" ") if "\n" not in row else (row, "", "")
    lines = [""]
    for piece in arm.replace("+", "\0+").replace("@", "\0@").split("\0"):
        if len(lines[-1]) + len(piece) > LABEL_COLUMNS and lines[-1]:
            lines.append("  ")
        lines[-1] += piece
    lines += wrapped(factors, LABEL_COLUMNS)
    if remark and len(lines) > 1 and len(lines[-1]) + len(remark) < LABEL_COLUMNS:
        lines[-1] += f" {remark}"
    elif remark:
        lines.append(remark)
    return "\n".join(lines)


def wrapped(text: str, columns: int) -> list[str]:
    """Text in lines that fit beside the widest row label; an arm's name is never torn.

    A journal may come from anybody: no word of it, and no number of them, pushes the plot out of the figure.
    """
    lines = textwrap.wrap(text, columns, break_long_words=False, break_on_hyphens=False)
    return [clipped(line, max(columns, MOST_COLUMNS)) for line in lines[:MOST_LINES]]


def _below(ax: Axes, points: float) -> Any:
    """Axes coordinates, moved down by so many points."""
    figure = ax.figure
    return ax.transAxes + ScaledTranslation(0, -points / 72, figure.dpi_scale_trans)


def beside(ax: Axes, row: float, text: str, colour: str = INK) -> None:
    """A figure to the right of the plot, where no bar can be in its way."""
    ax.annotate(text, (1, row), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
                size=8.5, color=colour, linespacing=1.15)


def missing(ax: Axes, row: float, text: str = "no boot succeeded") -> None:
    """Why a row is empty, on the row."""
    beside(ax, row, text, QUIET)


def block(ax: Axes, row: float, left: float, width: float, colour: Any, hatch: str, text: str, whole: float,
          height: float = 0.62) -> None:
    """One piece of a stacked bar; its figure stands inside where there is room for it."""
    ax.barh(row, width, height, left=left, color=colour, hatch=hatch, edgecolor="white", linewidth=0.6, zorder=3)
    # About 85 characters of this size fit across the plot.
    if width > whole * (len(text) + 1.2) / 85:
        ax.text(left + width / 2, row, text, ha="center", va="center", size=7.5, zorder=6, color=INK,
                bbox={"boxstyle": "round,pad=0.16", "facecolor": "white", "edgecolor": "none", "alpha": 0.88})


def spread(ax: Axes, row: float, low: float, middle: float, high: float, height: float = 0.62) -> None:
    """A median as a line in the bar of its interval."""
    ax.barh(row, high - low, height, left=low, color=BAND, zorder=2)
    ax.plot([middle] * 2, [row - 0.58 * height, row + 0.58 * height], color=MEDIAN, linewidth=2.2, zorder=4,
            solid_capstyle="butt")


def points(ax: Axes, row: float, values: Sequence[float], hollow: Sequence[bool], height: float = 0.48) -> None:
    """Samples in the order in which they were taken, from the top of the row down: a drift becomes visible."""
    turns = [row + height * (i / (len(values) - 1) - 0.5) for i in range(len(values))] if len(values) > 1 else [row]
    ax.scatter(list(values), turns, s=14, c=["white" if is_far else "#1a1a1abf" for is_far in hollow], edgecolors=INK,
               linewidths=0.9, zorder=3)


def shades(count: int) -> list[tuple[float, float, float, float]]:
    """So many shades from dark to light."""
    cividis = matplotlib.colormaps["cividis"]
    return [cividis(0.08 + 0.87 * i / max(1, count - 1)) for i in range(count)]


def line_look(index: int) -> dict[str, Any]:
    """How the index-th of many lines looks: dashes change with every line, the shade with every four."""
    return {"color": matplotlib.colormaps["cividis"]((0.0, 0.38, 0.66)[index // len(DASHES) % 3]),
            "linestyle": DASHES[index % len(DASHES)], "linewidth": 1.7}


def time_unit(seconds: Sequence[float]) -> tuple[str, float]:
    """The unit in which these durations read best, and what a second is in it."""
    return ("ms", 1000.0) if max(seconds, default=1.0) < 1 else ("s", 1.0)


def value_axis(ax: Axes, medians: Sequence[float], label: str, unit: str) -> None:
    """From zero, or logarithmic where the small ones could not be told apart otherwise."""
    if medians and min(medians) > 0 and max(medians) / min(medians) > LOG_ABOVE:
        ax.set_xscale("log")
        ax.margins(x=0.08)
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        plain_numbers(ax.xaxis)
        ax.set_xlabel(f"{label} ({unit}, logarithmic axis)")
    else:
        ax.set_xlim(0, ax.get_xlim()[1] * 1.02)
        ax.xaxis.set_major_locator(MaxNLocator(8))
        ax.set_xlabel(f"{label} ({unit})")


def plain_numbers(axis: Any) -> None:
    """Ticks as people write numbers, on a logarithmic axis too."""
    axis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def span(low: float, high: float) -> str:
    """An interval in one unit: ``180-190 ms``, ``4.05-4.33 s``."""
    return f"{low * 1000:.0f}-{high * 1000:.0f} ms" if high < 1 else f"{low:.2f}-{high:.2f} s"


def megabytes(count: float) -> str:
    return f"{count:.1f}" if count < 99.5 else f"{count:.0f}"


def looks(names: Sequence[str]) -> Mapping[str, tuple[Any, str]]:
    """A shade and a hatch for each of these; a part keeps its look on every chart, also where others are missing."""
    return dict(zip(names, zip(shades(len(names)), HATCHES, strict=False), strict=True))


def legend_columns(labels: Sequence[str]) -> int:
    """Two beside each other where they fit."""
    return 2 if max(map(len, labels), default=0) <= BESIDE_COLUMNS else 1


def line_key(colour: str, label: str) -> Any:
    return Line2D([], [], color=colour, linewidth=2.4, label=label)


def mark_key(marker: str, face: str, label: str) -> Any:
    edge = INK if marker in "oD" else face
    return Line2D([], [], linestyle="", marker=marker, markersize=4 if marker in "oD" else 6.5, markerfacecolor=face,
                  markeredgecolor=edge, label=label)
