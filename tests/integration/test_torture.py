"""A slice of `make torture`: some interruptions, a machine that prints more than is kept of it, and a root that is
entered and left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from unibeam_nb.errors import MachineError
from unibeam_nb.image.base import base_root
from unibeam_nb.lab import Lab
from unibeam_nb.machine import ring

ROOT = Path(__file__).parents[2]

SEED = 20260
KINDS = (("bench", "full disk"), ("qemu", "SIGTERM"), ("podman", "SIGINT"), ("build", "killed tool"),
         ("crun", "tool garbage"), ("kernel-bench", "SIGKILL"), ("uml", "SIGKILL"), ("mix", "tool fails"))
"""What is interrupted here, and how: the first case of each of these kinds."""


@pytest.fixture
def cases(torture: Callable[[str], ModuleType]) -> ModuleType:
    return torture("cases")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the mounts that these cases need")
@pytest.mark.serial
def test_some_interruptions_lose_nothing_and_leave_nothing(lab: Lab, cases: ModuleType) -> None:
    first = {(one.work, one.fault): one.number for one in map(partial(cases.case, SEED), range(len(cases.KINDS)))}
    script = ROOT / "scripts" / "torture.py"
    done = subprocess.run([sys.executable, script, "faults", "--seed", str(SEED), "--only",
                           *(str(first[kind]) for kind in KINDS)],
                          capture_output=True, text=True, check=False, timeout=580,
                          env=os.environ | {"UNIBEAM_HOME": str(lab.store.cache.parent)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(KINDS)} interruptions of {len(cases.KINDS)} kinds, seed {SEED}: 0 did not hold" in done.stdout
    for what in ("SIGINT 1", "SIGKILL 2", "SIGTERM 1", "full disk 1", "killed tool 1", "tool fails 1",
                 "tool garbage 1"):
        assert what in done.stdout


FLOOD = """
-module(flood).
-export([start/0]).
start() ->
    Piece = binary:copy(<<"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\\n">>, 1024),
    spawn(fun() -> [io:put_chars(Piece) || _ <- lists:seq(1, 256)], io:put_chars("that was all\\n") end),
    ok.
"""


def test_a_machine_that_prints_a_lot_fills_neither_memory_nor_disk(lab: Lab) -> None:
    lab.build("flood", text=FLOOD, target="release")
    machine = lab.boot("flood", arm="release@process")
    try:
        most = 0
        for text in machine.console.follow(timeout=120):
            most = max(most, machine.console.path.stat().st_blocks * 512)
            if "that was all" in text:
                break
        assert machine.console.path.stat().st_size >= 256 << 16
        assert len(machine.console.text()) < ring.HEAD + ring.RING + 200
        assert "bytes of the console between are not kept]" in machine.console.text()
        assert machine.console.tail(1) == ["that was all"]
        assert machine.marks["app"].at > 0
    finally:
        machine.stop()
    assert len(machine.console.raw()) < ring.HEAD + ring.RING + 200


def test_copies_of_a_machine_are_all_up_or_refused_with_the_number_that_would_fit(lab: Lab) -> None:
    lab.build("flood", text=FLOOD, target="release")
    first = lab.boot("flood", arm="release@process")
    try:
        copies = lab.clones(first, 2)
        assert [machine.alive for machine in copies] == [True, True]
        for machine in copies:
            machine.stop()
        with pytest.raises(MachineError, match=r"1000000 copies of flood need about .*\n  Hint: About \d+ would fit"):
            lab.clones(first, 1_000_000)
        assert [machine.id for machine in lab.ps() if machine.alive and machine.name.startswith("flood")] == [first.id]
    finally:
        first.stop()


ENTER = """
import os, subprocess, sys
from pathlib import Path
from tortures.hosts import entered, environment

root, scratch, script = sys.argv[1:]
subprocess.run(entered(Path(root), Path(scratch), ["sh", "-c", script]), env=environment(os.environ), check=True)
"""

ENTERED = "echo $$ $HOME $(ls -d /proc/[0-9]* | wc -l) $(ls /.machine | wc -l) > /tmp/seen; sleep 86399 & wait"
"""Says which process it is, its home, how many processes there are, and how much of the machine it came from."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can enter the root of another release")
def test_a_root_is_entered_and_left_with_whoever_entered_it(lab: Lab, tmp_path: Path) -> None:
    root, scratch = tmp_path / "root", tmp_path / "scratch"
    with tarfile.open(base_root(lab.store).layer) as layer:
        layer.extractall(root, filter="fully_trusted")
    scratch.mkdir()
    for name in ("proc", "sys", "dev", "run", "tmp", "opt"):
        (root / name).mkdir(exist_ok=True)
    child = subprocess.Popen([sys.executable, "-c", ENTER, root, scratch, ENTERED],
                             env=os.environ | {"PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT}"})
    try:
        ends = time.monotonic() + 60
        while not sleepers():
            assert time.monotonic() < ends
            time.sleep(0.1)
        number, home, processes, machine = (scratch / "seen").read_text().split()
        assert (number, home, machine) == ("1", "/root", "0")
        assert int(processes) <= 4
        assert str(root) not in Path("/proc/self/mounts").read_text()
        child.send_signal(signal.SIGKILL)
        child.wait()
        while sleepers():
            assert time.monotonic() < ends
            time.sleep(0.1)
    finally:
        child.kill()
        child.wait()


def sleepers() -> list[str]:
    found = subprocess.run(["pgrep", "-fx", "sleep 86399"], capture_output=True, text=True, check=False)
    return found.stdout.split()
