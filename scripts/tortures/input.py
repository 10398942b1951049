"""Hostile input for every reader of bytes and text that come from elsewhere (tests/fuzz)."""

from __future__ import annotations

import os
import sys

from tortures import ROOT, Options

sys.path.insert(0, str(ROOT))

from tests.fuzz import runner
from tests.fuzz.targets import TARGETS

COUNT = 1_050_000
"""Inputs over all targets."""

HEADS = (("inputs", 9), ("seeds", 7), ("taken", 7), ("per s", 8), ("slowest", 10), ("grown", 8), ("peak", 8))


def run(options: Options) -> bool:
    """Give every target its share of the inputs. ``only`` is the number of one target, in the order in which they are
    listed. What is found is kept in tests/fuzz/findings, where the unit tests take it up."""
    os.environ["UNIBEAM_HOME"] = "/nonexistent"  # Nothing here may look at what the user has.
    names = [list(TARGETS)[number] for number in options.only] or list(TARGETS)
    heads = "".join(f"{head:>{width}}" for head, width in HEADS)
    print(f"    {'target':<24}{heads}  faults")
    inputs = faults = 0
    for name, count in runner.shares(options.count or COUNT, names).items():
        report = runner.run(name, count, options.seed)
        inputs, faults = inputs + report.inputs, faults + len(report.findings)
        print(
            f"    {name:<24}{report.inputs:>9}{report.seeds:>7}{report.taken / max(1, report.inputs):>7.0%}"
            f"{report.inputs / max(report.cpu, 1e-9):>8.0f}{report.slowest * 1000:>7.0f} ms"
            f"{report.grown_bytes >> 20:>5} MB{report.peak_bytes >> 20:>5} MB  {len(report.findings)}",
            flush=True,
        )
        for path, found in zip(runner.save(report), report.findings, strict=True):
            print(
                f"        input {found.index}: {found.fault}\n            kept as {path.relative_to(ROOT)}", flush=True
            )
    print(f"    {inputs} inputs over {len(names)} targets, {faults} faults")
    return faults == 0
