"""Intervals that hold what they promise, comparisons that refuse what cannot be compared."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest

from unibeam_nb.analysis.stats import (
    Interval,
    compare,
    comparisons,
    median_interval,
    ratio_interval,
    refuse_mixed,
    sentence,
)
from unibeam_nb.arms import Arm
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.bench.plan import make_plan
from unibeam_nb.errors import BenchError
from unibeam_nb.jsonable import to_json
from unibeam_nb.model import Sample

ARMS = ("linux@qemu", "oci+scratch@podman", "release@process")
BASE = {"linux@qemu": 4.0, "oci+scratch@podman": 0.5, "release@process": 0.4}


def experiment(blocks: int = 10, accelerator: str = "kvm", *, fail: str = "") -> Experiment:
    """Blocks in which the host is slow and fast as a whole, which pairing must cancel."""
    plan = make_plan("hello", tuple(map(Arm.parse, ARMS)), blocks=blocks, warmup=0, until="app")
    chance = random.Random(4)
    samples = []
    for block in range(blocks):
        mood = chance.uniform(0.7, 1.6)
        for arm in ARMS:
            marks = {"spawn": 0.0, "app": BASE[arm] * mood * chance.uniform(0.98, 1.02)}
            kind = accelerator if "qemu" in arm else "native"
            samples.append(Sample(arm, block, len(samples), False, arm != fail, "", marks, accelerator=kind, host="h"))
    return Experiment("night", Path("x"), {"plan": to_json(plan)}, tuple(samples))


def test_the_interval_of_a_median_is_the_same_every_time() -> None:
    chance = random.Random(1)
    values = [chance.gauss(10, 1) for _ in range(20)]
    one = median_interval(values, 7)
    assert one == median_interval(values, 7)
    assert one.value == float(np.median(values))
    assert one.low < one.value < one.high
    assert (one.n, one.kind) == (20, "95 %")


def test_few_values_get_their_range_and_it_is_called_so() -> None:
    assert median_interval([3.0, 1.0, 2.0], 1) == Interval(2.0, 1.0, 3.0, 3)
    assert median_interval([3.0, 1.0, 2.0], 1).kind == "range"
    assert not median_interval([1.0] * 5, 1).enough


def test_equal_values_have_a_point_for_an_interval() -> None:
    assert median_interval([2.0] * 10, 1) == Interval(2.0, 2.0, 2.0, 10)
    assert ratio_interval([2.0] * 10, [1.0] * 10, 1) == Interval(2.0, 2.0, 2.0, 10)


def test_no_value_has_no_median() -> None:
    with pytest.raises(BenchError, match="no sample to take a median of"):
        median_interval([], 1)


def test_median_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    chance = np.random.default_rng(1)
    truth = float(np.exp(0.0))
    hits = 0
    for trial in range(150):
        found = median_interval(chance.lognormal(0.0, 0.4, 12).tolist(), trial)
        hits += found.low <= truth <= found.high
    # 95 % of 150 is 142; a binomial three standard deviations wide reaches down to 134, and a bootstrap
    # of twelve values falls a little short by nature.
    assert 130 <= hits <= 150


def test_ratio_intervals_cover_the_truth_although_the_host_drifts() -> None:
    chance = np.random.default_rng(2)
    hits = widths = 0.0
    for trial in range(100):
        mood = chance.lognormal(0.0, 0.3, 12)
        a = 3.0 * mood * chance.lognormal(0.0, 0.05, 12)
        b = mood * chance.lognormal(0.0, 0.05, 12)
        found = ratio_interval(a.tolist(), b.tolist(), trial)
        hits += found.low <= 3.0 <= found.high
        widths += found.high - found.low
    assert 85 <= hits <= 100
    assert widths / 100 < 1.0, "blocks cancel a host that varies by 30 %"


def test_pairing_by_block_makes_the_interval_narrower() -> None:
    exp = experiment()
    times = {arm: [s.marks["app"] for s in exp.measured if s.arm == arm] for arm in ARMS}
    paired = ratio_interval(times["linux@qemu"], times["release@process"], 1)
    mixed = ratio_interval(times["linux@qemu"], times["release@process"][::-1], 1)
    assert (paired.high - paired.low) * 3 < mixed.high - mixed.low


def test_values_that_do_not_pair_up_are_refused() -> None:
    with pytest.raises(BenchError) as caught:
        ratio_interval([1.0, 2.0], [1.0], 1)
    assert caught.value.message == "2 and 1 samples cannot be compared block by block."
    with pytest.raises(BenchError, match="A ratio needs positive values"):
        ratio_interval([1.0], [0.0], 1)


@pytest.mark.parametrize(("ratio", "text"), [
    (Interval(12.3, 11.0, 13.6, 10), "a takes 12.3x (95 % 11.0-13.6) as long as b, n=10 blocks."),
    (Interval(1.52, 1.48, 1.57, 10), "a takes 1.52x (95 % 1.48-1.57) as long as b, n=10 blocks."),
    (Interval(1.01, 0.95, 1.08, 10), "No difference between a and b can be told: 1.01x (95 % 0.95-1.08), n=10 blocks."),
    (Interval(1.0034, 1.0012, 1.0051, 30), "a takes 1.003x (95 % 1.001-1.005) as long as b, n=30 blocks."),
    (Interval(250.4, 240.2, 260.9, 10), "a takes 250x (95 % 240-261) as long as b, n=10 blocks."),
    (Interval(2.0, 1.9, 2.1, 3),
     "a took 2.00x (range 1.90-2.10) as long as b, n=3 blocks: too few for a 95 % interval."),
])
def test_a_ratio_reads_as_a_sentence(ratio: Interval, text: str) -> None:
    assert sentence("a", "b", ratio) == text


def test_a_comparison_uses_blocks_in_which_both_arms_succeeded() -> None:
    exp = experiment()
    broken = tuple(dataclasses.replace(s, ok=False) if s.arm == "linux@qemu" and s.block < 3 else s
                   for s in exp.samples)
    found = compare(dataclasses.replace(exp, samples=broken), "linux@qemu", "release@process")
    assert found.ratio.n == 7
    assert found.ratio.low < 10.0 < found.ratio.high
    assert str(found).startswith("linux@qemu takes 10.")


def test_an_emulated_machine_is_compared_with_a_caveat() -> None:
    text = str(compare(experiment(accelerator="tcg"), "linux@qemu", "release@process"))
    assert text.endswith("linux@qemu ran under tcg: software emulation, not what production would show.")
    assert "tcg" not in str(compare(experiment(accelerator="kvm"), "linux@qemu", "release@process"))
    assert "tcg" not in str(compare(experiment(accelerator="tcg"), "oci+scratch@podman", "release@process"))


def test_every_arm_is_compared_with_the_fastest() -> None:
    found = comparisons(experiment())
    assert [(c.arm, c.base) for c in found] == [("linux@qemu", "release@process"),
                                                ("oci+scratch@podman", "release@process")]
    assert [c.arm for c in comparisons(experiment(), base="linux@qemu")] == list(ARMS[1:])
    assert [c.arm for c in comparisons(experiment(fail="linux@qemu"))] == ["oci+scratch@podman"]


def test_samples_of_two_hosts_are_refused_without_force() -> None:
    exp = experiment()
    mixed = dataclasses.replace(exp, samples=tuple(
        dataclasses.replace(s, host="other") if s.block > 4 else s for s in exp.samples))
    with pytest.raises(BenchError) as caught:
        compare(mixed, "linux@qemu", "release@process")
    assert caught.value.message == "These samples come from different hosts."
    assert caught.value.hint == ("Measure all arms in one experiment on one host, "
                                 "or use --force to compare them all the same.")
    assert compare(mixed, "linux@qemu", "release@process", force=True).ratio.n == 10


def test_samples_of_two_accelerators_are_refused_without_force() -> None:
    exp = experiment()
    mixed = [dataclasses.replace(s, accelerator="tcg") if s.arm == "linux@qemu" and s.block > 4 else s
             for s in exp.samples]
    with pytest.raises(BenchError) as caught:
        refuse_mixed(mixed)
    assert caught.value.message == \
        "These samples come from virtual machines with different accelerators (kvm, tcg)."
    refuse_mixed(exp.samples)


def test_an_unknown_arm_is_named() -> None:
    with pytest.raises(BenchError, match="oci\\+slim@crun is not in the experiment night"):
        compare(experiment(), "oci+slim@crun", "release@process")


def test_arms_without_a_common_block_are_told() -> None:
    with pytest.raises(BenchError, match="no block in which both linux@qemu and release@process succeeded"):
        compare(experiment(fail="linux@qemu"), "linux@qemu", "release@process")
