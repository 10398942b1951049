"""What is in an image and what it weighs, as a tree: kernel, emulator, libraries, applications, modules, files.

:func:`tree` makes one of an image's files, :func:`difference` one of two. Both are pure, and a node says of itself what
every face shows: bytes unpacked, its part of what is shipped, and what it was before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unibeam_nb.errors import UsageError
from unibeam_nb.model import IMAGE_ROOT
from unibeam_nb.units import format_bytes

if TYPE_CHECKING:
    import pandas as pd

    from unibeam_nb.analysis.chart import Chart
    from unibeam_nb.image.contents import Item

SINGLE = ("linux kernel", "osv kernel", "efi stub", "init")
"""Parts of an image that are one file."""

AS_IS = ("linux kernel", "efi stub")
"""Parts that travel as they are; all others are compressed together."""

FLAT = ("kernel modules", "libraries")
"""Parts whose files are told by name alone, wherever they lie."""

SYSTEM = (*SINGLE, *FLAT, "erts", "base", "configuration")
"""All parts that are no application's."""

APPLICATIONS = "applications"

NEW, GONE, CHANGED, SAME = "new", "gone", "changed", "same"
"""What became of a node between two images."""


@dataclass(frozen=True)
class Node:
    """One part of an image with what it is made of, the largest first.

    ``kind`` is ``image``, ``part``, ``application``, ``module``, ``directory`` or ``file``; ``version`` that of an
    application.
    ``shipped`` is its share of the bytes that travel, by how well it packs alone: an estimate, since an image is
    compressed as a whole. In a difference ``before`` and ``state`` tell what it was; elsewhere they are 0 and empty.
    """

    name: str
    kind: str
    bytes: int
    shipped: float = 0.0
    digest: str = ""
    version: str = ""
    children: tuple[Node, ...] = ()
    before: int = 0
    state: str = ""

    @property
    def delta(self) -> int:
        """Bytes gained since."""
        return self.bytes - self.before

    @property
    def weight(self) -> int:
        """By what its siblings and it are ordered: the bytes, or how many came and went."""
        return abs(self.delta) if self.state else self.bytes

    def __repr__(self) -> str:
        return f"<Node {self.name}: {self.kind}, {self.bytes} bytes, {len(self.children)} in it>"


@dataclass(frozen=True)
class Found:
    """A node and the names that lead to it, its own last."""

    trail: tuple[str, ...]
    node: Node

    @property
    def path(self) -> str:
        return "/".join(name.rstrip("/") for name in self.trail)


def tree(name: str, items: Iterable[Item], shipped_bytes: int) -> Node:
    """The tree of an image that consists of these items and ships in so many bytes."""
    found = tuple(items)
    weight = sum(item.packed for item in found if item.part not in AS_IS)
    rest = shipped_bytes - sum(item.bytes for item in found if item.part in AS_IS)
    scale = rest / weight if weight else 0.0
    return _branch(name, "image", "", [(_trail(item), item) for item in found], scale)


def _branch(name: str, kind: str, version: str, held: Sequence[tuple[_Trail, Item]], scale: float) -> Node:
    below: dict[str, list[tuple[_Trail, Item]]] = {}
    for trail, item in held:
        below.setdefault(trail[0][0], []).append((trail, item))
    children: list[Node] = []
    for own, inside in below.items():
        deeper = [(trail[1:], item) for trail, item in inside if len(trail) > 1]
        _, what, number = inside[0][0][0]
        if deeper:
            children.append(_branch(own, what, number, deeper, scale))
        # Two files may have one name where Elixir's `Foo` and Erlang's meet: then each tells its whole name.
        leaves = [item for trail, item in inside if len(trail) == 1]
        children += [Node(own if len(leaves) == 1 and not deeper else item.path, what, item.bytes,
                          item.bytes if item.part in AS_IS else item.packed * scale, item.digest) for item in leaves]
    return Node(name, kind, sum(c.bytes for c in children), sum(c.shipped for c in children), "", version,
                _ordered(children))


def _ordered(children: Iterable[Node]) -> tuple[Node, ...]:
    return tuple(sorted(children, key=lambda node: (-node.weight, -node.bytes, node.name)))


_Step = tuple[str, str, str]
"""Name, kind and version of a node on the way to a file."""

_Trail = tuple[_Step, ...]


def _trail(item: Item) -> _Trail:
    """The way from the root to a file."""
    words = item.path.split("/")
    if item.part in SINGLE:
        return ((item.part, "part", ""),)
    if item.part in FLAT:
        return (item.part, "part", ""), (words[-1], "file", "")
    if item.part == "base" or not item.path.startswith(f"{IMAGE_ROOT.lstrip('/')}/"):
        return (item.part, "part", ""), *_files(words)
    inside = words[len(IMAGE_ROOT.strip("/").split("/")):]
    if item.part == "erts":
        return ("erts", "part", inside[0].removeprefix("erts-")), *_files(inside[1:])
    if item.part in SYSTEM:
        return (item.part, "part", ""), *_files(words)
    version = inside[1].partition("-")[2]
    rest = inside[3:] if inside[2:3] == ["ebin"] else inside[2:]
    return (APPLICATIONS, "part", ""), (item.part, "application", version), *_files(rest)


