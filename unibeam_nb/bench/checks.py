"""What a careful person would notice about a measurement, before it starts and after it ended.

Each concern says what was seen, the likely cause, and what to do. There are few of them on purpose: a
warning that is always there is read by nobody. Nothing here changes a sample; outliers are marked by
:func:`outliers` and never dropped.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.bench.plan import Plan
from unibeam_nb.model import Sample
from unibeam_nb.units import format_bytes, format_seconds

ENOUGH = 6
"""The least number of samples for which a 95 % interval of a median exists: the range of n samples covers
the median with probability 1 - 2^(1-n), which is 94 % for five and 97 % for six."""

OUTLIER_Z = 3.5
"""Modified z-score above which a sample is called an outlier (Iglewicz and Hoaglin 1993)."""

SPREAD = 0.15
"""Interquartile range over median above which an arm is called noisy."""

DRIFT = 0.10
"""Change over the experiment, relative to the median, above which an arm is said to drift."""


@dataclass(frozen=True)
class Concern:
    """What was seen, its likely cause, and what to do; full sentences. ``arm`` is empty for the host's."""

    seen: str
    cause: str
    remedy: str
    arm: str = ""

    def __str__(self) -> str:
        return f"{self.seen} {self.cause} {self.remedy}"


@dataclass(frozen=True)
class HostState:
    """What matters about a host at one moment. ``governors`` are the CPU frequency governors in use
    (empty where the host does not tell, as in most virtual machines); ``machines`` are the names of the
    unibeam machines that run."""

    load1: float
    cores: int
    governors: tuple[str, ...]
    available_bytes: int
    swap_used_bytes: int
    machines: tuple[str, ...] = ()


