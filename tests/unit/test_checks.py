"""Concerns before and after a measurement: what was seen, the likely cause, what to do."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.arms import Arm
from unibeam_nb.bench.checks import HostState, after, before, outliers, read_state
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
    state = read_state(["web"], tmp_path)
    assert (state.load1, state.governors, state.available_bytes, state.swap_used_bytes, state.machines) == \
        (1.25, ("powersave",), 1024000, 409600, ("web",))
    assert read_state().available_bytes > 0


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
