"""When an experiment has seen enough: fixed looks, the width alone, and what that does to the intervals."""

from __future__ import annotations

import dataclasses
import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.analysis.intervals import ratio_interval
from unibeam_nb.arms import Arm
from unibeam_nb.bench.plan import Plan, Stop, make_plan
from unibeam_nb.bench.schedule import schedule
from unibeam_nb.bench.stopping import blocks_wanted, looks, taken_looks
from unibeam_nb.model import Sample

ARMS = tuple(map(Arm.parse, ("oci+scratch@crun", "release@process")))
CRUN, BARE = map(str, ARMS)
STOP = Stop(0.10, BARE, at_most=40, at_least=10)
PLAN = make_plan("hello", ARMS, blocks=40, warmup=1, until="app", stop=STOP)


def bounds(first: list[float], second: list[float]) -> tuple[float, float, float]:
    found = ratio_interval(first, second)
    return found.value, found.low, found.high


def samples(plan: Plan, blocks: int, seed: int, noise: float) -> list[Sample]:
    chance = random.Random(seed)
    return [Sample(slot.case.label, slot.block, slot.order, slot.warmup, True, "", {
        "spawn": 0.0, "app": (1.2 if slot.case.label == CRUN else 1.0) * chance.lognormvariate(0, noise)})
        for slot in schedule(plan) if slot.block < plan.warmup + blocks]


@given(st.integers(6, 100), st.integers(0, 300))
def test_looks_are_fixed_rise_and_end_at_the_cap(least: int, more: int) -> None:
    found = looks(Stop(0.05, BARE, at_most=least + more, at_least=least))
    assert found[0] == least
    assert found[-1] == least + more
    assert all(a < b for a, b in itertools.pairwise(found))
    assert len(found) <= 12


def test_the_usual_looks_are_few() -> None:
    assert looks(Stop(0.05, BARE, at_most=60)) == [10, 15, 22, 33, 50, 60]


def test_nothing_is_looked_at_before_the_first_look_is_whole() -> None:
    whole = samples(PLAN, 10, 1, 0.01)
    assert taken_looks(PLAN, whole[:-1], bounds) == []
    assert blocks_wanted(PLAN, []) == 10
    (look,) = taken_looks(PLAN, whole, bounds)
    assert look.enough
    assert look.name == CRUN
    assert blocks_wanted(PLAN, [look]) == 10
    assert str(look).startswith(f"Look after 10 blocks: the widest interval, of {CRUN}, spans ")
    assert str(look).endswith("% of its ratio, wanted below 10.0%. Enough.")


def test_a_noisy_arm_is_measured_until_the_cap() -> None:
    done = taken_looks(PLAN, samples(PLAN, 40, 1, 0.8), bounds)
    assert [look.blocks for look in done] == [10, 15, 22, 33, 40]
    assert not any(look.enough for look in done)
    assert [blocks_wanted(PLAN, done[:count]) for count in range(6)] == [10, 15, 22, 33, 40, 40]


def test_what_was_decided_is_decided_again_with_more_samples() -> None:
    first = taken_looks(PLAN, samples(PLAN, 40, 3, 0.05), bounds)
    until = first[-1].blocks
    assert until < 40
    assert taken_looks(PLAN, samples(PLAN, until, 3, 0.05), bounds) == first
    assert taken_looks(PLAN, samples(PLAN, 40, 3, 0.05), bounds, first) == []


def test_an_arm_that_was_given_up_is_not_waited_for() -> None:
    failing = [dataclasses.replace(s, ok=False, marks={}) if s.arm == CRUN else s
               for s in samples(PLAN, 10, 1, 0.01) if s.arm == BARE or s.block < 3]
    (look,) = taken_looks(PLAN, failing, bounds)
    assert (look.width, look.last) == (None, True)
    assert blocks_wanted(PLAN, [look]) == 10


def test_the_widest_interval_of_all_ratios_decides() -> None:
    arms = (*ARMS, Arm.parse("oci+slim@crun"))
    plan = make_plan("hello", arms, blocks=40, warmup=0, until="app", stop=STOP)
    noisy = [dataclasses.replace(s, marks={"app": random.Random(s.order).lognormvariate(0, 1)})
             if s.arm == "oci+slim@crun" else s for s in samples(plan, 10, 1, 0.001)]
    (look,) = taken_looks(plan, noisy, bounds)
    assert (look.name, look.enough) == ("oci+slim@crun", False)


def stopped_experiments(count: int, seed: int, noise: float, truth: float) -> tuple[float, float, float]:
    """Simulated experiments under the rule: how often the final interval held the truth, the mean error of the
    logarithm of the ratio, and the mean number of blocks."""
    chance = np.random.default_rng(seed)
    held, errors, used = 0, [], []
    for _ in range(count):
        first = truth * chance.lognormal(0, noise, STOP.at_most)
        second = chance.lognormal(0, noise, STOP.at_most)
        for blocks in looks(STOP):
            ratio, low, high = bounds(first[:blocks].tolist(), second[:blocks].tolist())
            if (high - low) / ratio < STOP.ratio_within:
                break
        held += low <= truth <= high
        errors.append(float(np.log(ratio / truth)))
        used.append(blocks)
    return held / count, float(np.mean(errors)), float(np.mean(used))


@pytest.mark.parametrize("truth", [1.0, 1.3])
def test_stopping_on_width_moves_no_ratio_and_costs_little_coverage(truth: float) -> None:
    held, error, used = stopped_experiments(1500, 11, 0.09, truth)
    assert 12 < used < 35, "the rule stops at various looks, or this would show nothing"
    # The standard error of the mean of 1,500 is below 0.001 here.
    assert abs(error) < 0.004
    assert held > 0.92
