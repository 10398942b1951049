"""Plans of arms x factors: which cases there are, what they are called, what is refused."""

from __future__ import annotations

import dataclasses

import pytest

from unibeam_nb.arms import Arm
from unibeam_nb.bench.plan import Factor, Plan, Stop, make_plan, parse_labelled
from unibeam_nb.bench.planfile import plan_from_toml
from unibeam_nb.bench.preview import describe
from unibeam_nb.bench.schedule import schedule
from unibeam_nb.errors import UsageError
from unibeam_nb.jsonable import from_json, to_json

LINUX, PROCESS = Arm.parse("linux@qemu"), Arm.parse("release@process")

TEXT = """
source = "hello"
seed = 7

[arms]
vm = "linux@qemu"
bare = "release@process"

[factors]
mem_mb = [64, 128]
flags = ["default", "+sbwt none"]

[stop]
ratio_within = 0.05
baseline = "bare"
at_most = 60
"""


def test_a_factor_multiplies_the_arms_that_it_touches_and_no_others() -> None:
    plan = plan_from_toml(TEXT)
    assert plan.names == (
        "vm flags=default mem_mb=64", "vm flags=+sbwt none mem_mb=64", "vm flags=default mem_mb=128",
        "vm flags=+sbwt none mem_mb=128", "bare flags=default", "bare flags=+sbwt none")
    assert plan.arm_names == ("vm", "bare")
    assert plan.boots == 6 * 61
    assert plan.stop == Stop(0.05, "bare", 60, 10)


def test_a_plan_survives_json() -> None:
    plan = plan_from_toml(TEXT)
    assert from_json(Plan, to_json(plan)) == plan
    assert from_json(Plan, to_json(plan)).names == plan.names


def test_each_case_is_compared_with_the_baseline_under_its_own_factors() -> None:
    plan = plan_from_toml(TEXT)
    pairs = {case.name: plan.baseline_of(case) for case in plan.cases}
    assert {name: base and base.name for name, base in pairs.items()} == {
        "vm flags=default mem_mb=64": "bare flags=default", "vm flags=+sbwt none mem_mb=64": "bare flags=+sbwt none",
        "vm flags=default mem_mb=128": "bare flags=default", "vm flags=+sbwt none mem_mb=128": "bare flags=+sbwt none",
        "bare flags=default": None, "bare flags=+sbwt none": None}
    assert plan.stop is not None
    one = dataclasses.replace(plan, stop=dataclasses.replace(plan.stop, baseline="bare flags=default"))
    assert [base.name if (base := one.baseline_of(case)) else None for case in one.cases] == [
        *["bare flags=default"] * 4, None, "bare flags=default"]


def test_the_same_arm_can_be_there_twice_under_labels() -> None:
    plan = plan_from_toml('source = "hello"\narms = ["a=release@process", "b=release@process"]')
    assert plan.names == ("a", "b")
    assert {slot.case.label: slot.arm for slot in schedule(plan)} == {"a": PROCESS, "b": PROCESS}
    assert parse_labelled("release@process") == ("", PROCESS)
    with pytest.raises(UsageError, match="'a b' cannot be the label of an arm"):
        parse_labelled("a b=release@process")


def test_an_arm_that_cannot_run_leaves_with_all_its_cases() -> None:
    plan = plan_from_toml(TEXT)
    free = dataclasses.replace(plan, stop=None, blocks=3)
    left = free.without(frozenset({"vm flags=default mem_mb=64"}))
    assert left.names == ("bare flags=default", "bare flags=+sbwt none")
    assert left.labels == ("bare",)


def test_a_longer_plan_begins_with_the_slots_of_a_shorter_one() -> None:
    short = make_plan("hello", (LINUX, PROCESS), blocks=3, seed=5)
    long = dataclasses.replace(short, blocks=9)
    assert schedule(long)[:len(schedule(short))] == schedule(short)


def test_every_kind_is_measured_once_a_block() -> None:
    plan = make_plan("hello", (LINUX, PROCESS), blocks=2, warmup=0, kinds=("boot", "steady"))
    assert sorted(slot.key[:3] for slot in schedule(plan)) == sorted(
        (arm, block, kind) for arm in plan.names for block in (0, 1) for kind in ("boot", "steady"))


