"""Running an experiment, with boots replayed: what is journalled, what a stop leaves, what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from unibeam_nb.arms import Arm
from unibeam_nb.bench import lock as lock_module
from unibeam_nb.bench import sampling
from unibeam_nb.bench.journal import Experiment, load_experiment
from unibeam_nb.bench.lock import measuring
from unibeam_nb.bench.plan import Plan, make_plan
from unibeam_nb.bench.run import run_experiment, time_left
from unibeam_nb.bench.sampling import Boot, settled_memory
from unibeam_nb.bench.schedule import schedule
from unibeam_nb.errors import BenchError, BootFailed, Cancelled, MachineError, ToolMissing
from unibeam_nb.machine import BootOptions
from unibeam_nb.machine.cgroup import Usage
from unibeam_nb.machine.console import Console
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.model import TRY, Image, Launch, Mark, Memory, Part, Probe
from unibeam_nb.progress import StepEvent, listening
from unibeam_nb.store import Store

ARMS = tuple(map(Arm.parse, ("release@process", "oci+scratch@crun")))
PLAN = make_plan("hello", ARMS, blocks=3, warmup=1, until="app")
RECORDED = {"process": {"beam": 0.081, "app": 0.384}, "crun": {"beam": 0.112, "app": 0.411}}
"""Seconds after spawn, as they were recorded."""


def image(arm: Arm, sha256: str = "s", release: str = "r", ports: tuple[int, ...] = ()) -> Image:
    return Image("hello", arm.target, arm.flavour, Path("x"), "k", sha256 + arm.target, release, 5, 11,
                 (Part("erts", 11),), (), Launch("erts-13"), ports)


IMAGES = {str(arm): image(arm) for arm in ARMS}


class Replay:
    """A machine that replays recorded marks; ``stopped`` counts the machines that were stopped."""

    running = 0
    at_most = 1

    def __init__(self, marks: Mapping[str, float], memory: Callable[[], Memory]) -> None:
        self.accelerator = "native"
        self.marks = {name: Mark(name, at) for name, at in marks.items()}
        self.memory = memory
        self.name, self.url, self.alive = "replay", None, True
        self.ports: dict[int, int] = {}
        self.console = Console(Path(os.devnull))
        Replay.running += 1
        assert Replay.running <= Replay.at_most, "never two measured machines at once"

    def processes(self) -> Sequence[ProcessId]:
        return ()

    def cgroup(self) -> Usage:
        return Usage(20_000_000, 25_000_000)

    def touched(self) -> None:
        return None

    def stop(self, *, grace: float | None = None) -> None:
        Replay.running -= 1


@pytest.fixture(autouse=True)
def _nothing_is_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """A fake crun on PATH, and no machine left at the end."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "crun").write_text("#!/bin/sh\necho crun version 1.8.1\n")
    (tmp_path / "bin" / "crun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(sampling, "READ_EVERY", 0.001)
    Replay.running = 0
    yield
    assert Replay.running == 0


def replaying(*, fail: Callable[[int, str], Exception | None] = lambda turn, runner: None,
              memory: Callable[[], Memory] = lambda: Memory(30_000_000, 1_000_000, 19_000_000)) -> Boot:
    turns = itertools.count()

    def boot(store: Store, image: Image, runner: str, options: BootOptions, *, name: str | None = None) -> Replay:
        error = fail(next(turns), runner)
        if error:
            raise error
        return Replay(RECORDED[runner], memory)

    return boot


def run(tmp_path: Path, store: Store, boot: Boot, plan: Plan = PLAN, images: Mapping[str, Image] = IMAGES,
        ) -> Experiment:
    return run_experiment(plan, images, store, tmp_path / "night.jsonl", boot=boot, lock=tmp_path / "l" / "lock",
                          now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def test_every_slot_becomes_a_sample_in_its_order(tmp_path: Path, fresh_store: Store) -> None:
    exp = run(tmp_path, fresh_store, replaying())
    assert [(s.arm, s.block, s.order, s.warmup) for s in exp.samples] == \
        [(s.case.name, s.block, s.order, s.warmup) for s in schedule(PLAN)]
    one = next(s for s in exp.samples if s.arm == "oci+scratch@crun")
    assert one.marks == {"spawn": 0.0, "beam": 0.112, "app": 0.411}
    assert one.values["cgroup_peak_bytes"] == 25_000_000
    assert (one.memory, one.accelerator, one.ok) == (Memory(30_000_000, 1_000_000, 19_000_000), "native", True)
    assert (one.image_sha256, one.shipped_bytes, one.unpacked_bytes, one.mem_mb) == ("soci", 5, 11, None)
    assert one.started == "2026-01-02T03:04:05+00:00"
    assert one.host == exp.header["host_id"]


def test_the_header_says_what_was_measured_where_and_with_what(tmp_path: Path, fresh_store: Store) -> None:
    header = run(tmp_path, fresh_store, replaying()).header
    assert (header["name"], header["date"]) == ("night", "2026-01-02T03:04:05+00:00")
    assert header["tools"]["crun"] == "1.8.1"
    assert header["images"]["oci+scratch@crun"]["sha256"] == "soci"
    assert header["images"]["oci+scratch@crun"]["erts"] == "erts-13"
    assert header["host"]["cores"] >= 1


def test_a_sample_is_in_the_journal_before_the_next_boot_begins(tmp_path: Path, fresh_store: Store) -> None:
    seen: list[int] = []

    def look(turn: int, runner: str) -> None:
        seen.append(len(load_experiment(tmp_path / "night.jsonl").samples))

    run(tmp_path, fresh_store, replaying(fail=look))
    assert seen == list(range(8))


def test_images_that_serve_a_port_are_timed_until_http(tmp_path: Path, fresh_store: Store) -> None:
    asked: list[BootOptions] = []

    def boot(store: Store, image: Image, runner: str, options: BootOptions, *, name: str | None = None) -> Replay:
        asked.append(options)
        return Replay(RECORDED[runner] | {"http": 0.5}, lambda: Memory(1, 1))

    served = {arm: dataclasses.replace(image, ports=(8080,)) for arm, image in IMAGES.items()}
    exp = run(tmp_path, fresh_store, boot, dataclasses.replace(PLAN, until="auto", blocks=1), served)
    assert {(o.until, o.probe) for o in asked} == {("http", Probe(8080))}
    assert exp.until == "http"


def test_a_failed_boot_is_a_sample_and_the_experiment_goes_on(tmp_path: Path, fresh_store: Store) -> None:
    notes: list[str] = []

    def fail(turn: int, runner: str) -> Exception | None:
        return BootFailed("The machine ran out of memory.", "Give more.", ["Killed process 7"]) if turn == 2 else None

    with listening(lambda event: notes.append(event.title) if event.kind == "note" else None):
        exp = run(tmp_path, fresh_store, replaying(fail=fail))
    assert len(exp.samples) == 8
    (bad,) = exp.failed
    assert (bad.order, bad.error) == (2, "The machine ran out of memory.\nKilled process 7")
    assert (bad.memory, bad.marks) == (None, {})
    assert f"Boot 2 ({bad.arm}) failed: The machine ran out of memory." in notes


def test_an_arm_that_fails_three_times_in_a_row_is_given_up(tmp_path: Path, fresh_store: Store) -> None:
    def fail(turn: int, runner: str) -> Exception | None:
        return BootFailed("No.") if runner == "crun" else None

    exp = run(tmp_path, fresh_store, replaying(fail=fail), dataclasses.replace(PLAN, blocks=6))
    assert sum(s.arm == "oci+scratch@crun" for s in exp.samples) == 3
    assert sum(s.arm == "release@process" for s in exp.samples) == 7
    assert any(line.endswith("oci+scratch@crun was given up after 3 failed boots in a row.") for line in exp.notes)
    again = run(tmp_path, fresh_store, replaying(), dataclasses.replace(PLAN, blocks=6))
    assert again.samples == exp.samples, "a continued experiment does not try it again"


def test_a_machine_that_dies_after_its_mark_is_a_failed_sample_with_its_marks(tmp_path: Path,
                                                                            fresh_store: Store) -> None:
    def gone() -> Memory:
        raise MachineError("hello is not running.")

    exp = run(tmp_path, fresh_store, replaying(memory=gone), dataclasses.replace(PLAN, blocks=1, warmup=0))
    assert [s.ok for s in exp.samples] == [False, False]
    assert exp.samples[0].marks["app"] > 0
    assert exp.samples[0].error == "hello is not running."


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Cancelled])
def test_a_stopped_experiment_keeps_its_samples_and_goes_on_where_it_was(
        stop: type[BaseException], tmp_path: Path, fresh_store: Store) -> None:
    def interrupt(turn: int, runner: str) -> None:
        if turn == 3:
            raise stop()

    with pytest.raises(Cancelled) as caught:
        run(tmp_path, fresh_store, replaying(fail=interrupt))
    assert caught.value.message == "Stopped after 3 of 8 boots; they are all kept."
    assert caught.value.hint == "Run the same experiment into night.jsonl again to go on with it."
    kept = load_experiment(tmp_path / "night.jsonl")
    assert len(kept.samples) == 3
    assert any(line.endswith("Stopped by the user after 3 of 8 boots.") for line in kept.notes)
    booted: list[str] = []
    whole = run(tmp_path, fresh_store, replaying(fail=lambda turn, runner: booted.append(runner)))
    assert len(booted) == 5
    assert whole.samples[:3] == kept.samples
    assert [(s.arm, s.block, s.order) for s in whole.samples] == [(s.case.name, s.block, s.order)
                                                                  for s in schedule(PLAN)]


