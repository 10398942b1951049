"""Machines whose booter was killed, or that have lost the process by which they are known."""

from __future__ import annotations

import dataclasses
import os
import secrets
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest

from unibeam_nb import process
from unibeam_nb.machine import machines, proc, registry, strays, ways
from unibeam_nb.machine.machine import recover
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.registry import Record
from unibeam_nb.model import NONCE_VARIABLE
from unibeam_nb.progress import listening
from unibeam_nb.store import Store

GONE = ProcessId(2**22 - 1, 1)


@pytest.fixture
def nonce() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def stray(nonce: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that was started for the machine with this nonce."""
    child = process.spawn(["sleep", "60"], env={NONCE_VARIABLE: nonce})
    ends = time.monotonic() + 5
    while not proc.with_variable(NONCE_VARIABLE, nonce) and time.monotonic() < ends:
        time.sleep(0.01)
    yield child
    process.stop_group(child)


def enter(store: Store, nonce: str, **changes: object) -> Record:
    directory = registry.make_directory(store)
    record = Record(directory.name, "hello", "release@process", None, GONE, "hello", "5" * 64, "native", nonce,
                    "2026-01-01T00:00:00.000+00:00")
    record = dataclasses.replace(record, **changes)  # type: ignore[arg-type]
    registry.write(directory, record)
    return record


def test_a_machine_whose_booter_was_killed_before_it_noted_the_process_ends_all_the_same(
        fresh_store: Store, nonce: str, stray: subprocess.Popen[bytes]) -> None:
    record = enter(fresh_store, nonce)
    assert [one.pid for one in strays.of(record)] == [stray.pid]
    machines(fresh_store)[0].stop()
    assert stray.wait(5) == -9
    assert registry.directories(fresh_store) == []


def test_the_next_boot_ends_what_nobody_waits_for_and_leaves_what_is_up(
        fresh_store: Store, nonce: str, stray: subprocess.Popen[bytes]) -> None:
    enter(fresh_store, nonce)
    up = enter(fresh_store, secrets.token_hex(8), name="up", ready=True)
    told: list[str] = []
    with listening(lambda event: told.append(event.title)):
        recover(fresh_store)
    assert told == ["Stopped hello, which was left half-way when the process that booted it was killed."]
    assert stray.wait(5) == -9
    assert [machine.id for machine in machines(fresh_store)] == [up.id]


@pytest.mark.parametrize("changes", [{"nonce": ""}, {"nonce": "e"}, {"id": ""}, {"nonce": "/"}, {"id": "../../etc"}])
def test_a_record_cannot_mean_everybodys_processes(
        fresh_store: Store, nonce: str, stray: subprocess.Popen[bytes], changes: dict[str, str]) -> None:
    record = dataclasses.replace(enter(fresh_store, nonce), **changes)  # type: ignore[arg-type]
    assert strays.of(record) == []
    assert psutil.pid_exists(stray.pid)


@pytest.mark.skipif(not os.access(ways.CGROUPS / "pids", os.W_OK), reason="no control group can be made here")
def test_control_groups_of_a_container_that_was_never_up_go_with_the_machine(fresh_store: Store, nonce: str) -> None:
    record = enter(fresh_store, nonce, arm="oci+scratch@crun")
    made = [ways.CGROUPS / "pids" / name for name in (ways.container_name(record.id), ways.trial_name(record.id))]
    for directory in made:
        (directory / "below").mkdir(parents=True)
    machines(fresh_store)[0].stop()
    assert [directory for directory in made if directory.exists()] == []


def test_a_machine_that_never_got_a_record_is_forgotten_by_the_next_start(fresh_store: Store, nonce: str) -> None:
    """Whoever began it was killed, or found the disk full, before there was one."""
    left = registry.make_directory(fresh_store)
    (left / ".machine.json").write_text("{")
    kept = enter(fresh_store, nonce, ready=True)
    recover(fresh_store)
    assert [path.name for path in registry.directories(fresh_store)] == [kept.id]
