"""Comparisons that say what they know, and that refuse what cannot be compared."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest

from unibeam_nb.analysis.intervals import Interval
from unibeam_nb.analysis.stats import Comparison, compare, comparisons, refuse_mixed
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


@pytest.mark.parametrize(("ratio", "text"), [
    (Interval(12.3, 11.0, 13.6, 10), "a is 12.3x slower than b (95 % 11.0-13.6), n=10 blocks."),
    (Interval(1 / 2.3, 1 / 2.6, 1 / 2.1, 30), "a is 2.30x faster than b (95 % 2.10-2.60), n=30 blocks."),
    (Interval(1.01, 0.95, 1.08, 10),
     "a and b: no difference shown at n=10 blocks (would need about 850); ratio 1.01 (95 % 0.95-1.08)."),
    (Interval(1.0, 0.95, 1.05, 10), "a and b: no difference shown at n=10 blocks; ratio 1.00 (95 % 0.95-1.05)."),
    (Interval(1.0034, 1.0012, 1.0051, 30), "a is 1.003x slower than b (95 % 1.001-1.005), n=30 blocks."),
    (Interval(250.4, 240.2, 260.9, 10), "a is 250x slower than b (95 % 240-261), n=10 blocks."),
    (Interval(2.0, 1.9, 2.1, 3),
     "a is 2.00x slower than b (range 1.90-2.10), n=3 blocks: too few for a 95 % interval."),
])
def test_a_ratio_reads_as_a_sentence(ratio: Interval, text: str) -> None:
    assert str(Comparison("a", "b", ratio)) == text


def test_a_difference_that_holms_correction_takes_back_is_not_claimed() -> None:
    found = Comparison("a", "b", Interval(1.2, 1.01, 1.4, 12), p=0.06, family=3)
    assert not found.differs
    assert str(dataclasses.replace(found, ratio=Interval(7.5, 7.1, 8.0, 6))) == (
        "a is 7.50x slower than b (95 % 7.10-8.00), n=6 blocks: too few to be sure among 3 comparisons, 7 would do.")
    assert str(found) == ("a and b: no difference shown at n=12 blocks among 3 comparisons (would need about 20); "
                          "ratio 1.20 (95 % 1.01-1.40).")


@pytest.mark.parametrize(("measure", "text"), [
    ("memory", "a takes 2.00x more memory than b (95 % 1.90-2.10), n=9 blocks."),
    ("requests", "a answers 2.00x more requests than b (95 % 1.90-2.10), n=9 blocks."),
    ("latency", "a has a 2.00x longer latency (p99) than b (95 % 1.90-2.10), n=9 blocks."),
    ("density", "a takes 2.00x more memory a copy than b (95 % 1.90-2.10), n=9 blocks."),
    ("minimum", "a needs 2.00x more memory at least than b (95 % 1.90-2.10), n=9 blocks."),
])
def test_every_measure_has_its_sentence(measure: str, text: str) -> None:
    assert str(Comparison("a", "b", Interval(2.0, 1.9, 2.1, 9), measure=measure)) == text


def test_a_comparison_tells_who_wins_and_the_ratio_of_the_medians() -> None:
    found = compare(experiment(), "oci+scratch@podman", "release@process")
    assert found.wins is not None
    assert found.of_medians is not None
    assert found.wins.value == 0.0
    assert found.wins.high == pytest.approx(0.278, abs=1e-3)
    assert found.of_medians.value == pytest.approx(found.ratio.value, rel=0.1)
    assert found.p == pytest.approx(2 / 2 ** 10)


def test_every_comparison_is_corrected_for_the_others() -> None:
    exp = experiment()
    alone = compare(exp, "linux@qemu", "release@process")
    together = comparisons(exp, "release@process")
    assert [c.family for c in together] == [2, 2]
    assert together[0].p == pytest.approx(2 * alone.p)


def test_an_arm_measured_twice_shows_no_difference_in_19_of_20_experiments() -> None:
    """The same arm under two names, 20 experiments of 20 blocks."""
    chance = random.Random(7)
    shown = 0
    for _ in range(20):
        exp = experiment(20)
        samples = []
        for s in exp.samples:
            late = 3.0 if chance.random() < 0.05 else 1.0
            samples.append(dataclasses.replace(
                s, marks={"spawn": 0.0, "app": (1 + s.block % 5 / 10) * chance.lognormvariate(0, 0.08) * late}))
        shown += compare(dataclasses.replace(exp, samples=tuple(samples)), *ARMS[1:]).differs
    assert shown <= 2


def test_rows_with_factors_are_compared_among_each_other() -> None:
    exp = experiment()
    varied = tuple(dataclasses.replace(s, factors={"mem_mb": size}, marks={"spawn": 0.0, "app": s.marks["app"] * slow})
                   for s in exp.samples for size, slow in (("64", 2.0), ("128", 1.0)))
    both = dataclasses.replace(exp, samples=varied)
    found = compare(both, "linux@qemu mem_mb=64", "linux@qemu mem_mb=128")
    assert found.ratio.value == pytest.approx(2.0)
    assert len(comparisons(both)) == 5
    with pytest.raises(BenchError) as caught:
        compare(both, "linux@qemu", "linux@qemu mem_mb=128")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Its arms are linux@qemu mem_mb=64, linux@qemu mem_mb=128, oci+scratch")


def test_a_baseline_that_is_not_there_is_named() -> None:
    with pytest.raises(BenchError) as caught:
        comparisons(experiment(fail="linux@qemu"), "linux@qemu")
    assert caught.value.message == "linux@qemu has no boot time in the experiment night."
    assert caught.value.hint == "A baseline is one of its arms that succeeded: oci+scratch@podman, release@process."
    with pytest.raises(BenchError, match="There is no measure 'speed'"):
        comparisons(experiment(), measure="speed")


def test_a_comparison_uses_blocks_in_which_both_arms_succeeded() -> None:
    exp = experiment()
    broken = tuple(dataclasses.replace(s, ok=False) if s.arm == "linux@qemu" and s.block < 3 else s
                   for s in exp.samples)
    found = compare(dataclasses.replace(exp, samples=broken), "linux@qemu", "release@process")
    assert found.ratio.n == 7
    assert found.ratio.low < 10.0 < found.ratio.high
    assert str(found).startswith("linux@qemu is 9.9")


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
