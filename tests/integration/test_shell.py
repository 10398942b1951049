"""A shell on a machine's console: what is typed arrives, in every runner that can."""

from __future__ import annotations

import time

import pytest

from unibeam_nb.errors import MachineError, UsageError
from unibeam_nb.lab import Lab
from unibeam_nb.machine import Machine
from unibeam_nb.store import Store

QUIET = "-module(quiet).\n-export([start/0]).\nstart() -> {ok, spawn_link(fun() -> receive never -> ok end end)}.\n"


@pytest.fixture(scope="module")
def lab(store: Store) -> Lab:
    made = Lab(store)
    made.build("quiet", text=QUIET, target="release")
    return made


def said(machine: Machine, wanted: str, seconds: float = 30) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if any(line.endswith(wanted) for line in machine.console.lines()):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("arm", ["release@process", "oci+scratch@crun", "oci+scratch@podman", "linux@qemu"])
def test_a_line_typed_is_answered(lab: Lab, arm: str) -> None:
    machine = lab.boot("quiet", arm=arm, machine_name=f"typed-{arm.partition('@')[2]}", shell=True)
    try:
        assert said(machine, "1>"), machine.console.text()
        lab.machine(machine.name).write("lists:sum([20, 22]).")
        assert said(machine, "42"), machine.console.text()
        with pytest.raises(UsageError, match="That is not a line that can be typed"):
            machine.write("two\nlines")
    finally:
        machine.stop()
    with pytest.raises(MachineError, match="is not running"):
        machine.write("1.")


def test_a_machine_without_a_shell_says_so(lab: Lab) -> None:
    machine = lab.boot("quiet", arm="process", machine_name="mute")
    try:
        with pytest.raises(MachineError) as caught:
            machine.write("1.")
        assert str(caught.value) == "mute has no shell.\n  Hint: Boot it with --shell."
    finally:
        machine.stop()
    with pytest.raises(UsageError, match=r"linux\+resume@qemu has no shell"):
        lab.boot("quiet", arm="linux@qemu", resume=True, shell=True)
