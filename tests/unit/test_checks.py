"""Concerns before and after a measurement: what was seen, the likely cause, what to do."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.arms import Arm
from unibeam_nb.bench.checks import after, before, outliers
from unibeam_nb.bench.hoststate import Counters, HostState, read_counters, read_state
from unibeam_nb.bench.plan import make_plan
from unibeam_nb.model import Sample

PLAN = make_plan("hello", (Arm.parse("linux@qemu"),), blocks=10, until="app")
QUIET = HostState(0.1, 2, (), 8 << 30, 0)


def samples(seconds: list[float], *, load1: float = 0.5) -> list[Sample]:
    return [Sample("linux@qemu", i, i, False, True, "", {"spawn": 0.0, "app": s}, load1=load1)
            for i, s in enumerate(seconds)]


def steady(count: int, seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    return [1 + chance.uniform(-0.03, 0.03) for _ in range(count)]


def test_a_quiet_host_raises_no_concern() -> None:
    assert before(QUIET, PLAN) == []


def test_a_busy_host_is_told_with_cause_and_remedy() -> None:
    (concern,) = before(dataclasses.replace(QUIET, load1=1.9), PLAN)
    assert str(concern) == ("The load average is 1.9 on 2 cores. Something else is running on this host. "
                            "Wait for it to end, or expect wider intervals.")


def test_governor_memory_swap_and_other_machines_are_told() -> None:
    state = HostState(0.1, 2, ("powersave",), 200 << 20, 1 << 30, ("web", "db"))
    seen = [concern.seen for concern in before(state, PLAN)]
    assert seen == ["The CPU frequency governor is powersave.",
                    "Only 210 MB of memory are available for machines of 256 MiB.",
                    "1.07 GB of swap are in use.",
                    "Other unibeam machines run on this host: web, db."]


def test_memory_matters_only_where_a_virtual_machine_needs_it() -> None:
    bare = make_plan("hello", (Arm.parse("release@process"),))
    assert before(dataclasses.replace(QUIET, available_bytes=200 << 20), bare) == []


def test_the_state_of_a_host_is_read_from_its_files(tmp_path: Path) -> None:
    for name, text in {"proc/meminfo": "MemAvailable: 1000 kB\nSwapTotal: 500 kB\nSwapFree: 100 kB\n",
                       "proc/loadavg": "1.25 0.5 0.1 1/2 3\n",
                       "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
                       "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "powersave\n"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    state = read_state(["web"], tmp_path, seconds=0)
    assert (state.load1, state.governors, state.available_bytes, state.swap_used_bytes, state.machines) == \
        (1.25, ("powersave",), 1024000, 409600, ("web",))
    assert read_state(seconds=0).available_bytes > 0


def test_steady_samples_raise_no_concern() -> None:
    assert after(samples(steady(20)), PLAN, cores=2) == []


def test_too_few_samples_are_told() -> None:
    (concern,) = after(samples([1.0, 1.1, 1.2]), PLAN, cores=2)
    assert str(concern) == ("linux@qemu has 3 samples. A 95 % interval of a median needs 6 at least. "
                            "The range is shown instead; run more blocks.")


def test_an_outlier_is_told_and_marked() -> None:
    values = [*steady(11), 2.5]
    assert outliers(values) == [False] * 11 + [True]
    (concern,) = after(samples(values), PLAN, cores=2)
    assert concern.seen.startswith("1 of 12 boots of linux@qemu is an outlier (up to 2.50 s, median 1.0")


def test_a_wide_spread_is_told() -> None:
    found = after(samples([1.0, 2.0] * 6), PLAN, cores=2)
    assert [c.seen for c in found] == ["The middle half of the boots of linux@qemu spreads over 67% of their median."]


def test_a_drift_is_told_with_its_direction() -> None:
    rising = [value + 0.02 * turn for turn, value in enumerate(steady(20))]
    assert any("slower in the course of the experiment" in c.seen for c in after(samples(rising), PLAN, cores=2))
    falling = list(reversed(rising))
    assert any("faster in the course of the experiment" in c.seen for c in after(samples(falling), PLAN, cores=2))


def test_failed_boots_are_told() -> None:
    good = samples(steady(10))
    bad = dataclasses.replace(good[3], ok=False, marks={}, error="It ran out of memory.\n  Killed process 1")
    (concern,) = after([*good[:3], bad, *good[4:]], PLAN, cores=2)
    assert concern.seen == "1 of 10 boots of linux@qemu failed."
    assert concern.cause == "The last one said: It ran out of memory."


def test_a_load_above_the_cores_is_told() -> None:
    found = after(samples(steady(10), load1=5.0), PLAN, cores=2)
    assert [c.seen for c in found] == ["The load average was above the number of cores before 10 of 10 boots."]


def test_warm_up_is_not_judged() -> None:
    slow = [dataclasses.replace(s, warmup=True) for s in samples([9.0])]
    assert after([*slow, *samples(steady(10))], PLAN, cores=2) == []


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=30))
def test_at_most_half_of_any_values_are_outliers(values: list[float]) -> None:
    marked = outliers(values)
    assert len(marked) == len(values)
    assert sum(marked) * 2 <= len(values)


def test_time_that_the_hypervisor_takes_is_told() -> None:
    (concern,) = before(dataclasses.replace(QUIET, steal=0.12), PLAN)
    assert str(concern) == ("The hypervisor takes 12% of this host's processor time away. This host is a virtual "
                            "machine, "
                            "and its neighbours are busy. Measure at another time, or on a host of your own; intervals "
                            "will be wider.")


def test_throttling_and_a_quota_are_told() -> None:
    found = before(dataclasses.replace(QUIET, throttled=3, quota=1.5), PLAN)
    assert [str(c) for c in found] == [
        "The processors were throttled 3 times in half a second. They are too hot, or this session has used up its "
        "share. "
        "Let the host cool down, or raise the share.",
        "This session may use 1.5 of 2 processors. It runs in a container with a quota, which stops everything for a "
        "while "
        "when it is used up. Raise the quota, or read the figures as those of so small a host."]
    assert before(dataclasses.replace(QUIET, quota=2.0), PLAN) == []


def test_steal_and_throttling_are_counted_between_two_readings(tmp_path: Path) -> None:
    def write(stolen: int, idle: int, heat: int, quota: int) -> None:
        for name, text in {"proc/stat": f"cpu 10 0 10 {idle} 0 0 0 {stolen} 5 0\ncpu0 1 2\n",
                           "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": f"{heat}\n",
                           "sys/fs/cgroup/cpu.stat": f"usage_usec 5\nnr_periods 9\nnr_throttled {quota}\n",
                           "sys/fs/cgroup/cpu.max": "150000 100000\n", "proc/loadavg": "0.1 0 0 1/2 3\n"}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    write(0, 0, 2, 5)
    first = read_counters(tmp_path)
    assert first == Counters(20, 0, 7)
    state = read_state((), tmp_path, seconds=0.5, sleep=lambda _: write(20, 60, 3, 7))
    assert (state.steal, state.throttled, state.quota) == (0.25, 3, 1.5)
    assert read_counters(tmp_path).since(first) == {"steal_ratio": 0.25, "throttled_count": 3.0}
    assert read_counters(tmp_path / "nowhere") == Counters(0, 0, 0)
    assert first.since(first) == {"steal_ratio": 0.0, "throttled_count": 0.0}
    assert read_counters().ticks > 0


def test_what_the_host_kept_from_the_boots_is_told() -> None:
    taken = [dataclasses.replace(s, values={"steal_ratio": 0.08 if s.order < 4 else 0.0}) for s in samples(steady(10))]
    assert [str(c) for c in after(taken, PLAN, cores=2)] == [
        "The hypervisor took up to 8% of the processor time away during 4 of 10 boots. This host is a virtual "
        "machine, and "
        "its neighbours were busy. Measure at another time, or elsewhere."]
    hot = [dataclasses.replace(s, values={"throttled_count": float(s.order == 3)}) for s in samples(steady(10))]
    assert [str(c) for c in after(hot, PLAN, cores=2)] == [
        "The processors were throttled during 1 of 10 boots. They were too hot, or this session had used up its "
        "share of "
        "them. Cool the host or raise the share, and measure again: these boots waited."]
    spread = [dataclasses.replace(s, host=f"h{s.order % 3}") for s in samples(steady(10))]
    assert [str(c) for c in after(spread, PLAN, cores=2)] == [
        "The samples come from 3 hosts. The experiment was spread over them. Arms are compared within one host only."]


ORDERED = make_plan("hello", tuple(map(Arm.parse, ("linux@qemu", "release@process", "oci+scratch@crun"))), blocks=20,
                    until="app")


def shuffled(slow: Callable[[int, str], float], seed: int = 3) -> list[Sample]:
    """Twenty blocks of three arms in random order; ``slow(place, before)`` multiplies a boot's time."""
    chance, made = random.Random(seed), []
    for block in range(20):
        for place, arm in enumerate(chance.sample([str(a) for a in ORDERED.arms], 3)):
            before = made[-1].arm if made else ""
            seconds = (1 + len(arm)) * chance.uniform(0.98, 1.02) * slow(place, before)
            made.append(Sample(arm, block, len(made), False, True, "", {"spawn": 0.0, "app": seconds}))
    return made