def test_a_finished_experiment_boots_nothing(tmp_path: Path, fresh_store: Store) -> None:
    exp = run(tmp_path, fresh_store, replaying())

    def never(turn: int, runner: str) -> Exception:
        return AssertionError("nothing is left to boot")

    assert run(tmp_path, fresh_store, replaying(fail=never)).samples == exp.samples


def test_a_torn_journal_is_repaired_and_its_lost_sample_measured_again(tmp_path: Path, fresh_store: Store) -> None:
    run(tmp_path, fresh_store, replaying())
    path = tmp_path / "night.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    samples = [index for index, line in enumerate(lines) if b'"kind": "boot"' in line]
    path.write_bytes(b"".join(lines[:samples[-1]]) + lines[samples[-1]][:40])
    assert len(run(tmp_path, fresh_store, replaying()).samples) == 8


def test_another_plan_and_other_images_are_refused(tmp_path: Path, fresh_store: Store) -> None:
    run(tmp_path, fresh_store, replaying())
    with pytest.raises(BenchError) as caught:
        run(tmp_path, fresh_store, replaying(), dataclasses.replace(PLAN, seed=2))
    assert caught.value.message == "night.jsonl belongs to an experiment with another plan."
    changed = {str(arm): image(arm, sha256="changed") for arm in ARMS}
    with pytest.raises(BenchError) as caught:
        run(tmp_path, fresh_store, replaying(), images=changed)
    assert caught.value.message == "night.jsonl was begun with other images."


