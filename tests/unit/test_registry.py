"""What runs is known from disk, and nobody else's process is ever taken for ours."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from unibeam_nb import held, process
from unibeam_nb.errors import MachineError
from unibeam_nb.machine import children, clean, find_machine, machines, proc, registry
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.registry import Record
from unibeam_nb.model import Mark
from unibeam_nb.store import Store

NONCE = "0123456789abcdef"

NOBODY = ProcessId(2**22 + 1, 2, "another boot")
"""A process that cannot exist: Linux counts pids to 2**22 at most (PID_MAX_LIMIT)."""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = process.spawn(["sleep", "60"])
    children.adopt(child)
    yield child
    if children.reap(child.pid) is None:
        child.kill()
        child.wait()
        children.reap(child.pid)


def enter(store: Store, name: str, process_id: ProcessId | None, **changes: object) -> Record:
    """Put a machine on the books as a boot would."""
    own = proc.identify(os.getpid())
    assert own is not None
    directory = registry.make_directory(store)
    record = Record(directory.name, name, "release@process", process_id, own, name, "5" * 64, "native", NONCE,
                    "2024-05-06T07:08:09.000+00:00", ((18080, 8080),), "http://127.0.0.1:18080/",
                    (Mark("spawn", 0.0), Mark("beam", 0.25, 10.0)), 12345, ready=True)
    record = dataclasses.replace(record, **changes)  # type: ignore[arg-type]
    registry.write(directory, record)
    return record


def running(child: subprocess.Popen[bytes]) -> ProcessId:
    found = proc.identify(child.pid)
    assert found is not None
    return found


def test_a_record_survives_the_disk(fresh_store: Store) -> None:
    record = enter(fresh_store, "hello", NOBODY)
    assert registry.records(fresh_store) == [(record, registry.root(fresh_store) / record.id)]


def test_a_machines_directory_is_private(fresh_store: Store) -> None:
    assert registry.make_directory(fresh_store).stat().st_mode & 0o077 == 0


def test_a_running_machine_is_attached_with_all_that_is_known(
        fresh_store: Store, sleeper: subprocess.Popen[bytes]) -> None:
    enter(fresh_store, "hello", running(sleeper))
    machine = find_machine(fresh_store, "hello")
    assert machine.alive
    assert (machine.pid, machine.arm, machine.accelerator) == (sleeper.pid, "release@process", "native")
    assert machine.ports == {8080: 18080}
    assert machine.marks["beam"] == Mark("beam", 0.25, 10.0)
    assert repr(machine) == (f"<Machine hello ({machine.id}) release@process native: running, "
                             "http://127.0.0.1:18080/>")


def test_a_reused_pid_is_not_our_machine_and_is_not_killed(
        fresh_store: Store, sleeper: subprocess.Popen[bytes]) -> None:
    stranger = running(sleeper)
    enter(fresh_store, "hello", dataclasses.replace(stranger, ticks=stranger.ticks - 1))
    machine = find_machine(fresh_store, "hello")
    assert not machine.alive
    machine.stop()
    assert sleeper.poll() is None
    assert machines(fresh_store) == []


def test_a_pid_from_before_the_hosts_last_boot_is_not_our_machine(
        fresh_store: Store, sleeper: subprocess.Popen[bytes]) -> None:
    enter(fresh_store, "hello", dataclasses.replace(running(sleeper), host="another boot"))
    assert not find_machine(fresh_store, "hello").alive


def test_stopping_ends_the_process_and_keeps_the_console(
        fresh_store: Store, sleeper: subprocess.Popen[bytes]) -> None:
    record = enter(fresh_store, "hello", running(sleeper))
    (registry.root(fresh_store) / record.id / "console.log").write_bytes(b"listening\n")
    machine = find_machine(fresh_store, "hello")
    machine.stop()
    machine.stop()
    assert not machine.alive
    assert machine.exit_code == -signal.SIGTERM
    assert machine.console.text() == "listening\n"
    assert not (registry.root(fresh_store) / record.id).exists()


def test_a_process_that_ignores_the_request_is_killed(fresh_store: Store) -> None:
    child = process.spawn(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"],
                          stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout as output:  # Open until the end: a shell that writes to nobody would end of that.
        assert output.readline() == b"ready\n"
        children.adopt(child)
        enter(fresh_store, "stubborn", running(child))
        machine = find_machine(fresh_store, "stubborn")
        machine.stop()
        assert machine.exit_code == -signal.SIGKILL


def test_a_machine_is_found_by_name_or_the_beginning_of_its_id(
        fresh_store: Store, sleeper: subprocess.Popen[bytes]) -> None:
    record = enter(fresh_store, "hello", running(sleeper))
    assert find_machine(fresh_store, record.id[:4]).name == "hello"


def test_an_unknown_machine_is_answered_with_what_runs(fresh_store: Store, sleeper: subprocess.Popen[bytes]) -> None:
    with pytest.raises(MachineError) as caught:
        find_machine(fresh_store, "nobody")
    assert str(caught.value) == "There is no machine 'nobody'.\n  Hint: No machine is running."
    enter(fresh_store, "hello", running(sleeper))
    enter(fresh_store, "gone", NOBODY)
    with pytest.raises(MachineError) as caught:
        find_machine(fresh_store, "nobody")
    assert caught.value.hint == "Running: hello."


def test_a_running_machine_comes_before_one_that_ended(fresh_store: Store, sleeper: subprocess.Popen[bytes]) -> None:
    enter(fresh_store, "hello", running(sleeper))
    enter(fresh_store, "hello", NOBODY)
    assert find_machine(fresh_store, "hello").alive


def test_the_end_is_reckoned_from_the_machines_own_clock(fresh_store: Store) -> None:
    record = enter(fresh_store, "hello", NOBODY)
    console = registry.root(fresh_store) / record.id / "console.log"
    console.write_bytes(f"\r\n@unibeam {NONCE} exit 13500000000 code=4\r\n".encode())
    machine = find_machine(fresh_store, "hello")
    assert machine.marks["exit"] == Mark("exit", 3.75, 13.5)
    assert machine.exit_code == 4


def test_memory_of_a_machine_that_ended_is_refused(fresh_store: Store) -> None:
    enter(fresh_store, "hello", NOBODY)
    with pytest.raises(MachineError, match=r"^hello is not running\."):
        find_machine(fresh_store, "hello").memory()


def test_clean_stops_what_runs_and_removes_what_is_left(
        fresh_store: Store, sleeper: subprocess.Popen[bytes]) -> None:
    live = enter(fresh_store, "hello", running(sleeper), started="2024-05-06T07:08:10.000+00:00")
    dead = enter(fresh_store, "gone", NOBODY)
    broken = registry.make_directory(fresh_store)
    (broken / "machine.json").write_text("{half a rec")
    assert clean(fresh_store) == [
        f"Removed the remains of gone ({dead.id}, release@process).",
        f"Stopped hello ({live.id}, release@process).",
        f"Removed the unreadable remains of {broken.name}."]
    assert children.reap(sleeper.pid) == -signal.SIGTERM
    assert registry.directories(fresh_store) == []
    assert clean(fresh_store) == []


def test_a_machine_that_is_being_booted_is_alive_while_its_booter_is(fresh_store: Store) -> None:
    enter(fresh_store, "hello", None, ready=False)
    enter(fresh_store, "orphan", None, ready=False, keeper=NOBODY)
    assert [m.alive for m in machines(fresh_store) if m.name == "hello"] == [True]
    assert [m.alive for m in machines(fresh_store) if m.name == "orphan"] == [False]


def test_a_zombie_does_not_count_as_running() -> None:
    child = process.spawn(["true"])
    ends = time.monotonic() + 5
    while Path(f"/proc/{child.pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < ends
    assert proc.identify(child.pid) is None
    child.wait()


def test_a_process_whose_main_thread_has_ended_runs_until_its_last_thread_ends() -> None:
    ends_its_main_thread = ("import ctypes, threading\n"
                            "libc = ctypes.CDLL(None)\n"
                            "threading.Thread(target=libc.sleep, args=(60,)).start()\n"
                            "libc.syscall(60, 0)")  # exit(2) of x86-64, which ends the calling thread alone
    child = process.spawn([sys.executable, "-c", ends_its_main_thread])
    try:
        ends = time.monotonic() + 20
        while Path(f"/proc/{child.pid}/stat").read_text().split()[2] != "Z":
            assert time.monotonic() < ends
        assert running(child).alive
    finally:
        child.kill()
    assert child.wait() == -signal.SIGKILL
    assert proc.identify(child.pid) is None


def test_descendants_are_found_at_any_depth() -> None:
    child = process.spawn(["sh", "-c", "sh -c 'sleep 60 & wait' & wait"])
    try:
        parent = running(child)
        ends = time.monotonic() + 5
        while len(proc.descendants(parent)) < 2:
            assert time.monotonic() < ends
        family = proc.descendants(parent)
    finally:
        process.stop_group(child)
    assert proc.wait(family, 5.0)


def test_what_is_killed_stands_still_before_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    child = process.spawn([sys.executable, "-c", "while True: pass"])
    parent, states = running(child), []
    really_send = proc.send

    def send_late(to: ProcessId, number: signal.Signals) -> None:
        # As where the process is in the middle of a fork, which is finished before it stops.
        threading.Timer(0.1 if number == signal.SIGSTOP else 0.0, really_send, (to, number)).start()

    def rest() -> list[ProcessId]:
        states.append(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0])
        return []

    monkeypatch.setattr(proc, "send", send_late)
    assert proc.kill([parent], rest, reap=child.poll)
    assert states[1:] == ["T"]


STARTS_AND_STARTS = """
import os, sys, time
while True:
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    time.sleep(0.0005)
"""


@pytest.mark.parametrize("how", ["below it", "by its variable"])
def test_what_is_started_just_when_its_parent_is_killed_ends_too(tmp_path: Path, how: str) -> None:
    for number in range(5):
        mine = f"/nowhere/{tmp_path.name}-{number}"
        child = process.spawn([sys.executable, "-c", STARTS_AND_STARTS], env={held.VARIABLE: mine})
        parent = running(child)
        ends = time.monotonic() + 10
        while len(proc.descendants(parent)) < 20:
            assert time.monotonic() < ends
        if how == "below it":
            assert proc.kill([parent], partial(proc.descendants, parent), reap=child.poll)
        else:
            held.kill_those_of(Path(mine))
        child.wait(5)
        time.sleep(0.05)
        assert proc.with_variable(held.VARIABLE, mine) == []


def test_a_stray_is_known_by_what_it_was_started_with() -> None:
    child = process.spawn(["sleep", "60"], env={"HOME": "/nowhere/unibeam-test"})
    try:
        ends = time.monotonic() + 5
        while not (found := proc.with_variable("HOME", "/nowhere/unibeam-test")):
            # A program that has just been started has no environment to read for a moment.
            assert time.monotonic() < ends
        assert [p.pid for p in found] == [child.pid]
    finally:
        process.stop_group(child)


@pytest.fixture
def signals() -> Iterator[list[object]]:
    """Record the signals that would be sent, and send none."""
    sent: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signal, "pidfd_send_signal", lambda *what: sent.append(what))
        patch.setattr(proc.os, "kill", lambda *what: sent.append(what))
        yield sent


def init_process() -> ProcessId:
    found = proc.identify(1)
    assert found is not None
    return found


@pytest.mark.parametrize("stale", [True, False])
def test_nothing_below_init_is_ever_taken_for_ours(fresh_store: Store, signals: list[object], stale: bool) -> None:
    init = init_process()
    enter(fresh_store, "hello", dataclasses.replace(init, ticks=init.ticks + 1) if stale else init)
    assert proc.descendants(init) == []
    machine = machines(fresh_store)[0]
    if stale:
        machine.stop()
    else:
        proc.end([init], lambda: proc.descendants(init), grace=0.0, patience=0.0)
    assert signals == []


def test_the_children_of_a_stale_pid_are_not_ours(
        fresh_store: Store, sleeper: subprocess.Popen[bytes], signals: list[object]) -> None:
    own = proc.identify(os.getpid())
    assert own is not None
    assert sleeper.pid in {p.pid for p in proc.descendants(own)}
    stale = dataclasses.replace(own, ticks=own.ticks - 1)
    assert proc.descendants(stale) == []
    enter(fresh_store, "hello", stale)
    machines(fresh_store)[0].stop()
    assert signals == []


def test_neither_this_process_nor_those_above_it_are_signalled(signals: list[object]) -> None:
    assert {1, os.getpid(), os.getppid()} <= proc.untouchable()
    for pid in (1, os.getpid(), os.getppid()):
        if found := proc.identify(pid):
            proc.send(found, signal.SIGKILL)
    assert signals == []
