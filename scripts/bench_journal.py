"""How long a journal of 100,000 samples takes to load into a frame, and whether appending stays constant-time.

    scripts/bench_journal.py [SAMPLES]

Prints one JSON object: seconds to read the journal, to make the frame, both together (median of three), and the
seconds that an append takes at the start and at the end of the journal (median of 200; each one is synced to disk).
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from unibeam_nb.analysis.frames import samples_frame
from unibeam_nb.arms import Arm
from unibeam_nb.bench.journal import Journal, load_experiment
from unibeam_nb.bench.plan import Factor, make_plan
from unibeam_nb.bench.records import sample_record
from unibeam_nb.bench.schedule import Slot, schedule
from unibeam_nb.jsonable import dump, to_json
from unibeam_nb.model import Memory, Part, Sample

ARMS = ("linux@qemu", "linux+tiny@qemu", "oci+scratch@podman", "oci+slim@podman", "release@process")
PARTS = [Part(name, 1_000_000 + index) for index, name in enumerate(
    ("linux kernel", "init", "libraries", "erts", "kernel", "stdlib", "hello", "configuration", "base"))]
MARKS = ("vmm", "kernel", "init", "beam", "app", "http")


def sample_of(slot: Slot, chance: random.Random) -> Sample:
    """A sample of the size and shape that a real boot leaves."""
    at = [round(0.1 * place + chance.random() / 10, 6) for place in range(1, len(MARKS) + 1)]
    marks = {"spawn": 0.0} | dict(zip(MARKS, at, strict=True))
    values = {"harness_s": 0.012, "settle_s": 0.25, "stop_s": 0.031, "mark_lag_s": 0.0004,
              "cgroup_current_bytes": 30_000_000, "cgroup_peak_bytes": 31_000_000}
    return Sample(slot.case.label, slot.block, slot.order, slot.warmup, True, "2026-01-02T03:04:05+00:00", marks,
                  Memory(30_000_000 + slot.order, 1_000_000, 19_000_000), 5, 9, tuple(PARTS), "a" * 64, "b" * 64,
                  "tcg" if "qemu" in slot.case.label else "native", None, 2, "0" * 12, "", 0.5,
                  factors=dict(slot.case.factors), values=values)


def write(path: Path, samples: int) -> list[Slot]:
    """A journal of so many samples, in one go; the slots that follow it."""
    blocks = max(1, min(10_000, samples // len(ARMS) // 2))
    plan = make_plan("hello", tuple(map(Arm.parse, ARMS)), blocks=blocks, warmup=1, until="http", factors=(
        Factor("vcpus", ("1", "2")),))
    images = {case.name: {"target": "linux", "flavour": "", "sha256": "a" * 64, "release_sha256": "b" * 64,
                          "shipped_bytes": 5, "unpacked_bytes": 9, "parts": to_json(PARTS), "arm": case.label}
              for case in plan.cases}
    header = {"name": "large", "date": "2026-01-02T03:04:05+00:00", "plan": to_json(plan), "host": {}, "host_id": "h",
              "tools": {}, "images": images}
    Journal.create(path, header).close()
    slots, chance = schedule(plan), random.Random(1)
    with path.open("a", encoding="utf-8") as stream:
        stream.writelines(dump(sample_record(sample_of(slot, chance), images)) + "\n" for slot in slots[:samples])
    return slots[samples:samples + 200] or slots[-200:]


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def append_seconds(path: Path, slots: list[Slot]) -> float:
    chance = random.Random(2)
    with Journal.resume(path) as journal:
        return statistics.median(seconds(lambda slot=slot: journal.append(sample_of(slot, chance)))  # type: ignore[misc]
                                 for slot in slots)


def main(samples: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        few, many = Path(directory) / "few.jsonl", Path(directory) / "many.jsonl"
        following = write(few, 100)
        at_start = append_seconds(few, following)
        following = write(many, samples)
        bytes_ = many.stat().st_size
        reads, frames = [], []
        for _ in range(3):
            reads.append(seconds(lambda: load_experiment(many)))
            exp = load_experiment(many)
            frames.append(seconds(lambda exp=exp: samples_frame(exp)))  # type: ignore[misc]
        both = [a + b for a, b in zip(reads, frames, strict=True)]
        print(json.dumps({
            "samples": samples, "journal_bytes": bytes_, "read_s": round(statistics.median(reads), 3),
            "frame_s": round(statistics.median(frames), 3), "both_s": round(statistics.median(both), 3),
            "append_at_start_s": round(at_start, 6), "append_at_end_s": round(append_seconds(many, following), 6)}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