def test_a_journal_of_another_host_is_refused(tmp_path: Path, fresh_store: Store) -> None:
    exp = run(tmp_path, fresh_store, replaying())
    path = tmp_path / "night.jsonl"
    path.write_text(path.read_text().replace(exp.header["host_id"], "0" * 12))
    with pytest.raises(BenchError) as caught:
        run(tmp_path, fresh_store, replaying())
    assert caught.value.message == "night.jsonl was begun on another host, or before this one changed."


def test_arms_of_different_releases_are_refused(tmp_path: Path, fresh_store: Store) -> None:
    mixed = {str(arm): image(arm, release=arm.target) for arm in ARMS}
    with pytest.raises(BenchError) as caught:
        run(tmp_path, fresh_store, replaying(), images=mixed)
    assert caught.value.message == "The arms do not run the same release."
    assert not (tmp_path / "night.jsonl").exists()
    with pytest.raises(BenchError, match="There is no image for the arm oci\\+scratch@crun"):
        run(tmp_path, fresh_store, replaying(), images={"release@process": IMAGES["release@process"]})


def test_one_release_on_two_emulators_is_compared(tmp_path: Path, fresh_store: Store) -> None:
    mixed = {str(arm): image(arm, release=arm.target) for arm in ARMS}
    mixed["oci+scratch@crun"] = dataclasses.replace(mixed["oci+scratch@crun"], origin="release")
    assert len(run(tmp_path, fresh_store, replaying(), images=mixed).samples) == 8


def test_a_missing_tool_stops_at_once(tmp_path: Path, fresh_store: Store) -> None:
    with pytest.raises(ToolMissing):
        run(tmp_path, fresh_store, replaying(fail=lambda turn, runner: ToolMissing("No crun.", "Install it.")))
    assert load_experiment(tmp_path / "night.jsonl").samples == ()


def test_progress_moves_from_nothing_to_all(tmp_path: Path, fresh_store: Store) -> None:
    events: list[StepEvent] = []
    with listening(events.append):
        run(tmp_path, fresh_store, replaying())
    fractions = [e.fraction for e in events if e.kind == "progress" and e.fraction is not None]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    details = [e.detail for e in events if e.kind == "progress"]
    assert details[0].startswith("block 1 of 4, ")


def test_the_time_left_is_reckoned_from_the_boots_so_far() -> None:
    assert time_left(2.0, 1, 10) == ""
    assert time_left(4.0, 2, 10) == ", about 20 s left"
    assert time_left(40.0, 4, 30) == ", about 5 min left"
    assert time_left(0.01, 4, 30) == ""


