"""What a machine does under load: answers per second, and how long each takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator

from unibeam_nb.analysis.charts.style import (
    BAND,
    INK,
    MEDIAN,
    beside,
    finish_rows,
    line_key,
    mark_key,
    missing,
    plain_numbers,
    points,
    rows_height,
    spread,
    styled,
    two_panels,
)
from unibeam_nb.analysis.frames import measured_frame, require_kind
from unibeam_nb.analysis.intervals import median_interval
from unibeam_nb.analysis.measures import format_latency, format_rate
from unibeam_nb.analysis.rows import rows_of
from unibeam_nb.bench.journal import Experiment

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

PERCENTILES = (("latency_p50_s", "o", "median"), ("latency_p90_s", "D", "90 %"), ("latency_p99_s", "|", "99 %"))


@styled
def chart_steady(exp: Experiment, ax: Axes | None = None) -> Axes:
    """Requests per second of every row, and the latency that its clients saw: in a second panel, or in figures alone
    where one ``ax`` was given."""
    require_kind(exp, "steady")
    frame, rows = measured_frame(exp, "steady"), rows_of(exp, "steady")
    remarks, panel = [_load(frame)], None
    if ax is None:
        ax, panel = two_panels(rows_height(rows, exp, 0.5), exp, len(_keys()), remarks, 2, "steady")
    for place, row in enumerate(rows):
        own = frame[frame["row"] == row]
        if own.empty:
            missing(ax, place, "no answer")
            continue
        rates = own["requests_per_s"].tolist()
        middle = median_interval(rates)
        spread(ax, place, middle.low, middle.value, middle.high)
        points(ax, place, rates, [False] * len(rates))
        late = [format_latency(float(own[key].median())) for key, _, _ in PERCENTILES]
        beside(ax, place, format_rate(middle.value) + ("" if panel else f"\n{late[0]} / {late[-1]}"))
        if panel:
            _latency(panel, place, own)
    ax.set_xlim(0, ax.get_xlim()[1] * 1.02)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    plain_numbers(ax.xaxis)
    ax.set_xlabel("requests per second (1/s)")
    done = finish_rows(ax, rows, f"{exp.plan.source} under load: requests per second, and their latency", exp, _keys(),
                       remarks, columns=2, kind="steady", across=panel is not None)
    if panel:
        _dress(panel, ax)
    return done


def _dress(panel: Axes, ax: Axes) -> None:
    """The axes of the latencies, whose rows are those of the first."""
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=7))
    plain_numbers(panel.xaxis)
    panel.margins(x=0.2)
    panel.set_xlabel("latency (ms, logarithmic)")
    panel.set_yticks([])
    panel.set_ylim(ax.get_ylim())


def _keys() -> list[Any]:
    return [line_key(MEDIAN, "median"), Patch(color=BAND, label="95 % interval (range where n < 6)"),
            mark_key("o", INK, "one load; latency: median"), mark_key("D", "white", "latency: 90 %"),
            mark_key("|", INK, "latency: 99 %")]


def _latency(ax: Axes, place: int, own: pd.DataFrame) -> None:
    """The medians of the percentiles on one line, with the last in figures above it."""
    found = [median_interval(own[key].tolist()).value for key, _, _ in PERCENTILES]
    ax.plot([1000 * value for value in found], [place] * len(found), color=INK, linewidth=1.2, zorder=2)
    for value, (_, marker, _) in zip(found, PERCENTILES, strict=True):
        ax.plot([1000 * value], [place], marker=marker, markersize=10 if marker == "|" else 5, color=INK,
                markerfacecolor="white" if marker == "D" else INK, markeredgewidth=1.2, linestyle="", zorder=3)
    ax.annotate(f"{format_latency(found[0])} / {format_latency(found[-1])}", (1000 * found[1], place), (0, 7),
                textcoords="offset points", ha="center", va="bottom", size=7.5)


def _load(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "no load was answered"
    connections, seconds = int(frame["connections_count"].iloc[0]), float(frame["load_s"].median())
    errors = int(frame["errors_count"].sum())
    wrong = f"; {errors} answers were errors" if errors else "; every answer was good"
    return (f"{connections} connections that each ask again at once, for {seconds:.0f} s a load, from "
            f"{_cores(frame)} on the same host{wrong}; latency in figures: median / 99 %")


def _cores(frame: pd.DataFrame) -> str:
    """Whence the load came, as far as the journal tells."""
    if "load_cores_count" not in frame or frame["load_cores_count"].isna().all():
        return "some core"
    return "a core of its own" if (frame["load_cores_count"] > 0).all() else "the machine's own cores"
