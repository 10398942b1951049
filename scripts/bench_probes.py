"""What ``make bench`` measures besides boots: what the lean emulator gains and pays, the density, the least memory.

The journals go to ``notebooks/data/``, the tables into BENCHMARKS.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from unibeam_nb.analysis.intervals import ratio_interval
from unibeam_nb.bench import Experiment
from unibeam_nb.lab import Lab
from unibeam_nb.model import Sample
from unibeam_nb.units import format_bytes, format_seconds

LEAN = ("release@process", "release+lean@process", "oci+scratch@crun", "oci+scratch+lean@crun")
"""Each arm with the host's emulator, followed by its lean twin."""

DENSE = ("linux+tiny+shake+lean+resume@qemu", "oci+scratch@podman", "oci+scratch@crun",
         "oci+scratch+shake+lean@crun", "release@process")
LEAST = ("linux@qemu", "linux+tiny@qemu", "linux+tiny+shake+lean@qemu", "oci+scratch@podman", "oci+scratch@crun",
         "oci+scratch+shake+lean@crun")
COPIES = (1, 4, 16, 32)

BEGIN, END = "<!-- probes: made by make bench -->", "<!-- end of probes -->"

PROGRAMS = {"hello": "the quickstart's server, which does next to nothing",
            "work": "a server that computes for every answer (`scripts/work.erl`)"}


def measure(lab: Lab, hello: str, blocks: int) -> dict[str, Experiment]:
    """Build and measure everything; the experiments by the names that their journals get."""
    work = (Path(__file__).parent / "work.erl").read_text(encoding="utf-8")
    found = {}
    for name, text in (("hello", hello), ("work", work)):
        lab.build(name, text=text, ports=(8080,))
        found[f"{name}-steady"] = lab.bench(name, arms=LEAN[:1], against=LEAN[1:], blocks=blocks, warmup=1, http="/",
                                            kinds=("boot", "steady"), load_s=4)
    found["hello-density"] = lab.bench("hello", arms=DENSE[:1], against=DENSE[1:], blocks=1, warmup=0, http="/",
                                       mem_mb=64, kinds=("density",), copies=COPIES)
    found["hello-minimum"] = lab.bench("hello", arms=LEAST[:1], against=LEAST[1:], blocks=1, warmup=0, http="/",
                                       kinds=("minimum",))
    return found


def _value(key: str) -> Callable[[Sample], float]:
    return lambda sample: sample.values[key]


def _payload(sample: Sample) -> float:
    assert sample.memory is not None
    return float(sample.memory.payload)


MEASURES: tuple[tuple[str, str, Callable[[Sample], float], Callable[[float], str]], ...] = (
    ("boot to HTTP", "boot", lambda s: s.marks["http"], format_seconds),
    ("memory when ready", "boot", _payload, format_bytes),
    ("image, shipped", "boot", lambda s: float(s.shipped_bytes), format_bytes),
    ("requests per second", "steady", _value("requests_per_s"), lambda v: f"{v:,.0f}"),
    ("latency, median", "steady", _value("latency_p50_s"), lambda v: f"{v * 1000:.2f} ms"),
    ("latency, 99th percentile", "steady", _value("latency_p99_s"), lambda v: f"{v * 1000:.2f} ms"),
    ("processor time per answer", "steady", _value("cpu_per_request_s"), lambda v: f"{v * 1e6:.0f} µs"),
    ("idle, of one core", "steady", _value("idle_cpu_ratio"), lambda v: f"{v:.3%}"))
"""What the lean emulator changes: its name, the kind of sample, where it stands, and how it is written."""


def lean_table(exp: Experiment) -> str:
    """One row for each measure and place: host emulator, lean emulator, and the ratio within the blocks."""
    rows = []
    for host, lean in zip(LEAN[::2], LEAN[1::2], strict=True):
        for title, kind, read, written in MEASURES:
            by_block = [{s.block: read(s) for s in exp.measured_of(kind) if s.arm == arm} for arm in (host, lean)]
            blocks = sorted(set(by_block[0]) & set(by_block[1]))
            if not blocks:
                continue
            first, second = ([values[block] for block in blocks] for values in by_block)
            ratio = ratio_interval(second, first)
            rows.append((f"`{host}`", title, written(median(first)), written(median(second)),
                         f"{ratio.value:.2f} ({ratio.kind} {ratio.low:.2f} to {ratio.high:.2f})", str(len(blocks))))
    return _table(("arm", "measure", "host's emulator (JIT)", "lean", "lean / host", "n"), rows)


def density_table(exp: Experiment) -> str:
    """One row an arm: memory per copy for each number of copies."""
    rows = []
    for arm in exp.arms:
        cells = []
        for copies in exp.plan.copies:
            at = [s for s in exp.measured_of("density") if s.arm == arm and s.values["copies_count"] == copies]
            cells.append(f"{format_bytes(median(s.values['each_bytes'] for s in at))} "
                         f"({format_bytes(median(s.values['total_bytes'] for s in at))})" if at else "failed")
        rows.append((f"`{arm}`", *cells))
    return _table(("arm", *(f"{n} cop{'y' if n == 1 else 'ies'}: each (all)" for n in exp.plan.copies)), rows)


def minimum_table(exp: Experiment) -> str:
    """One row an arm: the least memory, and how many boots it took to find it."""
    found = {s.arm: s for s in exp.measured_of("minimum")}
    rows = [(f"`{arm}`", f"{found[arm].values['least_bytes'] / (1 << 20):.0f} MiB",
             f"{found[arm].values['tries_count']:.0f}") if arm in found else (f"`{arm}`", "failed", "")
            for arm in exp.arms]
    return _table(("arm", "least memory to HTTP", "boots"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def section(found: dict[str, Experiment]) -> str:
    """The part of BENCHMARKS.md between the markers."""
    parts = [BEGIN, "## What the lean emulator gains, and what it pays"]
    for name, what in PROGRAMS.items():
        exp = found[f"{name}-steady"]
        parts += [f"`{name}`: {what}. Load: {exp.plan.connections} connections for {exp.plan.load_s} s.",
                  lean_table(exp)]
    parts += ["## Memory of many copies", density_table(found["hello-density"]), "## Least memory",
              minimum_table(found["hello-minimum"]), END]
    return "\n\n".join(parts)
