"""For scripts that hold figures against what was aimed at: a table in BENCHMARKS.md, and the numbers behind it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unibeam_nb.bench.host import fingerprint
from unibeam_nb.jsonable import to_json

ROOT = Path(__file__).resolve().parent.parent
PAGE, DATA = ROOT / "BENCHMARKS.md", ROOT / "notebooks" / "data"


@dataclass(frozen=True)
class Figure:
    """One row: what was measured, the aim in words, what came out, and the numbers that this was made of."""

    what: str
    aim: str
    measured: str
    numbers: dict[str, Any] = field(default_factory=dict)


def table(figures: Iterable[Figure]) -> str:
    """The rows as Markdown."""
    lines = ["| what | aim | measured |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {one.what} | {one.aim} | {one.measured} |" for one in figures)])


def write(name: str, figures: Sequence[Figure]) -> None:
    """Put the table where BENCHMARKS.md has the markers of ``name``, and the numbers into notebooks/data/NAME.json."""
    host, day = fingerprint(), f"{datetime.now(UTC):%Y-%m-%d}"
    DATA.joinpath(f"{name}.json").write_text(json.dumps(
        {"date": day, "host": to_json(host), "figures": [dataclasses.asdict(one) for one in figures]}, indent=1) + "\n")
    begin, end = f"<!-- {name}: made by make bench -->", f"<!-- end of {name} -->"
    text = PAGE.read_text(encoding="utf-8")
    said = f"Measured {day} on {host.cpu}, {host.cores} cores, {host.distribution}; `notebooks/data/{name}.json`."
    PAGE.write_text(f"{text[:text.index(begin)]}{begin}\n\n{said}\n\n{table(figures)}\n\n{text[text.index(end):]}",
                    encoding="utf-8")
