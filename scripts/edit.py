"""How long it takes from an edited cell to its new linux image.

    scripts/edit.py [N]         print it
    scripts/edit.py --write     and rewrite its part of BENCHMARKS.md, with every time in notebooks/data/edit.json

One edit is ``lab.build`` of the quickstart's program with one line changed, into a ``linux`` image with the tiny
kernel. What the first build left in the store is there, as it is for somebody who edits. Run nothing else beside it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from bench import quickstart_source

from unibeam_nb.analysis.intervals import median_interval
from unibeam_nb.bench.host import fingerprint
from unibeam_nb.jsonable import to_json
from unibeam_nb.lab import Lab
from unibeam_nb.units import format_seconds

ROOT = Path(__file__).resolve().parent.parent
PAGE, DATA = ROOT / "BENCHMARKS.md", ROOT / "notebooks" / "data" / "edit.json"
BEGIN, END = "<!-- edits: made by make bench -->", "<!-- end of edits -->"


def measure(lab: Lab, edits: int) -> list[float]:
    """The seconds that each of ``edits`` changes takes, after one that does not count."""
    text, times = quickstart_source(), []
    for _ in range(edits + 1):
        fresh = text.replace("Hello from", f"Hello {time.time_ns()} from")
        began = time.perf_counter()
        image = lab.build("edited", text=fresh, ports=(8080,), kernel="tiny").images[0]
        times.append(time.perf_counter() - began)
        assert not image.cached, "nothing was edited"
    return times[1:]


def sentence(times: list[float]) -> str:
    found = median_interval(times)
    return (f"An edited cell is a new `linux` image after {format_seconds(found.value)} (median; 95 %: "
            f"{format_seconds(found.low)} to {format_seconds(found.high)}; n = {len(times)}; "
            f"{format_seconds(min(times))} to {format_seconds(max(times))}).")


def main(words: list[str]) -> None:
    times = measure(Lab(), int(words[0]) if words and words != ["--write"] else 15)
    if words == ["--write"]:
        DATA.write_text(json.dumps({"host": to_json(fingerprint()), "seconds": times}, indent=1) + "\n")
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(f"{text[:text.index(BEGIN)]}{BEGIN}\n\n{sentence(times)}\n\n{text[text.index(END):]}",
                        encoding="utf-8")
    print(sentence(times))


if __name__ == "__main__":
    main(sys.argv[1:])
