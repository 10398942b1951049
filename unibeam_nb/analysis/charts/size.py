"""Sizes of images: all of them by part, and one of them as a map of its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.patches import Patch, Rectangle

from unibeam_nb.analysis.charts.style import (
    INK,
    QUIET,
    axes,
    beside,
    block,
    finish,
    finish_rows,
    looks,
    megabytes,
    row_axes,
    styled,
)
from unibeam_nb.analysis.frames import PART_GROUPS, image_parts, sizes_frame
from unibeam_nb.analysis.words import origin_line
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.model import Image
from unibeam_nb.units import format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ASPECT = 1.9
"""Width over height of a treemap."""


@styled
def chart_size(source: Experiment | Mapping[str, Image], ax: Axes | None = None) -> Axes:
    """Image sizes: unpacked by part, and shipped (compressed) below it."""
    frame = sizes_frame(source)
    images = list(dict.fromkeys(frame["image"]))
    labels = [f"{image}\n{_runners(frame[frame['image'] == image]['arms'].iloc[0])}" for image in images]
    ax = ax or row_axes(labels, None, legend_rows=2, each=0.62)
    look = looks(PART_GROUPS)
    totals = frame.groupby(["image", "measure"])["bytes"].sum()
    largest = float(totals.max()) / 1e6
    for row, image in enumerate(images):
        own = frame[frame["image"] == image]
        left = 0.0
        unpacked = own[own["measure"] == "unpacked"]
        for group, count in zip(unpacked["part"], unpacked["bytes"], strict=True):
            width = count / 1e6
            block(ax, row - 0.16, left, width, *look[group], megabytes(width), largest, height=0.46)
            left += width
        shipped = int(totals[image, "shipped"])
        ax.barh(row + 0.25, shipped / 1e6, 0.2, color="#8c8c8c", edgecolor=INK, linewidth=0.6, zorder=3)
        beside(ax, row - 0.16, f"{format_bytes(int(totals[image, 'unpacked']))} unpacked")
        beside(ax, row + 0.25, f"{format_bytes(shipped)} shipped", QUIET)
    ax.set_xlim(0, largest * 1.01)
    ax.set_xlabel("size (MB, decimal)")
    handles = part_keys(look, [group for group in PART_GROUPS if (frame["part"] == group).any()])
    handles.append(Patch(facecolor="#8c8c8c", edgecolor=INK, label="shipped (compressed)"))
    return finish_rows(ax, labels, f"Image size of {_subject(source)}: unpacked by part, and as shipped", None, handles,
                       _size_footer(source), columns=3)


@styled
def chart_treemap(source: Experiment | Mapping[str, Image], ax: Axes | None = None, *, arm: str | None = None) -> Axes:
    """The parts of one image as areas, squarified; the image of ``arm``, the first one unless named."""
    label, shipped, parts = image_parts(source, arm)
    total = sum(count for _, _, count in parts)
    ax = ax or axes(5.2, None)
    look = looks(PART_GROUPS)
    places = squarify([count for _, _, count in parts], ASPECT, 1.0)
    for (name, group, count), (x, y, width, height) in zip(parts, places, strict=True):
        colour, hatch = look[group]
        ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, hatch=hatch, edgecolor="white", linewidth=1.2))
        area_label(ax, name, count, (x, y, width, height))
    ax.set_xlim(0, ASPECT)
    ax.set_ylim(1, 0)
    ax.set_axis_off()
    used = [group for group in PART_GROUPS if any(part[1] == group for part in parts)]
    small = [f"{name} {format_bytes(count)}" for name, _, count in parts if count < total / 200]
    remark = f"too small to be named: {', '.join(small)}" if small else "areas are proportional to bytes"
    return finish(ax, f"{label} of {_subject(source)}: {format_bytes(total)} unpacked, {format_bytes(shipped)} shipped",
                  None, part_keys(look, used), [remark, *_size_footer(source)])


def area_label(ax: Axes, name: str, count: int, place: tuple[float, float, float, float]) -> None:
    """Name and bytes in the middle of an area, where they fit into it."""
    x, y, width, height = place
    text = f"{name}\n{format_bytes(count)}"
    # In the 7 inches of the map some 105 characters of this size stand side by side, and 26 lines in a column.
    if width / ASPECT * 105 > max(map(len, text.split("\n"))) + 1 and height * 26 > 2.6:
        ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", size=8, color=INK, bbox={
            "boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.88})


def squarify(sizes: Sequence[float], width: float, height: float) -> list[tuple[float, float, float, float]]:
    """``(x, y, width, height)`` for every size, which must fall: areas in proportion, as square as they can be
    (Bruls, Huizing and van Wijk, "Squarified treemaps", 2000)."""
    scale = width * height / sum(sizes)
    areas = [size * scale for size in sizes]
    placed: list[tuple[float, float, float, float]] = []
    x = y = 0.0
    start = 0
    while start < len(areas):
        side = min(width, height)
        end = start + 1
        while end < len(areas) and _worst(areas[start:end + 1], side) <= _worst(areas[start:end], side):
            end += 1
        strip = sum(areas[start:end]) / side
        along = 0.0
        for area in areas[start:end]:
            length = area / strip
            placed.append((x, y + along, strip, length) if width >= height else (x + along, y, length, strip))
            along += length
        x, width, y, height = (x + strip, width - strip, y, height) if width >= height else \
            (x, width, y + strip, height - strip)
        start = end
    return placed


def _worst(areas: Sequence[float], side: float) -> float:
    """The most stretched rectangle of a strip of these areas along ``side``."""
    whole = sum(areas)
    return max(side * side * max(areas) / whole ** 2, whole ** 2 / (side * side * min(areas)))


def part_keys(look: Mapping[str, tuple[Any, str]], groups: Sequence[str]) -> list[Any]:
    return [Patch(facecolor=look[group][0], hatch=look[group][1], edgecolor="white", label=group) for group in groups]


def _subject(source: Experiment | Mapping[str, Image]) -> str:
    return source.plan.source if isinstance(source, Experiment) else next(iter(source.values())).name


def _size_footer(source: Experiment | Mapping[str, Image]) -> list[str]:
    return ["one image for all boots of its arms; a size depends on neither host nor accelerator",
            *([origin_line(source)] if isinstance(source, Experiment) else [])]


def _runners(arms: Sequence[str]) -> str:
    return "on " + ", ".join(dict.fromkeys(arm.partition("@")[2] for arm in arms))
