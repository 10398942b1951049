"""What a careful person would notice about a measurement: before it starts, during it, and after it ended.

Each concern says what was seen, the likely cause, and what to do. There are few of them on purpose: a
warning that is always there is read by nobody. Nothing here changes a sample; outliers are marked by
:func:`outliers` and never dropped.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unibeam_nb.bench.hoststate import HostState
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

STEAL = 0.02
"""Share of the processor time above which it matters that the hypervisor took it away."""

ORDER, ORDER_P = 0.05, 0.01
"""Change by the order of boots, relative to the median, above which it is told, and how sure it must be."""

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


def before(state: HostState, plan: Plan) -> list[Concern]:
    """What speaks against measuring on this host now."""
    found = []
    if state.load1 > max(0.5, 0.4 * state.cores):
        found.append(Concern(
            f"The load average is {state.load1:.1f} on {state.cores} core{'' if state.cores == 1 else 's'}.",
            "Something else is running on this host.",
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
    found += _taken_away(state)
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


def _taken_away(state: HostState) -> list[Concern]:
    """Processor time that this host, or this session, does not get."""
    found = []
    if state.steal > STEAL:
        found.append(Concern(
            f"The hypervisor takes {state.steal:.0%} of this host's processor time away.",
            "This host is a virtual machine, and its neighbours are busy.",
            "Measure at another time, or on a host of your own; intervals will be wider."))
    if state.throttled:
        found.append(Concern(
            f"The processors were throttled {_times(state.throttled)} in half a second.",
            "They are too hot, or this session has used up its share.", "Let the host cool down, or raise the share."))
    if state.quota is not None and state.quota < state.cores:
        found.append(Concern(
            f"This session may use {state.quota:g} of {state.cores} processors.",
            "It runs in a container with a quota, which stops everything for a while when it is used up.",
            "Raise the quota, or read the figures as those of so small a host."))
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
    return found + _during(samples, cores) + _order(samples, plan)


def _during(samples: Sequence[Sample], cores: int) -> list[Concern]:
    """What the host did while it measured."""
    found, own = [], [s for s in samples if not s.warmup]
    busy = [s for s in own if s.load1 > cores + 1]
    if len(busy) * 5 > len(samples):
        found.append(Concern(
            f"The load average was above the number of cores before {len(busy)} of {len(samples)} boots.",
            "Something else was running on this host.", "Measure again on a quieter host."))
    stolen = [s for s in own if s.values.get("steal_ratio", 0.0) > STEAL]
    if len(stolen) * 5 > len(own):
        most = max(s.values["steal_ratio"] for s in stolen)
        found.append(Concern(
            f"The hypervisor took up to {most:.0%} of the processor time away during {len(stolen)} of {len(own)} "
            "boots.",
            "This host is a virtual machine, and its neighbours were busy.", "Measure at another time, or elsewhere."))
    throttled = [s for s in own if s.values.get("throttled_count", 0.0) > 0]
    if throttled:
        found.append(Concern(
            f"The processors were throttled during {len(throttled)} of {len(own)} boots.",
            "They were too hot, or this session had used up its share of them.",
            "Cool the host or raise the share, and measure again: these boots waited."))
    hosts = {s.host for s in own if s.host}
    if len(hosts) > 1:
        found.append(Concern(
            f"The samples come from {len(hosts)} hosts.", "The experiment was spread over them.",
            "Arms are compared within one host only."))
    return found


def _order(samples: Sequence[Sample], plan: Plan) -> list[Concern]:
    """Whether it mattered when in its block a boot came, or after which other; in multiples of its arm's median."""
    good = sorted((s for s in samples if s.kind == "boot" and s.ok and not s.warmup and plan.until in s.marks),
                  key=lambda s: s.order)
    cases = {s.case for s in good}
    if len(cases) < 2 or len(good) < 2 * ENOUGH:
        return []
    middle = {case: statistics.median(s.marks[plan.until] for s in good if s.case == case) for case in cases}
    relative = {s.order: s.marks[plan.until] / middle[s.case] for s in good}
    return _place(good, relative) + _predecessor(samples, good, relative)


def _place(good: Sequence[Sample], relative: Mapping[int, float]) -> list[Concern]:
    """A trend within the blocks, by Spearman and Theil as in :func:`_drift`."""
    from scipy import stats

    places: dict[int, int] = {}
    counts: dict[int, int] = {}
    for s in good:
        places[s.order] = counts[s.block] = counts.get(s.block, -1) + 1
    turns, ratios = [places[s.order] for s in good], [relative[s.order] for s in good]
    if len(set(turns)) < 2 or len(set(ratios)) < 2 or stats.spearmanr(turns, ratios).pvalue > ORDER_P:
        return []
    change = float(stats.theilslopes(ratios, turns).slope) * max(turns)
    if abs(change) < ORDER:
        return []
    return [Concern(f"Boots late in a block took {_more(change)} than early ones.",
                    "Each boot leaves something behind: a hot processor, caches, memory still being given back.",
                    "The order is shuffled in every block, so no arm gains by it; the spread is wider than need be.")]


def _predecessor(samples: Sequence[Sample], good: Sequence[Sample], relative: Mapping[int, float]) -> list[Concern]:
    """An arm after which the others are slower or faster, by Mann and Whitney with Bonferroni's correction."""
    from scipy import stats

    before = {after.order: first.case for first, after in
              itertools.pairwise(sorted((s for s in samples if s.kind == "boot"), key=lambda s: s.order))}
    found = []
    rivals = sorted({before[s.order] for s in good if s.order in before})
    for rival in rivals:
        behind = [relative[s.order] for s in good if before.get(s.order) == rival]
        others = [relative[s.order] for s in good if s.order in before and before[s.order] != rival]
        if min(len(behind), len(others)) < ENOUGH or len({*behind, *others}) < 2:
            continue
        if stats.mannwhitneyu(behind, others).pvalue * len(rivals) > ORDER_P:
            continue
        change = statistics.median(behind) / statistics.median(others) - 1
        if abs(change) >= ORDER:
            found.append(Concern(
                f"Boots right after {rival} took {_more(change)} than others.",
                "It leaves the host in another state: caches, memory, or processes that still end.",
                "The order is shuffled, so every arm comes after it equally often.", rival))
    return found


def _more(change: float) -> str:
    return f"{abs(change):.0%} {'longer' if change > 0 else 'less time'}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


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