def test_a_plan_with_factors_is_told_before_it_runs() -> None:
    lines = describe(plan_from_toml(TEXT))
    assert lines[0] == ("Experiment hello: 2 arms under factors, 6 cases, x (1 warm-up + at most 60 blocks) = "
                        "at most 366 boots")
    assert "  mem_mb: 64, 128" in lines
    assert ("  ends when the interval of every ratio to bare is narrower than 0.05 of it; looked at after 10, 15, 22, "
            "33, 50, 60 blocks and at no other time, by its width alone") in lines


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)


@pytest.mark.parametrize(("text", "message", "hint"), [
    (changed("mem_mb = [64, 128]", "mem = [64]"), "Line 10: The table of factors has the unknown key 'mem'.",
     "Did you mean 'mem_mb'?"),
    (changed("[64, 128]", "64"), "Line 10: mem_mb is not a list of whole numbers.",
     "Write it as in mem_mb = [64, 128]."),
    (changed("[64, 128]", "[64, 64]"), "Line 10: The factor mem_mb has a value twice.",
     "Write it as in mem_mb = [64, 128]."),
    (changed("[64, 128]", "[]"), "Line 10: The factor mem_mb has no values.", "Write it as in mem_mb = [64, 128]."),
    (changed("[64, 128]", "[8]"), "Line 10: mem_mb = 8 makes no sense.",
     "Memory is in MiB, 16 or more; 256 is the default."),
    (changed('["default", "+sbwt none"]', '[""]'), "Line 11: flags has the value ''.",
     "Write a text that says something; default stands for what the build has."),
    (changed('vm = "linux@qemu"', ""), "Line 10: The factor mem_mb touches none of the arms.",
     "Leave it out, or add an arm for which it matters."),
    (changed('"bare"\nat_most', '"bar"\nat_most'), "Line 15: The baseline bar is not one of the arms.",
     "Choose one of vm, bare, vm flags=default mem_mb=64, vm flags=+sbwt none mem_mb=64, vm flags=default mem_mb=128, "
     "vm flags=+sbwt none mem_mb=128, bare flags=default, bare flags=+sbwt none."),
    (changed("0.05", "5"), "Line 14: ratio_within = 5 makes no sense.",
     "Write a part of the ratio, for example 0.05 for 5 %."),
    (changed("at_most = 60", "at_most = 3"), "Line 16: at_most = 3 makes no sense.",
     "Write a number of blocks from at_least (6) to 10000."),
    (changed("at_most = 60", ""), "Line 13: The stop rule has no at_most.",
     'Write stop = { ratio_within = 0.05, baseline = "release@process", at_most = 60 }.'),
    (changed("seed = 7", "blocks = 30"), "Line 3: Both blocks and at_most say how many blocks there are.",
     "With a stop rule, write at_most alone."),
    (changed("seed = 7", 'kinds = ["stedy"]'), "Line 3: kinds = ('stedy',) makes no sense.",
     "Kinds of measurement are boot, steady, density, minimum, each once."),
    (changed('bare = "release@process"', "bare = 3"), "Line 7: The arm bare is not a text in quotes.",
     'Write bare = "release@process".'),
    (TEXT.replace('vm = "linux@qemu"\n', "").replace("mem_mb = [64, 128]\n", ""),
     "Line 13: A ratio needs a second arm beside the baseline.",
     'Write arms = ["linux@qemu", "oci+scratch@podman", "release@process"].'),
])
def test_a_contradiction_is_named_with_its_line(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan_from_toml(text)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_too_many_cases_are_a_slip_of_the_pen() -> None:
    with pytest.raises(UsageError, match="The factors make 441 cases of the arms"):
        make_plan("hello", (LINUX,), factors=(Factor("mem_mb", tuple(map(str, range(64, 85)))),
                                             Factor("flags", tuple(f"+P {n}" for n in range(1024, 1045)))))


def test_a_plan_without_its_baseline_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        plan_from_toml(TEXT).without(frozenset({"bare flags=default"}))
    assert caught.value.message == "The baseline bare cannot run here."
