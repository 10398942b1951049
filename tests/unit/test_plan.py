"""Plans: read from TOML with errors that name the line, printed before anything runs, scheduled by seed."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.arms import Arm
from unibeam_nb.bench.plan import Plan, make_plan, resolve
from unibeam_nb.bench.planfile import plan_from_toml
from unibeam_nb.bench.preview import describe
from unibeam_nb.bench.schedule import schedule
from unibeam_nb.errors import UsageError
from unibeam_nb.model import Probe

ARMS = tuple(map(Arm.parse, ("linux@qemu", "oci+scratch@podman", "oci+slim@crun", "release@process")))


def test_a_full_text_becomes_a_plan() -> None:
    plan = plan_from_toml("""
        source = "hello"
        name = "night"
        arms = ["linux@qemu", "release@process"]
        blocks = 20
        warmup = 2
        seed = 7
        mem_mb = 128
        vcpus = 2
        until = "http"
        deadline = 60
        accelerator = "tcg"
        probe = { port = 8443, scheme = "https", path = "/health" }
    """)
    assert plan == Plan("night", "hello", (ARMS[0], ARMS[3]), 20, 2, 7, 128, 2, "http",
                        Probe(8443, "https", "/health"), 60.0, "tcg")


def test_a_probe_can_be_written_as_on_the_command_line() -> None:
    text = 'arms = ["release@process"]\nprobe = '
    assert plan_from_toml(text + '"https:8443/health"', source="hello").probe == Probe(8443, "https", "/health")
    assert plan_from_toml(text + '"/"', source="hello", ports=(8080,)).probe == Probe(8080)
    with pytest.raises(UsageError, match="Line 2: It is not known which port to ask"):
        plan_from_toml(text + '"/"', source="hello")
    with pytest.raises(UsageError, match="Line 2: probe is neither a text nor a table"):
        plan_from_toml(text + "8080", source="hello")


def test_source_and_name_stand_in_for_one_another() -> None:
    text = 'arms = ["release@process"]'
    assert plan_from_toml(text, source="hello").name == "hello"
    assert plan_from_toml('source = "a"\n' + text, source="hello").source == "a"
    assert plan_from_toml('name = "n"\n' + text, source="hello").source == "hello"


@pytest.mark.parametrize(("text", "message", "hint"), [
    ('arms = ["linux@qemu"]\nblock = 3', "Line 2: The plan has the unknown key 'block'.", "Did you mean 'blocks'?"),
    ('arms = ["linux@qemu"]\nblocks = "3"', "Line 2: blocks is not a whole number.", "Write it as in blocks = 10."),
    ('arms = ["linux@qemu"]\nblocks = true', "Line 2: blocks is not a whole number.", "Write it as in blocks = 10."),
    ('\n\narms = ["linux@qemu"]\nblocks = 0', "Line 4: blocks = 0 makes no sense.",
     "Blocks are a number from 1 to 10000; 10 is a good start."),
    ('blocks = 3', "The plan names no arms.",
     'Add a line like arms = ["linux@qemu", "oci+scratch@podman", "release@process"].'),
    ('# arms = 1\narms = "linux@qemu"', "Line 2: arms is not a list of texts.",
     'Write arms = ["linux@qemu", "oci+scratch@podman", "release@process"].'),
    ('arms = ["lunix@qemu"]', "Line 1: 'lunix@qemu' names the unknown target 'lunix'.",
     "The targets are linux, disk, osv, oci, release."),
    ('arms = ["linux@qemu", "linux@qemu"]', "Line 1: The arm linux@qemu is in the plan twice.",
     'Name every arm once, or tell them apart by labels: "a=linux@qemu", "b=linux@qemu".'),
    ('arms = ["linux@qemu"]\nprobe = { prot = 1 }', "Line 2: The probe has the unknown key 'prot'.",
     "Did you mean 'port'?"),
    ('arms = ["linux@qemu"]\n[probe]\npath = "/"', "Line 2: The probe has no port.",
     "Add the port inside the machine: port = 8080."),
    ('arms = ["linux@qemu"]\nuntil = "login"', "Line 2: until = 'login' makes no sense.",
     "A boot ends with one of auto, app, http."),
])
def test_a_mistake_is_named_with_its_line(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan_from_toml(text, source="hello")
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(("text", "start"), [
    ('arms = ["linux@qemu"]\nblocks 3\n', "Line 2: the plan is not valid TOML (expected '=' after a key"),
    ('arms = ["linux@qemu"', "Line 1: the plan is not valid TOML (unclosed array"),
])
def test_bad_toml_is_told_with_its_line(text: str, start: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan_from_toml(text, source="hello")
    assert caught.value.message.startswith(start)
    assert caught.value.message.endswith(").")


def test_a_plan_without_a_source_is_refused() -> None:
    with pytest.raises(UsageError, match="does not say what to measure"):
        plan_from_toml('arms = ["linux@qemu"]')


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(0, 3), st.integers(1, 4))
def test_every_block_boots_every_arm_once_and_warm_up_comes_first(seed: int, blocks: int, warmup: int,
                                                                  arms: int) -> None:
    plan = make_plan("hello", ARMS[:arms], seed=seed, blocks=blocks, warmup=warmup)
    slots = schedule(plan)
    assert [s.order for s in slots] == list(range(arms * (blocks + warmup)))
    assert Counter((s.arm, s.block) for s in slots) == {(a, b): 1 for a in plan.arms for b in range(blocks + warmup)}
    assert [s.block for s in slots] == sorted(s.block for s in slots)
    assert all(s.warmup == (s.block < warmup) for s in slots)


def test_the_seed_decides_the_order() -> None:
    one = make_plan("hello", ARMS, seed=1, blocks=30)
    assert schedule(one) == schedule(dataclasses.replace(one))
    assert schedule(one) != schedule(dataclasses.replace(one, seed=2))
    firsts = Counter(s.arm for s in schedule(one) if s.order % 4 == 0)
    assert len(firsts) == 4, "every arm is first in some block"


def test_the_order_of_seed_1_never_changes() -> None:
    # A journal that was begun by an older unibeam must find the same order when it is continued.
    plan = make_plan("hello", ARMS, blocks=2)
    assert [ARMS.index(s.arm) for s in schedule(plan)] == [0, 3, 2, 1, 1, 0, 2, 3, 1, 0, 3, 2]


def test_a_plan_prints_how_many_boots_and_their_order() -> None:
    lines = describe(make_plan("hello", ARMS[:2], blocks=10, until="http", seed=5))
    assert lines[0] == "Experiment hello: 2 arms x (1 warm-up + 10 blocks) = 22 boots"
    assert lines[1] == ("  timed from the start of the runner's process until the first good HTTP answer; "
                        "256 MiB and 1 vCPU for virtual machines, accelerator auto")
    assert lines[2] == "  order (seed 5):"
    assert lines[3].startswith("    block 0 (warm-up): ")
    assert set(lines[3].partition(": ")[2].split(", ")) == {"linux@qemu", "oci+scratch@podman"}
    assert lines[-1] == "    and 8 more blocks, each in its own order"
    assert str(make_plan("hello", ARMS)).startswith("Experiment hello: 4 arms")


def test_auto_waits_for_http_where_a_port_is_served() -> None:
    plan = make_plan("hello", ARMS)
    assert (resolve(plan, (8080, 9090)).until, resolve(plan, (8080, 9090)).probe) == ("http", Probe(8080))
    assert (resolve(plan, ()).until, resolve(plan, ()).probe) == ("app", None)
    asked = dataclasses.replace(plan, probe=Probe(443, "https"))
    assert resolve(asked, (8080,)).probe == Probe(443, "https")


def test_http_without_a_port_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        resolve(make_plan("hello", ARMS, until="http"), ())
    assert caught.value.message == "hello serves no port, so no HTTP answer can be waited for."
    assert caught.value.hint == 'Build it with --port 8080, or write until = "app".'


def test_a_copy_cannot_be_measured_until_app() -> None:
    plan = make_plan("hello", (Arm.parse("linux+resume@qemu"),), until="app")
    with pytest.raises(UsageError) as caught:
        resolve(plan, (8080,))
    assert caught.value.message == \
        "linux+resume@qemu has no mark app: its applications were started before the snapshot."
    assert caught.value.hint == "Measure until http, for which the program must serve a port."


def test_counted_boots_end_with_app_and_are_compared_with_their_like() -> None:
    linux, small = Arm.parse("linux@qemu"), Arm.parse("linux+tiny@qemu")
    plan = resolve(make_plan("hello", (linux, small), accelerator="icount"), (8080,))
    assert (plan.until, plan.probe) == ("app", None)
    for arm in ("oci@crun", "linux+resume@qemu"):
        with pytest.raises(UsageError) as caught:
            resolve(make_plan("hello", (linux, Arm.parse(arm)), accelerator="icount"), ())
        assert caught.value.message == f"The instructions of {Arm.parse(arm)} cannot be counted."
    with pytest.raises(UsageError) as refused:
        resolve(make_plan("hello", (linux,), accelerator="icount", until="http"), (8080,))
    assert refused.value.message == "Where instructions are counted, no answer is timed."


@pytest.mark.parametrize(("arm", "message", "hint"), [
    ("release@process", "Nothing limits the memory of release@process.",
     "Seek the minimum of machines and containers."),
    ("linux+tiny+resume@qemu",
     "linux+tiny+resume@qemu is a copy of a machine, which needs what booting that one needs.",
     "Seek the minimum without +resume."),
    ("oci+scratch+restore@crun",
     "oci+scratch+restore@crun is a copy of a machine, which needs what booting that one needs.",
     "Seek the minimum without +restore.")])
def test_the_least_memory_is_sought_of_what_has_one(arm: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_plan("hello", (Arm.parse(arm),), kinds=("minimum",))
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_plan_of_every_kind_is_read_counted_and_scheduled() -> None:
    plan = plan_from_toml('arms = ["linux@qemu", "oci+scratch@crun"]\n'
                          'kinds = ["boot", "steady", "density", "minimum"]\n'
                          "load_s = 3\nconnections = 2\ncopies = [1, 4]\nblocks = 2\nwarmup = 0\n", source="hello")
    assert (plan.load_s, plan.connections, plan.copies) == (3, 2, (1, 4))
    slots = schedule(plan)
    assert len(slots) == plan.boots == 2 * 2 * 5
    assert len({slot.key for slot in slots}) == len(slots)
    assert sorted({slot.copies for slot in slots if slot.kind == "density"}) == [1, 4]


@pytest.mark.parametrize(("line", "message"), [
    ("copies = [1, 0]", "Line 2: copies = (1, 0) makes no sense."),
    ("copies = [1, 1]", "Line 2: copies = (1, 1) makes no sense."),
    ('copies = "4"', "Line 2: copies is not a list of whole numbers."),
    ("load_s = 0", "Line 2: load_s = 0 makes no sense."),
    ("connections = 2000", "Line 2: connections = 2000 makes no sense.")])
def test_a_load_and_copies_that_make_no_sense_are_told(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan_from_toml(f'arms = ["linux@qemu"]\n{line}\n', source="hello")
    assert caught.value.message == message
