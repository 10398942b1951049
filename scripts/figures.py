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


def dated(figure: Figure, day: str) -> Figure:
    """The figure with the day of its measuring, unless that stands there already."""
    if "day" in figure.numbers:
        return figure
    return dataclasses.replace(figure, measured=f"{figure.measured} (on {day})", numbers=figure.numbers | {"day": day})


def fill(name: str, said: str) -> None:
    """Put ``said`` where BENCHMARKS.md has the markers of ``name``."""
    begin, end = f"<!-- {name}: made by make bench -->", f"<!-- end of {name} -->"
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(f"{text[:text.index(begin)]}{begin}\n\n{said}\n\n{text[text.index(end):]}", encoding="utf-8")


def write(name: str, figures: Sequence[Figure], lacking: Sequence[str] = ()) -> None:
    """Put the table where BENCHMARKS.md has the markers of ``name``, and the numbers into notebooks/data/NAME.json. The
    rows ``lacking``, which this host cannot measure, stay as they were measured last, with the day."""
    host, day, path = fingerprint(), f"{datetime.now(UTC):%Y-%m-%d}", DATA / f"{name}.json"
    if lacking and path.is_file():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        figures = [*figures, *(dated(Figure(**one), earlier["date"]) for one in earlier["figures"]
                               if one["what"] in lacking)]
    path.write_text(json.dumps(
        {"date": day, "host": to_json(host), "figures": [dataclasses.asdict(one) for one in figures]}, indent=1) + "\n")
    said = f"Measured {day} on {host.cpu}, {host.cores} cores, {host.distribution}; `notebooks/data/{name}.json`."
    fill(name, f"{said}\n\n{table(figures)}")