def test_an_effect_of_the_order_is_told_and_chance_is_not() -> None:
    assert after(shuffled(lambda place, before: 1.0), ORDERED, cores=2) == []
    late = [c for c in after(shuffled(lambda place, before: 1 + 0.05 * place), ORDERED, cores=2) if "late" in c.seen]
    assert [str(c) for c in late] == [
        "Boots late in a block took 9% longer than early ones. Each boot leaves something behind: a hot processor, "
        "caches, "
        "memory still being given back. The order is shuffled in every block, so no arm gains by it; the spread is "
        "wider "
        "than need be."]


def test_an_arm_that_slows_down_the_next_one_is_named() -> None:
    found = after(shuffled(lambda place, before: 1.12 if before == "linux@qemu" else 1.0), ORDERED, cores=2)
    told = [c for c in found if c.seen.startswith("Boots right after linux@qemu took 1")]
    assert len(told) == 1
    assert told[0].arm == "linux@qemu"
    assert str(told[0]).endswith("% longer than others. It leaves the host in another state: caches, memory, or "
                                 "processes "
                                 "that still end. The order is shuffled, so every arm comes after it equally often.")


def test_orders_without_effect_are_told_in_one_of_twenty_experiments_at_most() -> None:
    told = sum(any("Boots" in c.seen for c in after(shuffled(lambda place, before: 1.0, seed), ORDERED, cores=2))
               for seed in range(100))
    assert told <= 5
