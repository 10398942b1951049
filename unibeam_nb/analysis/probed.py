"""Tables of what was measured besides boots: answers under load, several copies at once, the least memory. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from unibeam_nb.analysis.measures import format_latency, format_rate
from unibeam_nb.bench import Experiment
from unibeam_nb.model import TRY, Sample
from unibeam_nb.units import format_bytes, format_seconds


@dataclass(frozen=True)
class Probed:
    """One table: ``rows`` of as many texts as ``head`` has; all columns but the first are numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: str


def probed_tables(exp: Experiment) -> list[Probed]:
    """A table for every kind of measurement of this experiment's plan besides boots, medians over its blocks."""
    makers = {"steady": _steady, "density": _density, "minimum": _minimum}
    return [makers[kind](exp) for kind in exp.plan.kinds if kind in makers]


def _of(exp: Experiment, kind: str, case: str) -> list[Sample]:
    return [s for s in exp.measured_of(kind) if s.case == case]


def _median(samples: Sequence[Sample], key: str, written: Callable[[float], str]) -> str:
    found = [s.values[key] for s in samples if key in s.values]
    return written(median(found)) if found else "-"


def _steady(exp: Experiment) -> Probed:
    columns: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("requests", "requests_per_s", format_rate), ("p50", "latency_p50_s", format_latency),
        ("p90", "latency_p90_s", format_latency), ("p99", "latency_p99_s", format_latency),
        ("errors", "errors_count", lambda v: f"{v:.0f}"), ("CPU per answer", "cpu_per_request_s", format_latency),
        ("CPU when idle", "idle_cpu_ratio", lambda v: f"{v:.2%}"))
    rows = []
    for case in exp.plan.names:
        own = _of(exp, "steady", case)
        rows.append((case, str(len(own)), *(_median(own, key, written) for _, key, written in columns)))
    first = next(iter(exp.measured_of("steady")), None)
    return Probed("Under load", ("arm", "n", *(title for title, _, _ in columns)), tuple(rows),
                  f"{exp.plan.connections} connections for {exp.plan.load_s} s. {shared_cores(first)}".strip())


def shared_cores(sample: Sample | None) -> str:
    """A sentence about how load generator and machine share the host."""
    if sample is None:
        return ""
    if sample.values.get("load_cores_count"):
        cores = int(sample.values["server_cores_count"])
        return f"The load had a core of its own, the machine {'the other one' if cores == 1 else f'{cores} others'}."
    return "Load and machine shared the same cores: compare arms with each other only."


def _density(exp: Experiment) -> Probed:
    rows = []
    for case in exp.plan.names:
        for copies in sorted(exp.plan.copies):
            own = [s for s in _of(exp, "density", case) if s.values["copies_count"] == copies]
            rows.append((case, str(copies), *(_median(own, key, format_bytes) for key in
                                              ("each_bytes", "total_bytes", "overhead_bytes", "host_kernel_bytes")),
                         _median(own, "all_up_s", format_seconds)))
    return Probed("Many copies at once", ("arm", "copies", "each", "all", "of which run them", "kernel's own besides",
                                          "all up in"), tuple(rows),
                  "PSS of all copies summed up: what they share counts once.")


def _minimum(exp: Experiment) -> Probed:
    rows = []
    for case in exp.plan.names:
        own, tries = _of(exp, "minimum", case), [s for s in exp.samples if s.kind == TRY and s.case == case]
        rows.append((case, _median(own, "least_bytes", lambda v: f"{v / (1 << 20):.0f} MiB"), str(len(tries))))
    return Probed("Least memory", ("arm", f"least memory to {exp.until}", "boots to find it"), tuple(rows),
                  "Three boots reached the mark in it, two in 1 MiB less did not.")
