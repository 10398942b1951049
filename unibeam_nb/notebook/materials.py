"""How a bill of materials reads: what an image is made of, with origins, in a table; what there is much of, counted."""

from __future__ import annotations

from unibeam_nb.image.bom.model import KINDS, Bom, Component
from unibeam_nb.notebook.sheet import Folded, Sheet, Table
from unibeam_nb.units import format_bytes

MANY = ("package", "kernel module")
"""Kinds that are listed apart, since there may be hundreds."""


def bom_sheet(bom: Bom) -> Sheet:
    known = sum(1 for each in bom.components if each.purl)
    counts = [f"{count} {kind if count == 1 else plural(kind)}" for kind in KINDS
              if (count := sum(1 for each in bom.components if each.kind == kind))]
    facts = (("components", f"{len(bom.components)}: {', '.join(counts)}"),
             ("origin", f"{known} come from a package of the distribution, of hex, or a repository"),
             ("sha256", bom.sha256[:12]))
    few = tuple(_row(each) for each in bom.components if each.kind not in MANY)
    many = [f"{each.name} {each.version}" + (f" ({each.licence})" if each.licence else "")
            for each in bom.components if each.kind in MANY]
    return Sheet(f"What {bom.name}, {bom.kind}, is made of", facts, (
        Table(("kind", "component", "version", "from", "licence", "bytes", "needs"), few, numeric=frozenset((5,))),
        *([Folded("Packages and kernel modules", "\n".join(many))] if many else []),
        Folded("As CycloneDX JSON: -o FILE.json writes it; its beginning", bom.text[:1200])))


def plural(kind: str) -> str:
    return {"library": "libraries", "firmware": "firmware", "data": "data"}.get(kind, f"{kind}s")


def _row(each: Component) -> tuple[str, ...]:
    needs = sorted({ref.rpartition("/")[2] for ref in each.needs})
    shown = ", ".join(needs[:6]) + (f" and {len(needs) - 6} more" if len(needs) > 6 else "")
    size = format_bytes(each.bytes) if each.files else ""
    return each.kind, each.name, each.version, each.origin, each.licence, size, shown
