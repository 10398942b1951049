"""A sheet: how a result looks, as data, with one renderer to text and one to HTML.

Every noun becomes a :class:`Sheet` (see :mod:`unibeam_nb.notebook.display`); the shell prints its text, a
notebook shows its HTML. All that a user or a guest wrote passes through :func:`as_html`, the one place where
HTML is made, and is escaped there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from unibeam_nb.visible import visible


@dataclass(frozen=True)
class Table:
    """Rows under column headings; ``numeric`` are the indices of columns that are set flush right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Bar:
    """One bar: from ``start`` to ``end`` in any unit that its fellows share; ``text`` says it in words."""

    label: str
    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Bars:
    """Bars over one common axis that starts at 0."""

    caption: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Branch:
    """A row of an :class:`Outline`: its bar, its words in columns, and what is in it."""

    label: str
    start: float
    end: float
    cells: tuple[str, ...]
    children: tuple[Branch, ...] = ()


@dataclass(frozen=True)
class Outline:
    """Rows within rows under column headings, bars over one axis from 0: folded in a notebook, and indented in a text,
    which shows ``depth`` levels of them."""

    caption: str
    columns: tuple[str, ...]
    branches: tuple[Branch, ...]
    depth: int = 100


@dataclass(frozen=True)
class Folded:
    """Longer text, such as a console, that a notebook shows on demand and a shell shows as it is."""

    title: str
    text: str


@dataclass(frozen=True)
class Shown:
    """Text that is shown as it is, in a fixed-width font, under a caption or none."""

    text: str
    caption: str = ""


@dataclass(frozen=True)
class Sheet:
    """A heading, facts in a line each, blocks below, and links to open: of the web, or with ``./`` to a file
    beside the notebook, which a shell does not need."""

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    blocks: tuple[Table | Bars | Outline | Folded | Shown, ...] = ()
    links: tuple[str, ...] = ()


def as_text(sheet: Sheet) -> str:
    """The sheet for a terminal and for ``text/plain``."""
    lines = [printable(sheet.title)] if sheet.title else []
    facts = [(printable(key), printable(value)) for key, value in sheet.facts]
    width = max((len(key) for key, _ in facts), default=0)
    lines += [f"  {key:<{width}}  {value}" for key, value in facts]
    lines += [f"  {printable(link)}" for link in sheet.links if not link.startswith("./")]
    for block in sheet.blocks:
        if lines:
            lines.append("")
        if isinstance(block, Table):
            lines += _table_text(block)
        elif isinstance(block, Bars):
            lines += _table_text(Table(("", ""), tuple((bar.label, bar.text) for bar in block.bars), block.caption))
        elif isinstance(block, Outline):
            rows = tuple(_indented(block.branches, block.depth))
            lines += _table_text(Table(("", *block.columns), rows, block.caption,
                                       frozenset(range(1, len(block.columns) + 1))))
        elif isinstance(block, Shown):
            lines += [*([f"{printable(block.caption)}:"] if block.caption else []),
                      *clean_block(block.text).splitlines()]
        else:
            lines += [f"{printable(block.title)}:", *(f"  | {printable(line)}" for line in block.text.splitlines())]
    return "\n".join(lines)


def printable(text: str) -> str:
    """``text`` on one line without control characters, which could otherwise steer the user's terminal."""
    return text if text.isprintable() else visible(re.sub(r"[\t\r\n]", " ", text))


def clean_block(text: str) -> str:
    """Several lines with everything but tabs and line ends made printable."""
    return visible("\n".join(text.splitlines()))


def escaped(text: str) -> str:
    """``text`` for HTML, as an element's content or an attribute's value in double quotes."""
    return escape(visible(text), quote=True)