def read_state(machines: Sequence[str] = (), root: Path = Path("/")) -> HostState:
    """The host's state now."""
    meminfo = {}
    for line in (root / "proc/meminfo").read_text(encoding="utf-8").splitlines():
        key, _, rest = line.partition(":")
        meminfo[key] = int(rest.split()[0]) * 1024
    governors = {path.read_text(encoding="utf-8").strip()
                 for path in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")}
    load1 = float((root / "proc/loadavg").read_text(encoding="utf-8").split()[0])
    return HostState(load1, len(os.sched_getaffinity(0)), tuple(sorted(governors)),
                     meminfo.get("MemAvailable", 0), meminfo.get("SwapTotal", 0) - meminfo.get("SwapFree", 0),
                     tuple(machines))


def before(state: HostState, plan: Plan) -> list[Concern]:
    """What speaks against measuring on this host now."""
    found = []
    if state.load1 > max(0.5, 0.4 * state.cores):
        found.append(Concern(
            f"The load average is {state.load1:.1f} on {state.cores} cores.", "Something else is running on this host.",
            "Wait for it to end, or expect wider intervals."))
    slow = [g for g in state.governors if g not in ("performance", "schedutil")]
    if slow:
        found.append(Concern(
            f"The CPU frequency governor is {slow[0]}.", "Short runs may end before the CPU has sped up.",
            "Use the performance governor: sudo cpupower frequency-set -g performance"))
    most = max(int(case.value("mem_mb", str(plan.mem_mb))) for case in plan.cases)
    needed = int(most * 1.5) << 20
    if any(arm.runner == "qemu" for arm in plan.arms) and state.available_bytes < needed:
        found.append(Concern(
            f"Only {format_bytes(state.available_bytes)} of memory are available for machines of {most} MiB.",
            "The host will reclaim or swap memory during a boot.", "Close other programs, or give less with mem_mb."))
    if state.swap_used_bytes > 64 << 20:
        found.append(Concern(
            f"{format_bytes(state.swap_used_bytes)} of swap are in use.", "The host is, or was, short of memory.",
            "Close other programs; memory that was swapped out is not counted as resident."))
    if state.machines:
        names = ", ".join(state.machines[:4]) + (" and more" if len(state.machines) > 4 else "")
        found.append(Concern(
            f"Other unibeam machines run on this host: {names}.", "They take CPU time from the measured ones.",
            "Stop them first: %unibeam stop --all"))
    return found


def outliers(values: Sequence[float]) -> list[bool]:
    """Which values are far from the median, by modified z-score: 0.6745 |x - median| / MAD above 3.5.

    False for all where fewer than ENOUGH values are given, or more than half of them are equal.
    """
    if len(values) < ENOUGH:
        return [False] * len(values)
    middle = statistics.median(values)
    spread = statistics.median(abs(value - middle) for value in values)
    return [spread > 0 and 0.6745 * abs(value - middle) / spread > OUTLIER_Z for value in values]


def after(samples: Sequence[Sample], plan: Plan, cores: int) -> list[Concern]:
    """What a reader of these samples, taken on a host with ``cores``, should know."""
    found: list[Concern] = []
    for arm in plan.names:
        own = [s for s in samples if s.case == arm and not s.warmup and s.kind == "boot"]
        good = sorted((s for s in own if s.ok), key=lambda s: s.order)
        found += _failures(arm, own)
        if good:
            found += _about(arm, [s.marks[plan.until] for s in good])
    busy = [s for s in samples if not s.warmup and s.load1 > cores + 1]
    if len(busy) * 5 > len(samples):
        found.append(Concern(
            f"The load average was above the number of cores before {len(busy)} of {len(samples)} boots.",
            "Something else was running on this host.", "Measure again on a quieter host."))
    return found


def _failures(arm: str, own: Sequence[Sample]) -> list[Concern]:
    failed = [s for s in own if not s.ok]
    if not failed:
        return []
    return [Concern(f"{len(failed)} of {len(own)} boots of {arm} failed.",
                    f"The last one said: {failed[-1].error.splitlines()[0] if failed[-1].error else 'nothing'}",
                    "It has no figures." if len(failed) == len(own) else
                    "Its figures describe the boots that succeeded only.", arm)]


def _about(arm: str, seconds: Sequence[float]) -> list[Concern]:
    """Concerns about one arm's times, given in the order in which they were taken."""
    found = []
    count, middle = len(seconds), statistics.median(seconds)
    if count < ENOUGH:
        found.append(Concern(
            f"{arm} has {count} sample{'s' if count > 1 else ''}.",
            f"A 95 % interval of a median needs {ENOUGH} at least.",
            "The range is shown instead; run more blocks.", arm))
        return found
    far = [value for value, marked in zip(seconds, outliers(seconds), strict=True) if marked]
    if far:
        found.append(Concern(
            f"{len(far)} of {count} boots of {arm} {'is an outlier' if len(far) == 1 else 'are outliers'} "
            f"(up to {format_seconds(max(far))}, median {format_seconds(middle)}).",
            "Probably something else ran on the host at that time.",
            "They are marked and kept; the median hardly feels them.", arm))
    quartiles = statistics.quantiles(seconds, n=4)
    spread = (quartiles[2] - quartiles[0]) / middle
    if spread > SPREAD:
        found.append(Concern(
            f"The middle half of the boots of {arm} spreads over {spread:.0%} of their median.",
            "The host is noisy, or the arm behaves in two ways.", "Look at its points, and run more blocks.", arm))
    return found + _drift(arm, seconds, middle)


def _drift(arm: str, seconds: Sequence[float], middle: float) -> list[Concern]:
    """A trend over time: Spearman's rank correlation says that there is one, Theil's slope how much."""
    from scipy import stats

    if len(set(seconds)) < 2:
        return []
    turns = list(range(len(seconds)))
    if stats.spearmanr(turns, seconds).pvalue > 0.01:
        return []
    change = float(stats.theilslopes(seconds, turns).slope) * (len(seconds) - 1) / middle
    if abs(change) < DRIFT:
        return []
    return [Concern(f"The boots of {arm} became {abs(change):.0%} {'slower' if change > 0 else 'faster'} in the course "
                    "of the experiment.", "The host warmed up, filled up, or changed its load.",
                    "Comparisons are made within blocks, which cancels most of it; measure again to be sure.", arm)]
