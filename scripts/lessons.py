"""How long the notebooks took when the tests last executed them: out/lessons.json, which ``make notebooks`` leaves.

    scripts/lessons.py             print; the exit status is 1 where one took longer than three minutes
    scripts/lessons.py --write     and rewrite their part of BENCHMARKS.md and notebooks/data/lessons.json
"""

from __future__ import annotations

import json
import sys

from figures import ROOT, Figure, table, write

from unibeam_nb.units import format_seconds

TAKEN = ROOT / "out" / "lessons.json"
LONGEST_S = 180


def main(words: list[str]) -> int:
    if not TAKEN.is_file():
        sys.exit("lessons: nothing has been executed here. Run make notebooks.")
    taken: dict[str, float] = json.loads(TAKEN.read_text())
    figures = [Figure(f"`{name}`", "3 min", format_seconds(seconds), {"seconds": seconds})
               for name, seconds in sorted(taken.items())]
    if "--write" in words:
        write("lessons", figures)
    print(table(figures))
    return 1 if max(taken.values()) > LONGEST_S else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