def _table_text(table: Table) -> list[str]:
    cells = [[printable(cell) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    lines = []
    for row in cells:
        padded = [cell.rjust(width) if i in table.numeric else cell.ljust(width)
                  for i, (cell, width) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(padded).rstrip())
    if not any(table.columns):
        lines = lines[1:]
    return ([printable(table.caption)] if table.caption else []) + lines


def _indented(branches: tuple[Branch, ...], levels: int, depth: int = 0) -> Iterator[tuple[str, ...]]:
    for branch in branches if depth < levels else ():
        yield "  " * depth + branch.label, *branch.cells
        yield from _indented(branch.children, levels, depth + 1)


# JupyterLab and the classic notebook set these variables for the light and the dark theme; elsewhere (an
# exported page, another front end) the fall-backs follow the page's own text colour.
_LINE = "var(--jp-border-color2, color-mix(in srgb, currentColor 25%, transparent))"
_SOFT = "var(--jp-layout-color2, color-mix(in srgb, currentColor 12%, transparent))"

_TRACK = 240
"""The width of a bar's track in pixels."""

# The styles stand on the elements themselves, because a notebook's sanitiser drops style sheets.
_SHEET = "color:inherit;font-size:var(--jp-ui-font-size1, inherit);line-height:1.45;max-width:70em"
_TITLE = "font-weight:600;margin-bottom:2px"
_TABLE = "border-collapse:collapse;border:0;color:inherit;margin:4px 0"
_CAPTION = "text-align:left;caption-side:top;color:inherit;font-weight:600;padding:2px 0"
_ROW = "background:none"
_KEY = "text-align:left;font-weight:normal;opacity:.75;padding:1px 12px 1px 0;vertical-align:top"
_VALUE = "text-align:left;padding:1px 12px 1px 0"
_RIGHT = "text-align:right;padding:1px 12px 1px 0;white-space:nowrap"
_CELL = f"padding:2px 14px 2px 0;border-bottom:1px solid {_LINE};vertical-align:top;white-space:pre-wrap"
_CONSOLE = (f"color:inherit;background:{_SOFT};padding:6px 8px;margin:4px 0;max-height:24em;overflow:auto;"
            "white-space:pre-wrap")


def as_html(sheet: Sheet) -> str:
    """The sheet for a notebook: one ``div``, no script, no style sheet, readable in light and dark."""
    parts = [f'<div class="unibeam" style="{_SHEET}">']
    if sheet.title:
        alone = not (sheet.facts or sheet.blocks)
        parts.append(f'<div style="{"" if alone else _TITLE}">{escaped(sheet.title)}</div>')
    if sheet.facts:
        rows = "".join(f'<tr style="{_ROW}"><th scope="row" style="{_KEY}">{escaped(key)}</th>'
                       f'<td style="{_VALUE}">{escaped(value)}</td></tr>' for key, value in sheet.facts)
        parts.append(f'<table style="{_TABLE}"><tbody>{rows}</tbody></table>')
    parts += [_link_html(link) for link in sheet.links]
    for block in sheet.blocks:
        if isinstance(block, Table):
            parts.append(_table_html(block))
        elif isinstance(block, Bars):
            parts.append(_bars_html(block))
        elif isinstance(block, Outline):
            parts.append(_outline_html(block))
        elif isinstance(block, Shown):
            caption = f'<div style="{_CAPTION}">{escaped(block.caption)}</div>' if block.caption else ""
            parts.append(f'{caption}<pre style="{_CONSOLE}">{escaped(clean_block(block.text))}</pre>')
        else:
            parts.append(_folded_html(block))
    return "".join([*parts, "</div>"])


def _link_html(link: str) -> str:
    text = escaped(link)
    if not link.startswith(("http://", "https://", "./")):
        return f"<div>{text}</div>"
    return f'<div><a href="{text}" target="_blank" rel="noopener noreferrer">{text}</a></div>'


def _caption_html(caption: str) -> str:
    return f'<caption style="{_CAPTION}">{escaped(caption)}</caption>' if caption else ""


def _table_html(table: Table) -> str:
    sides = ["right" if i in table.numeric else "left" for i in range(len(table.columns))]
    head = "".join(f'<th scope="col" style="text-align:{side};opacity:.75;{_CELL}">{escaped(name)}</th>'
                   for side, name in zip(sides, table.columns, strict=True))
    rows = "".join(f'<tr style="{_ROW}">' + "".join(
        f'<td style="text-align:{side};{_CELL}">{escaped(cell)}</td>' for side, cell in zip(sides, row, strict=True))
        + "</tr>" for row in table.rows)
    return (f'<table style="{_TABLE}">{_caption_html(table.caption)}'
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")


def _bars_html(block: Bars) -> str:
    """The bars as a table whose middle column is drawn, so that a screen reader hears label and figure."""
    whole = max((bar.end for bar in block.bars), default=0.0) or 1.0
    rows = []
    for bar in block.bars:
        # Even the shortest bar stays a visible sliver, inside the track.
        width = max((bar.end - bar.start) / whole, 0.006)
        drawn = _bar_html(min(bar.start / whole, 1 - width), width)
        rows.append(f'<tr style="{_ROW}"><th scope="row" style="{_KEY}">{escaped(bar.label)}</th>'
                    f'<td style="{_VALUE}">{drawn}</td><td style="{_VALUE}">{escaped(bar.text)}</td></tr>')
    return f'<table style="{_TABLE}">{_caption_html(block.caption)}<tbody>{"".join(rows)}</tbody></table>'


def _outline_html(block: Outline) -> str:
    """Each level as a table of bars, and below it what its rows hold, folded."""
    def longest(branches: tuple[Branch, ...]) -> float:
        return max((max(branch.end, longest(branch.children)) for branch in branches), default=0.0)

    whole = longest(block.branches) or 1.0

    def level(branches: tuple[Branch, ...], caption: str) -> str:
        heads = ("", "", *block.columns)
        head = "".join(f'<th scope="col" style="text-align:{"right" if i > 1 else "left"};opacity:.75;{_VALUE}">'
                       f"{escaped(name)}</th>" if name else "<td></td>" for i, name in enumerate(heads))
        rows = "".join(
            f'<tr style="{_ROW}"><th scope="row" style="{_KEY}">{escaped(branch.label)}</th><td style="{_VALUE}">'
            f"{_bar_html(branch.start / whole, (branch.end - branch.start) / whole)}</td>"
            + "".join(f'<td style="{_RIGHT}">{escaped(cell)}</td>' for cell in branch.cells) + "</tr>"
            for branch in branches)
        inside = "".join(
            f'<details style="margin:2px 0 2px 16px"><summary style="cursor:pointer">In {escaped(branch.label)}'
            f"</summary>{level(branch.children, '')}</details>" for branch in branches if branch.children)
        return (f'<table style="{_TABLE}">{_caption_html(caption)}<thead><tr>{head}</tr></thead>'
                f"<tbody>{rows}</tbody></table>{inside}")

    return level(block.branches, block.caption)


def _bar_html(left: float, width: float) -> str:
    """One bar on its track, both as fractions of it. It is a picture, because the sanitiser of a notebook that
    is not trusted drops the styles that could draw it; its colours suit a light and a dark page."""
    svg = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{_TRACK}" height="9">'
           f'<rect width="{_TRACK}" height="9" fill="#808080" fill-opacity=".2"/>'
           f'<rect x="{left * _TRACK:.2f}" width="{width * _TRACK:.2f}" height="9" fill="#2980d9"/></svg>')
    return f'<img alt="" width="{_TRACK}" height="9" src="data:image/svg+xml,{quote(svg)}"/>'


def _folded_html(block: Folded) -> str:
    return (f'<details style="margin:4px 0"><summary style="cursor:pointer">{escaped(block.title)}</summary>'
            f'<pre style="{_CONSOLE}">{escaped(clean_block(block.text))}</pre></details>')
