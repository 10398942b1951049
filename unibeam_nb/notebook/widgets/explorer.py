"""The inside of an image, to walk through with keys or clicks.

Everything is sent once, as plain data, so the page needs no kernel afterwards. It makes text of it and never HTML.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from unibeam_nb.analysis.inside import Exploration, Node
from unibeam_nb.notebook.sheet import printable


class Explorer(anywidget.AnyWidget):
    """What ``static/explorer.js`` draws. ``tree`` is a node as :func:`plain` writes it."""

    _esm = (Path(__file__).parents[1] / "static" / "explorer.js").read_text(encoding="utf-8")
    label = traitlets.Unicode().tag(sync=True)
    against = traitlets.Unicode().tag(sync=True)
    word = traitlets.Unicode().tag(sync=True)
    tree: Any = traitlets.List().tag(sync=True)

    def __init__(self, what: Exploration) -> None:
        super().__init__(label=printable(what.title), against=printable(what.against), word=printable(what.word),
                         tree=plain(what.root))


def plain(node: Node) -> list[Any]:
    """A node as a list: name with version, kind, bytes, bytes shipped, bytes before, state, children."""
    name = f"{node.name} {node.version}" if node.version else node.name
    return [printable(name), node.kind, node.bytes, round(node.shipped), node.before, node.state,
            [plain(child) for child in node.children]]
