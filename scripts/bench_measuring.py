"""How good the ruler is: what measuring costs, whether hyperfine agrees, and whether equal things come out equal.

    scripts/bench_measuring.py [overhead] [hyperfine] [aa] [journal]      (all of them where none is named)

Rewrites its part of BENCHMARKS.md and leaves the figures in notebooks/data/measuring.json. The whole takes about half
an hour, most of it for the twenty experiments of ``aa``. Run nothing else beside it.
"""

from __future__ import annotations

import dataclasses
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unibeam_nb import tools
from unibeam_nb.analysis.stats import comparisons
from unibeam_nb.arms import Arm
from unibeam_nb.bench.host import fingerprint
from unibeam_nb.errors import UnibeamError
from unibeam_nb.lab import Lab
from unibeam_nb.machine import BootOptions, boot
from unibeam_nb.model import NONCE_VARIABLE, Image

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "notebooks" / "data" / "measuring.json"
BEGIN, END = "<!-- measuring: made by scripts/bench_measuring.py -->", "<!-- end of measuring -->"

PROGRAM = """
-module(ruler).
-export([start/0, stop/0]).
start() -> ok.
stop() -> erlang:halt(0, [{flush, false}]).
"""

BARE = "release@process"


def fresh(name: str) -> str:
    """A name for an experiment that nobody had before."""
    return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"


def overhead(lab: Lab, blocks: int = 30) -> dict[str, float]:
    """What a sample costs beyond its boot, the wait for its memory to settle, and its end; seconds.

    ``harness`` is what the samples say themselves; ``all_in`` also holds what lies between two samples (the journal's
    write and sync, the choice of the next), from the length of the whole run. ``mark_lag`` is how long after the
    program sent its mark it was recorded.
    """
    plan = lab.plan("ruler", arms=(f"a={BARE}",), against=(f"b={BARE}",), blocks=blocks, warmup=1, until="app")
    began = time.monotonic()
    exp = lab.bench(plan=plan, experiment=fresh("overhead"))
    whole = time.monotonic() - began
    known = sum(s.marks["app"] + s.values["settle_s"] + s.values["stop_s"] for s in exp.samples)
    harness = sorted(s.values["harness_s"] for s in exp.measured)
    lags = sorted(s.values["mark_lag_s"] for s in exp.measured if "mark_lag_s" in s.values)
    return {"samples_count": len(exp.measured), "harness_median_s": statistics.median(harness),
            "harness_p95_s": harness[int(0.95 * len(harness))], "all_in_s": (whole - known) / len(exp.samples),
            "mark_lag_median_s": statistics.median(lags), "mark_lag_p95_s": lags[int(0.95 * len(lags))]}


def agreement(lab: Lab, rounds: int = 60) -> dict[str, float]:
    """The same command timed by us and by hyperfine, alternately in random order: medians in seconds, and theirs over
    ours. It ends itself right after its mark ``app``, so that the two instants are the same but for its exit."""
    image = lab.image(lab.named("ruler"), Arm.parse(BARE))
    launch = dataclasses.replace(image.launch, arguments=(*image.launch.arguments, "-s", "ruler", "stop"))
    image = dataclasses.replace(image, launch=launch, ports=())
    ours: list[float] = []
    theirs: list[float] = []
    chance = random.Random(1)
    for number in range(rounds + 2):
        turns: list[tuple[list[float], Callable[[], float]]] = [
            (ours, lambda: by_us(lab, image)), (theirs, lambda: by_hyperfine(image))]
        chance.shuffle(turns)
        for times, take in turns:
            seconds = take()
            if number >= 2:  # The first two warm the caches.
                times.append(seconds)
    mine, his = statistics.median(ours), statistics.median(theirs)
    return {"rounds_count": rounds, "ours_median_s": mine, "hyperfine_median_s": his,
            "hyperfine_over_ours_ratio": his / mine}


def by_us(lab: Lab, image: Image) -> float:
    """Seconds from spawn to the mark ``app``."""
    machine = boot(lab.store, image, "process", BootOptions(until="app", vcpus=1), name=None)
    try:
        return machine.marks["app"].at
    finally:
        machine.stop()


def by_hyperfine(image: Image) -> float:
    """Seconds from spawn to exit of the very command that the process runner starts, in the same environment."""
    hyperfine = tools.locate("hyperfine")
    if hyperfine is None:
        raise UnibeamError("hyperfine is not on this host.", "sudo apt-get install --no-install-recommends hyperfine")
    with tempfile.TemporaryDirectory() as state:
        root = str(image.file("root").resolve())
        env = image.launch.env(root, state) | {"ERL_AFLAGS": "+S 1:1 +SDcpu 1:1", NONCE_VARIABLE: "0123456789abcdef"}
        words = " ".join(f"'{word}'" for word in image.launch.argv(root, state))
        out = Path(state) / "result.json"
        subprocess.run([hyperfine, "-N", "--runs", "1", "--style", "none", "--output", Path(state) / "console.log",
                        "--export-json", out, words], env=env, cwd=state, check=True, capture_output=True)
        return float(json.loads(out.read_text())["results"][0]["times"][0])


