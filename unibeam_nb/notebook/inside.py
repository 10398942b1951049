"""How a look inside an image reads: an outline of what is in it, of what differs, or of what was found."""

from __future__ import annotations

from unibeam_nb.analysis.inside import CHANGED, SAME, Exploration, Found, Node, signed
from unibeam_nb.notebook.sheet import Branch, Outline, Sheet
from unibeam_nb.units import format_bytes

ROWS = 24
"""So many rows of a level are shown; the rest is one row."""

DEEP_ROWS = 12
"""So many of the levels that a text shows only when asked."""

FOLDED = 3
"""So many levels are in a page at least, since what is folded is in nobody's way: down to each module."""

HITS = 60
"""So many of what a search found."""


def exploration_sheet(what: Exploration) -> Sheet:
    root = what.root
    facts = [("unpacked", format_bytes(root.bytes) if not what.against else
              f"{format_bytes(root.before)} before, {format_bytes(root.bytes)} now: {signed(root.delta)}"),
             ("shipped", format_bytes(root.shipped))]
    if what.against:
        facts.insert(0, ("compared with", what.against))
    if what.word:
        return _found_sheet(what, tuple(facts))
    rows = _branches(root, what, max(what.depth, FOLDED))
    if what.against and not rows:
        return Sheet(f"Nothing differs between {what.title} and {what.against}.")
    caption = "What differs, in bytes unpacked" if what.against else "What is in it, in bytes unpacked"
    return Sheet(f"Inside {what.title}", tuple(facts), (Outline(caption, _columns(what), rows, what.depth),))


def _found_sheet(what: Exploration, facts: tuple[tuple[str, str], ...]) -> Sheet:
    hits = what.search(what.word)
    if not hits:
        return Sheet(f"Nothing in {what.title} is called {what.word!r}.")
    total = sum(hit.node.bytes for hit in hits)
    shown = tuple(_hit(hit, what) for hit in hits[:HITS])
    rest = (_rest(tuple(hit.node for hit in hits[HITS:]), what),) if len(hits) > HITS else ()
    count = f"{len(hits)} part{'s' if len(hits) != 1 else ''} called {what.word!r}, {format_bytes(total)}"
    return Sheet(f"Inside {what.title}", facts, (Outline(count, _columns(what), (*shown, *rest)),))


def _columns(what: Exploration) -> tuple[str, ...]:
    return ("before", "now", "change", "") if what.against else ("bytes", "share", "shipped, about")


def _hit(hit: Found, what: Exploration) -> Branch:
    return _branch(hit.node, what, 0, hit.path)


def _branch(node: Node, what: Exploration, depth: int, label: str = "") -> Branch:
    name = (label or node.name) + (f" {node.version}" if node.version else "")
    return Branch(name, *_span(node, what), _cells(node, what), _branches(node, what, depth - 1) if depth > 0 else ())


def _branches(node: Node, what: Exploration, depth: int) -> tuple[Branch, ...]:
    children = [child for child in node.children if child.state != SAME]
    if not children or depth <= 0:
        return ()
    most = ROWS if depth > FOLDED - 2 or what.depth >= FOLDED else DEEP_ROWS
    shown = tuple(_branch(child, what, depth) for child in children[:most])
    return (*shown, _rest(tuple(children[most:]), what)) if len(children) > most else shown


def _rest(nodes: tuple[Node, ...], what: Exploration) -> Branch:
    whole = Node(f"{len(nodes)} smaller", "file", sum(n.bytes for n in nodes), sum(n.shipped for n in nodes),
                 before=sum(n.before for n in nodes), state=CHANGED if what.against else "")
    return _branch(whole, what, 0)


def _span(node: Node, what: Exploration) -> tuple[float, float]:
    return (min(node.before, node.bytes), max(node.before, node.bytes)) if what.against else (0, node.bytes)


def _cells(node: Node, what: Exploration) -> tuple[str, ...]:
    if what.against:
        return (format_bytes(node.before) if node.before else "-", format_bytes(node.bytes) if node.bytes else "-",
                signed(node.delta), node.state)
    share = 100 * node.bytes / (what.root.bytes or 1)
    return format_bytes(node.bytes), f"{share:.1f} %", format_bytes(node.shipped)
