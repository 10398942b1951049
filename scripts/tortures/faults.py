"""200 seeded interruptions of builds, boots, experiments and notebooks (`cases.py` says which).

Each happens in namespaces of its own (`supervise.py`), so this needs root. After each: every acknowledged sample is in
its journal, every entry of the cache is what an undisturbed build makes, nothing is left after `unibeam clean` or after
the next start, and the same work succeeds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tortures import ROOT, Options
from tortures.cases import KINDS
from unibeam_nb.store import Store

COUNT, WORKERS = 200, 2


def run(options: Options) -> bool:
    """Every case, two at a time; what came of them, by kind."""
    if os.geteuid() != 0:
        print("    Not run: only root can make the mounts that these cases need.")
        return True
    numbers = list(options.only or range(options.count or COUNT))
    results = interrupt(options.seed, numbers)
    return report(results, options.seed, len(numbers))


def interrupt(seed: int, numbers: list[int]) -> list[dict[str, Any]]:
    """Play the cases of these numbers; what became of each."""
    base = Path(tempfile.mkdtemp(prefix="t-"))
    hands = min(int(os.environ.get("TORTURERS", WORKERS)), len(numbers))
    try:
        with ThreadPoolExecutor(hands) as pool:
            parts = pool.map(lambda hand: _supervised(base / str(hand), seed, numbers[hand::hands]), range(hands))
            return sorted((result for part in parts for result in part), key=lambda result: result["number"])
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _supervised(base: Path, seed: int, numbers: list[int]) -> list[dict[str, Any]]:
    words = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
             "--net", "--ipc", sys.executable, str(ROOT / "scripts/tortures/supervise.py"), str(base), str(seed),
             ",".join(map(str, numbers)), str(Store.default().cache)]
    found = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            result = json.loads(line)
            if "number" in result:
                found.append(result)
            print("    " + told(result), flush=True)
    for number in set(numbers) - {result["number"] for result in found}:
        found.append({"number": number, "work": "?", "fault": "?", "broken": ["its supervisor ended early"]})
    return found


def told(result: dict[str, Any]) -> str:
    """One result in a line, or more where something did not hold."""
    if "note" in result:
        return "tried again: " + str(result["note"])[:300]
    if "number" not in result:
        return "undisturbed: " + ", ".join(f"{what} {seconds:.1f} s" for what, seconds in result["takes"].items())
    head = f"{result['number']:>4} {result['work']:<13}{result['fault']:<15}{result.get('victim', ''):<20}" \
           f"then {result.get('then')}, {result.get('seconds', 0):.0f} s"
    return head + "".join(f"\n         BROKEN {line}" for line in result["broken"])


def report(results: list[dict[str, Any]], seed: int, count: int) -> bool:
    """Print the counts by kind and how to repeat what failed; whether nothing did."""
    by_work, by_fault = (Counter(result[key] for result in results) for key in ("work", "fault"))
    broken = [result for result in results if result["broken"]]
    print(f"    {count} interruptions of {len(KINDS)} kinds, seed {seed}: {len(broken)} did not hold")
    for title, counts in (("by work", by_work), ("by what happened", by_fault)):
        print(f"    {title}: " + ", ".join(f"{name} {number}" for name, number in sorted(counts.items())))
    for result in broken:
        print(f"    again: scripts/torture.py faults --seed {seed} --only {result['number']}")
    return not broken
