"""Hostile input guided by coverage, for every reader that is Python (tests/fuzz/guided.py)."""

from __future__ import annotations

import os
import sys

from tortures import ROOT, Options

sys.path.insert(0, str(ROOT))

from tests.fuzz import guided, runner

SECONDS = 20.0
"""Processor time of each target."""

HEADS = (("inputs", 9), ("branches: seeds", 17), ("all", 6), ("kept", 6), ("slowest", 10), ("peak", 8))


def run(options: Options) -> bool:
    """Guide every target for its time. ``only`` is the number of one target, in the order in which they are listed.
    What is found is kept as ``input`` does."""
    guided.check()
    os.environ["UNIBEAM_HOME"] = "/nonexistent"  # Nothing here may look at what the user has.
    every = guided.guidable()
    names = [every[number] for number in options.only] or every
    print(f"    {'target':<24}{''.join(f'{head:>{width}}' for head, width in HEADS)}  faults")
    inputs = faults = 0
    for name, reached in guided.run(names, options.seconds or SECONDS, options.seed):
        report = reached.judged
        inputs, faults = inputs + reached.inputs, faults + len(report.findings)
        print(
            f"    {name:<24}{reached.inputs:>9}{reached.before:>17}{reached.after:>6}{reached.kept:>6}"
            f"{report.slowest * 1000:>7.0f} ms{report.peak_bytes >> 20:>5} MB  {len(report.findings)}",
            flush=True,
        )
        for path, found in zip(runner.save(report), report.findings, strict=True):
            print(f"        {found.fault}\n            kept as {path.relative_to(ROOT)}", flush=True)
    print(f"    {inputs} inputs over {len(names)} targets, {faults} faults")
    return faults == 0