def same_twice(lab: Lab, repeats: int = 20, blocks: int = 20) -> dict[str, float]:
    """The same arm under two names, over and over: how many of the experiments claim a difference."""
    claimed = 0
    for repeat in range(repeats):
        exp = lab.bench("ruler", arms=(f"a={BARE}",), against=(f"b={BARE}",), blocks=blocks, warmup=1, until="app",
                        seed=repeat + 1, experiment=fresh("aa"))
        (found,) = comparisons(exp, "b")
        claimed += found.differs
        print(f"aa {repeat + 1} of {repeats}: {found}", file=sys.stderr)
    return {"experiments_count": repeats, "blocks_count": blocks, "claimed_count": claimed}


def journal(_lab: Lab) -> dict[str, float]:
    """What ``bench_journal.py`` finds, in a process of its own."""
    done = subprocess.run([sys.executable, ROOT / "scripts" / "bench_journal.py"], check=True, capture_output=True,
                          text=True)
    return dict(json.loads(done.stdout))


PARTS: dict[str, Callable[[Lab], dict[str, float]]] = {
    "overhead": overhead, "hyperfine": agreement, "aa": same_twice, "journal": journal}


def section(found: dict[str, Any]) -> str:
    """The part of BENCHMARKS.md."""
    rows = ["| what | reach | measured |", "|---|---|---|"]
    rows += [f"| {' | '.join(row)} |" for name, make in _ROWS.items() if name in found for row in make(found[name])]
    host = found["host"]
    return (f"{BEGIN}\n\nMeasured {found['date']} on {host['cpu']}, {host['cores']} cores, {host['distribution']}.\n\n"
            + "\n".join(rows) + f"\n\n{END}")


Row = tuple[str, str, str]


def _overhead_rows(one: dict[str, float]) -> list[Row]:
    return [("cost of a sample beyond boot, settling and end", "50 ms",
             f"{_ms(one['harness_median_s'])} (95th percentile {_ms(one['harness_p95_s'])}), with journal and loop "
             f"{_ms(one['all_in_s'])}; n={one['samples_count']}"),
            ("from the program's mark to its record", "",
             f"{_ms(one['mark_lag_median_s'])} (95th percentile {_ms(one['mark_lag_p95_s'])})")]


def _agreement_rows(one: dict[str, float]) -> list[Row]:
    return [("hyperfine's median over ours, the same command", "0.97 to 1.03",
             f"{one['hyperfine_over_ours_ratio']:.3f} ({_ms(one['hyperfine_median_s'])}, {_ms(one['ours_median_s'])}), "
             f"n={one['rounds_count']} each")]


def _same_rows(one: dict[str, float]) -> list[Row]:
    return [("differences claimed between equal arms", "2 of 20",
             f"{one['claimed_count']} of {one['experiments_count']} experiments of {one['blocks_count']} blocks")]


def _journal_rows(one: dict[str, float]) -> list[Row]:
    return [(f"a journal of {one['samples']:,} samples as a frame", "2 s",
             f"{one['both_s']:.2f} s of processor time ({one['read_s']:.2f} read, {one['frame_s']:.2f} frame)"),
            ("an append at its start, at its end", "the same",
             f"{_ms(one['append_at_start_s'])}, {_ms(one['append_at_end_s'])} of processor time")]


_ROWS: dict[str, Callable[[dict[str, float]], list[Row]]] = {
    "overhead": _overhead_rows, "hyperfine": _agreement_rows, "aa": _same_rows, "journal": _journal_rows}


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise UnibeamError(f"There is no part {unknown[0]!r}.", f"The parts are {', '.join(PARTS)}.")
    lab = Lab()
    lab.build("ruler", text=PROGRAM, target="release")
    found: dict[str, Any] = json.loads(DATA.read_text()) if DATA.exists() else {}
    for name in names or list(PARTS):
        found[name] = PARTS[name](lab)
        print(name, json.dumps(found[name]), file=sys.stderr)
    found |= {"host": fingerprint().facts(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    DATA.write_text(json.dumps(found, indent=1) + "\n")
    page = ROOT / "BENCHMARKS.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(text[:text.index(BEGIN)] + section(found) + text[text.index(END) + len(END):], encoding="utf-8")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UnibeamError as error:
        print(f"bench_measuring: {error}", file=sys.stderr)
        sys.exit(1)