def _files(words: Sequence[str]) -> Iterator[_Step]:
    for word in words[:-1]:
        yield f"{word}/", "directory", ""
    if words[-1].endswith(".beam"):
        yield words[-1].removesuffix(".beam").removeprefix("Elixir."), "module", ""
    else:
        yield words[-1], "file", ""


def difference(old: Node, new: Node) -> Node:
    """What came, went and changed from ``old`` to ``new``, matched by their names; what changed most comes first."""
    before, now = ({child.name: child for child in node.children} for node in (old, new))
    children = [difference(before.get(name, Node(name, now[name].kind, 0)) if name in before else _none(now[name]),
                           now[name]) if name in now else _gone(before[name])
                for name in dict.fromkeys((*now, *before))]
    if old.kind == "none":
        state = NEW
    elif children:
        state = SAME if all(child.state == SAME for child in children) else CHANGED
    else:
        state = SAME if (old.digest, old.bytes) == (new.digest, new.bytes) else CHANGED
    version = new.version if old.version in ("", new.version) else f"{old.version} to {new.version}"
    return replace(new, version=version, before=old.bytes, state=state, children=_ordered(children))


def _none(node: Node) -> Node:
    return Node(node.name, "none", 0)


def _gone(node: Node) -> Node:
    return replace(node, bytes=0, shipped=0.0, before=node.bytes, state=GONE,
                   children=_ordered(_gone(child) for child in node.children))


def folded(node: Node) -> Node:
    """The tree with directories that hold one directory only as one step: ``usr/`` and ``lib/`` as ``usr/lib/``."""
    children = tuple(folded(child) for child in node.children)
    if node.kind == "directory" and len(children) == 1 and children[0].kind == "directory":
        return replace(children[0], name=node.name + children[0].name)
    return replace(node, children=children)


def walk(node: Node, trail: tuple[str, ...] = ()) -> Iterator[Found]:
    """Everything in a node, parents first, the largest first."""
    for child in node.children:
        here = (*trail, child.name)
        yield Found(here, child)
        yield from walk(child, here)


def search(node: Node, words: str) -> tuple[Found, ...]:
    """What is called so: every word is in the name of it or of something above, the last in its own. From the largest
    down, and nothing inside of what was found already."""
    wanted = words.casefold().split()
    hits: list[Found] = []

    def look(here: Node, trail: tuple[str, ...]) -> None:
        for child in here.children:
            path = (*trail, child.name)
            whole = "/".join(path).casefold()
            if wanted[-1] in child.name.casefold() and all(word in whole for word in wanted):
                hits.append(Found(path, child))
            else:
                look(child, path)

    if wanted:
        look(node, ())
    return tuple(sorted(hits, key=lambda hit: (-hit.node.weight, hit.path)))


def signed(count: int) -> str:
    """``+1.2 MB``, ``-300 kB``, ``no bytes``."""
    return f"{'+' if count > 0 else '-'}{format_bytes(abs(count))}" if count else "no bytes"


@dataclass(frozen=True)
class Exploration:
    """A look inside an image, or at what differs between two.

    ``title`` says which image, ``against`` with which it is compared (empty: with none), ``word`` what is sought,
    ``depth`` how many levels a text shows.
    """

    title: str
    root: Node
    against: str = ""
    word: str = ""
    depth: int = 2

    def __repr__(self) -> str:
        than = f" against {self.against}" if self.against else ""
        return f"<Exploration of {self.title}{than}: {sum(1 for _ in walk(self.root))} parts>"

    def search(self, words: str) -> tuple[Found, ...]:
        """What is called so, from the largest down."""
        return search(self.root, words)

    def at(self, path: str) -> Node:
        """The node at ``applications/stdlib/lists``. Raises UsageError where there is none."""
        found = {hit.path: hit.node for hit in walk(self.root)}
        if path not in found:
            raise UsageError(f"There is no {path!r} in {self.title}.", "Search for a part of its name.")
        return found[path]

    def to_frame(self) -> pd.DataFrame:
        """One part a row: ``path``, ``level`` (from 0), ``kind``, ``bytes``, ``shipped_bytes`` (about), ``version``; in
        a difference also ``before_bytes``, ``delta_bytes`` and ``state``."""
        import pandas as pd

        rows = [{"path": hit.path, "level": len(hit.trail) - 1, "kind": hit.node.kind, "bytes": hit.node.bytes,
                 "shipped_bytes": round(hit.node.shipped), "version": hit.node.version}
                | ({"before_bytes": hit.node.before, "delta_bytes": hit.node.delta, "state": hit.node.state}
                   if self.against else {}) for hit in walk(self.root)]
        return pd.DataFrame(rows)

    def chart(self) -> Chart:
        """The image as a treemap of its parts and what is in them."""
        from unibeam_nb.analysis.chart import Chart
        from unibeam_nb.analysis.charts.inside import chart_inside, describe_inside

        axes: Any = chart_inside(self)
        return Chart("inside", axes.figure, describe_inside(self))

    def save(self, path: Path) -> Path:
        """Write the chart (.svg, .png, .pdf), or the table (.csv)."""
        from unibeam_nb.analysis.tables import inert

        if path.suffix != ".csv":
            return self.chart().save(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        inert(self.to_frame()).to_csv(path, index=False)
        return path
