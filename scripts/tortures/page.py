"""RELIABILITY.md: one section is rewritten, the others stay."""

from __future__ import annotations

import re
from collections.abc import Sequence

from filelock import FileLock

from tortures import ROOT

PAGE = ROOT / "RELIABILITY.md"
LOCK = ROOT / "out" / "reliability.lock"


def write_section(heading: str, text: str) -> None:
    """Put ``text`` below ``## heading``, in place of what is there."""
    LOCK.parent.mkdir(exist_ok=True)
    with FileLock(LOCK):  # Sections may run beside each other.
        page = PAGE.read_text(encoding="utf-8")
        found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        if found is None:
            raise ValueError(f"RELIABILITY.md has no section {heading}")
        PAGE.write_text(f"{page[:found.start(1)]}\n{text.strip()}\n\n{page[found.end(1):]}".rstrip() + "\n",
                        encoding="utf-8")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
                     for line in lines)