def test_memory_is_read_until_it_has_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "READ_EVERY", 0.25)
    readings = iter([50, 40, 31, 30.9, 30.9])
    waited: list[float] = []
    found = settled_memory(lambda: Memory(int(next(readings) * 1e6), 0), waited.append)
    assert found.payload == 30_900_000
    assert waited == [0.25] * 3


def test_memory_that_never_settles_is_read_for_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "READ_EVERY", 0.25)
    count = itertools.count(1)
    waited: list[float] = []
    assert settled_memory(lambda: Memory(next(count) ** 2 * 1_000_000, 0), waited.append).payload == 13 ** 2 * 1_000_000
    assert sum(waited) == 3.0


def test_two_measurements_wait_for_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "POLL_SECONDS", 0.02)
    path = tmp_path / "shared" / "lock"
    notes: list[str] = []
    inside = threading.Event()

    def second() -> None:
        with listening(lambda e: notes.append(e.title) if e.kind == "note" else None), measuring(path):
            inside.set()

    with measuring(path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        assert not inside.is_set()
    thread.join(10)
    assert inside.is_set()
    assert len(notes) == 1
    assert notes[0].startswith(f"Waiting for another measurement on this host to end (process {os.getpid()}, ")


def test_waiting_for_the_host_can_be_stopped(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "lock"
    cancelled = threading.Event()
    cancelled.set()
    with measuring(path), listening(cancelled=cancelled), pytest.raises(Cancelled), measuring(path):
        pytest.fail("the lock was taken")


def test_every_user_of_the_host_can_take_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "lock"
    before = os.umask(0o077)
    try:
        with measuring(path):
            assert path.stat().st_mode & 0o7777 == 0o755
            assert list(path.iterdir()) == []
    finally:
        os.umask(before)
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", tmp_path / "file" / "lock"):
        with pytest.raises(BenchError), measuring(bad):
            pytest.fail("the lock was taken")


def test_no_other_user_can_turn_the_lock_into_a_way_to_a_file_of_ours(tmp_path: Path) -> None:
    ours, shared = tmp_path / "ours", tmp_path / "shared"
    ours.mkdir(mode=0o700)
    shared.symlink_to(ours)
    with pytest.raises(BenchError) as caught, measuring(shared):
        pytest.fail("the lock was taken")
    assert caught.value.message == f"The directory {shared} cannot be locked (Not a directory)."
    assert ours.stat().st_mode & 0o777 == 0o700


SEARCH = make_plan("hello", ARMS[1:], blocks=1, warmup=0, until="app", kinds=("minimum",), mem_mb=64)


def limited(least_mb: int, *, stop_after: int = 1000, seen: list[BootOptions] | None = None) -> Boot:
    """Boots that need ``least_mb``; the user stops before the boot after so many."""
    turns = itertools.count()

    def boot(store: Store, image: Image, runner: str, options: BootOptions, *, name: str | None = None) -> Replay:
        if next(turns) == stop_after:
            raise Cancelled()
        if seen is not None:
            seen.append(options)
        if options.mem_mb < least_mb:
            raise BootFailed("Out of memory.")
        return Replay(RECORDED[runner], lambda: Memory(30_000_000, 1_000_000))

    return boot


def test_the_least_memory_is_sought_and_every_try_kept(tmp_path: Path, fresh_store: Store) -> None:
    seen: list[BootOptions] = []
    exp = run(tmp_path, fresh_store, limited(23, seen=seen), SEARCH, dict([*IMAGES.items()][1:]))
    *tries, found = exp.samples
    assert {s.kind for s in tries} == {TRY}
    assert (found.kind, found.ok, found.values["least_bytes"]) == ("minimum", True, 23 << 20)
    assert found.values["tries_count"] == len(tries) == len(seen)
    assert found.marks == {"spawn": 0.0, "beam": 0.112, "app": 0.411}
    assert [options.deadline for options in seen] == [120.0] + [pytest.approx(3 * 0.411 + 2)] * (len(seen) - 1)
    assert [s.values["limit_bytes"] / (1 << 20) for s in tries] == [options.mem_mb for options in seen]
    assert {s.error for s in tries if not s.values["reached_count"]} == {"Out of memory."}
    assert exp.failed == ()
    assert "1 of 1 boots" in repr(exp)


@pytest.mark.parametrize("boots", [0, 1, 5, 9])
def test_a_search_that_was_stopped_makes_no_try_twice(tmp_path: Path, fresh_store: Store, boots: int) -> None:
    images = dict([*IMAGES.items()][1:])
    with pytest.raises(Cancelled, match="Stopped after 0 of 1 boots"):
        run(tmp_path, fresh_store, limited(23, stop_after=boots), SEARCH, images)
    kept = load_experiment(tmp_path / "night.jsonl").samples
    assert len(kept) == boots
    seen: list[BootOptions] = []
    exp = run(tmp_path, fresh_store, limited(23, seen=seen), SEARCH, images)
    assert exp.samples[:boots] == kept
    assert exp.samples[-1].values == {"least_bytes": 23 << 20, "tries_count": boots + len(seen)}


def test_an_arm_that_does_not_boot_has_no_least_memory(tmp_path: Path, fresh_store: Store) -> None:
    exp = run(tmp_path, fresh_store, limited(1000), SEARCH, dict([*IMAGES.items()][1:]))
    assert (exp.samples[-1].ok, exp.samples[-1].error) == (False, "Out of memory.")


def test_containers_without_control_groups_are_told(tmp_path: Path, fresh_store: Store,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replay, "cgroup", lambda self: None)
    with pytest.raises(BenchError) as caught:
        run(tmp_path, fresh_store, limited(23), SEARCH, dict([*IMAGES.items()][1:]))
    assert caught.value.message == \
        "The memory of oci+scratch@crun cannot be limited: control groups do not work on this host."


DENSE = make_plan("hello", ARMS[:1], blocks=1, warmup=0, until="app", kinds=("density",), copies=(1, 3))


def test_copies_run_at_once_and_every_number_of_them_is_a_sample(
        tmp_path: Path, fresh_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replay, "at_most", 3)
    names: list[str | None] = []

    def boot(store: Store, image: Image, runner: str, options: BootOptions, *, name: str | None = None) -> Replay:
        names.append(name)
        return Replay(RECORDED[runner], lambda: Memory(30_000_000, 1_000_000))

    exp = run(tmp_path, fresh_store, boot, DENSE, dict([*IMAGES.items()][:1]))
    found = {s.values["copies_count"]: s for s in exp.samples}
    assert set(found) == {1, 3}
    assert found[3].memory == Memory(90_000_000, 3_000_000)
    assert (found[3].values["total_bytes"], found[3].values["each_bytes"]) == (93_000_000, 31_000_000)
    assert names[0] == "bench-hello"
    assert sorted(map(str, names[1:])) == ["bench-hello-0", "bench-hello-0", "bench-hello-1", "bench-hello-2"]
    assert run(tmp_path, fresh_store, boot, DENSE, dict([*IMAGES.items()][:1])).samples == exp.samples


def test_more_copies_than_fit_are_refused_before_any_is_measured(tmp_path: Path, fresh_store: Store) -> None:
    huge = lambda: Memory(1 << 50, 0)  # noqa: E731
    with pytest.raises(BenchError, match=r"^3 copies of release@process need about"):
        run(tmp_path, fresh_store, replaying(memory=huge), DENSE, dict([*IMAGES.items()][:1]))
    assert load_experiment(tmp_path / "night.jsonl").samples == ()


def test_an_arm_whose_copy_does_not_start_is_a_failed_sample(tmp_path: Path, fresh_store: Store,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replay, "at_most", 3)
    exp = run(tmp_path, fresh_store, replaying(fail=lambda turn, runner: None if turn < 1 else MachineError("No.")),
              DENSE, dict([*IMAGES.items()][:1]))
    assert [(s.ok, s.error) for s in exp.samples] == [(False, "No.")] * 2
    assert {s.values["copies_count"] for s in exp.samples} == {1, 3}


def test_a_second_measurement_is_refused_where_it_may_not_wait(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "lock"
    with measuring(path), pytest.raises(BenchError) as caught, measuring(path, wait=False):
        pytest.fail("the lock was taken")
    assert caught.value.message.startswith(f"Another measurement is under way on this host (process {os.getpid()}, ")
    assert caught.value.hint == "Wait until it has ended, or let this one wait: --if-busy wait"


def test_a_wall_clock_that_jumps_is_told_once(tmp_path: Path, fresh_store: Store) -> None:
    before, after = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    moments = itertools.chain([before] * 8, itertools.repeat(after))
    exp = run_experiment(PLAN, IMAGES, fresh_store, tmp_path / "jump.jsonl", boot=replaying(),
                         lock=tmp_path / "l" / "lock", now=lambda: next(moments))
    (line,) = (line for line in exp.notes if "clock" in line)
    assert "The wall clock jumped back by 86400 s." in line
    assert len(exp.samples) == 8
