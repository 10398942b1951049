"""The inside of an image as a map of areas, or what differs between two as bars to either side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.patches import Patch, Rectangle

from unibeam_nb.analysis.charts.size import ASPECT, area_label, part_keys, squarify
from unibeam_nb.analysis.charts.style import INK, QUIET, axes, beside, finish, finish_rows, looks, row_axes, styled
from unibeam_nb.analysis.frames import PART_GROUPS, group_of
from unibeam_nb.analysis.inside import APPLICATIONS, GONE, NEW, SAME, Exploration, Found, Node, signed
from unibeam_nb.analysis.words import listed
from unibeam_nb.units import format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EACH = (APPLICATIONS, "libraries")
"""Parts of which each child is told of apart."""

CROWD = 60
"""No more is opened where there are so many already."""

MOST = 0.4
"""What is more than this of the whole hides the rest."""

LARGEST = 14
"""So many differences have a row of their own."""


@styled
def chart_inside(what: Exploration, ax: Axes | None = None) -> Axes:
    """Areas in proportion to bytes, each with what is in it; of a difference what came and went, as bars."""
    return _differences(what, ax) if what.against else _map(what, ax)


def _map(what: Exploration, ax: Axes | None) -> Axes:
    ax = ax or axes(5.2, None)
    look = looks(PART_GROUPS)
    named = _named(what.root)
    places = squarify([node.bytes for _, node in named], ASPECT, 1.0)
    for (group, node), (x, y, width, height) in zip(named, places, strict=True):
        colour, hatch = look[group]
        ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, hatch=hatch, edgecolor="white", linewidth=1.6))
        _inner(ax, node, (x, y, width, height))
        area_label(ax, node.name.rstrip("/"), node.bytes, (x, y, width, height))
    ax.set_xlim(0, ASPECT)
    ax.set_ylim(1, 0)
    ax.set_axis_off()
    used = [group for group in PART_GROUPS if any(each == group for each, _ in named)]
    return finish(ax, f"{what.title}: {format_bytes(what.root.bytes)} unpacked", None, part_keys(look, used),
                  ["areas are proportional to bytes; the fine lines are modules and files"])


def _named(root: Node) -> list[tuple[str, Node]]:
    """What the map gives an area and perhaps a name, with its group: of applications and libraries each one, of
    other parts the whole, unless it is most of the image."""
    found = []
    for part in root.children:
        nodes = [((), part)] if part.name not in EACH else [((part.name,), node) for node in part.children]
        found += [Found((*above, node.name), node) for above, node in nodes if node.bytes]
    return [(group_of(hit.trail[0]), hit.node) for hit in opened(found)]


def _inner(ax: Axes, node: Node, place: tuple[float, float, float, float]) -> None:
    """What is in a node, as fine lines."""
    children = sorted((child for child in node.children if child.bytes), key=lambda child: -child.bytes)
    x, y, width, height = place
    if not children or width * height < 2e-4:
        return
    for child, (left, top, wide, high) in zip(children, squarify([c.bytes for c in children], width, height),
                                              strict=True):
        inside = (x + left, y + top, wide, high)
        ax.add_patch(Rectangle(inside[:2], wide, high, fill=False, edgecolor="white", linewidth=0.35))
        _inner(ax, child, inside)


def _differences(what: Exploration, ax: Axes | None) -> Axes:
    found = changes(what.root)
    shown, rest = found[:LARGEST], found[LARGEST:]
    if not shown:
        return _nothing(what, ax)
    labels = [(Found(hit.trail[1:], hit.node).path or hit.path).replace(" ", "\N{NO-BREAK SPACE}") for hit in shown]
    ax = ax or row_axes(labels, None, each=0.3)
    for row, hit in enumerate(shown):
        more = hit.node.delta >= 0
        ax.barh(row, hit.node.delta / 1e6, 0.6, color="#33508a" if more else "#d9bd63", hatch="" if more else "////",
                edgecolor="white", linewidth=0.6, zorder=3)
        beside(ax, row, f"{signed(hit.node.delta)} ({hit.node.state})")
    ax.axvline(0, color=QUIET, linewidth=0.8, zorder=4)
    ax.set_xlabel("bytes unpacked, gained or lost (MB, decimal)")
    handles = [Patch(facecolor="#33508a", edgecolor=INK, label="more"),
               Patch(facecolor="#d9bd63", hatch="////", edgecolor=INK, label="less")]
    remarks = [f"{len(rest)} smaller differences make {signed(sum(hit.node.delta for hit in rest))}"] if rest else []
    return finish_rows(ax, labels, f"{what.title}, against {what.against}", None, handles,
                       [f"{signed(what.root.delta)} in all", *remarks])


def _nothing(what: Exploration, ax: Axes | None) -> Axes:
    ax = ax or axes(1.6, None)
    ax.set_axis_off()
    return finish(ax, f"{what.title}, against {what.against}", None, [], ["Nothing differs."])


def changes(root: Node) -> Sequence[Found]:
    """What differs, part by part; where applications or libraries were and are, each of them, from the largest change
    down."""
    found = []
    for part in root.children:
        whole = part.state in (NEW, GONE) or part.name not in EACH
        found += [Found((part.name,), part)] if whole else [Found((part.name, n.name), n) for n in part.children]
    return opened([hit for hit in found if hit.node.state != SAME])


def opened(found: Sequence[Found]) -> list[Found]:
    """The same from the largest down; a part or a directory that is most of it all gives way to what is in it."""
    hits = sorted(found, key=lambda hit: (-hit.node.weight, hit.path))
    while hits and len(hits) < CROWD:
        top = hits[0]
        inside = [Found((*top.trail, n.name), n) for n in top.node.children if n.state != SAME and n.weight]
        most = top.node.weight > MOST * sum(hit.node.weight for hit in hits)
        if not most or not inside or top.node.kind not in ("part", "directory"):
            break
        hits = sorted((*hits[1:], *inside), key=lambda hit: (-hit.node.weight, hit.path))
    return hits


def describe_inside(what: Exploration) -> str:
    """The same in words."""
    if what.against:
        told = [f"{hit.path} {signed(hit.node.delta)} ({hit.node.state})" for hit in changes(what.root)[:LARGEST]]
        return (f"{what.title} against {what.against}: {signed(what.root.delta)} in all; "
                f"{listed(told) if told else 'nothing differs'}.")
    told = [f"{node.name.rstrip('/')} {format_bytes(node.bytes)}" for _, node in _named(what.root)[:LARGEST]]
    return f"{what.title}: {format_bytes(what.root.bytes)} unpacked, the largest of it {listed(told)}."
