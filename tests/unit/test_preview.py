"""What a plan will cost, told before it runs: from what was measured before, or as a guess that is called one."""

from __future__ import annotations

import pytest

from unibeam_nb.arms import Arm
from unibeam_nb.bench.plan import Factor, Stop, make_plan
from unibeam_nb.bench.preview import Absent, about, describe, guess, preview
from unibeam_nb.model import Sample
from unibeam_nb.notebook.display import to_text

LINUX, BARE = Arm.parse("linux@qemu"), Arm.parse("release@process")
PLAN = make_plan("hello", (LINUX, BARE), blocks=9, warmup=1, until="app")


def boot(seconds: float, *, ok: bool = True, beyond: float | None = None, **factors: str) -> Sample:
    values = {} if beyond is None else {"harness_s": beyond / 4, "settle_s": beyond / 4, "stop_s": beyond / 2}
    return Sample("x", 1, 1, False, ok, "", {"app": seconds} if ok else {}, factors=factors, values=values)


def test_earlier_samples_of_an_arm_tell_how_long_it_takes() -> None:
    earlier = [("linux@qemu", boot(3.0, beyond=1.0)), ("linux@qemu", boot(5.0, beyond=1.0)), ("other@qemu", boot(90.0)),
               ("linux@qemu", boot(7.0, beyond=1.0)), ("linux@qemu", boot(0.0, ok=False))]
    found = preview(PLAN, earlier)
    assert [(cost.case.name, cost.each, cost.samples) for cost in found.costs] == [
        ("linux@qemu", 6.0, 3), ("release@process", guess(BARE), 0)]
    assert found.seconds == 10 * (6.0 + guess(BARE))
    assert found.guessed == ("release@process",)
    assert found.lines()[-1] == f"  takes {about(found.seconds)} (a guess for release@process)"
    assert repr(found) == f"<Preview hello: 20 boots, {about(found.seconds)}>"


def test_samples_under_the_same_factors_count_before_others() -> None:
    plan = make_plan("hello", (LINUX,), until="app", factors=(Factor("mem_mb", ("64", "128")),))
    found = preview(plan, [("linux@qemu", boot(2.0, beyond=0.0, mem_mb="64")), ("linux@qemu", boot(8.0, beyond=0.0))])
    assert [cost.each for cost in found.costs] == [2.0, 5.0]


def test_what_cannot_run_and_the_most_a_rule_may_take_are_told() -> None:
    plan = make_plan("hello", (LINUX, BARE), blocks=20, until="app", stop=Stop(0.05, "release@process", 20))
    found = preview(plan, (), [Absent("linux@qemu", "No QEMU: get it")])
    assert found.lines()[-3:] == [f"  takes at most {about(found.seconds)} (a guess)", "  cannot run here:",
                                  "    linux@qemu: No QEMU: get it"]
    shown = to_text(found)
    assert "No QEMU: get it" in shown
    assert f"takes at most {about(found.seconds)} (a guess)" in shown
    assert shown.count("cannot run here") == 1


def test_what_is_varied_is_not_told_as_fixed() -> None:
    plan = make_plan("hello", (LINUX,), until="app", factors=(Factor("mem_mb", ("64",)), Factor("vcpus", ("1", "2"))))
    assert describe(plan)[1].endswith("is started; accelerator auto")


@pytest.mark.parametrize(("seconds", "text"), [
    (0.1, "about 1 s"), (44.4, "about 44 s"), (240, "about 4 min"), (9000, "about 2.5 h")])
def test_durations_are_round(seconds: float, text: str) -> None:
    assert about(seconds) == text
