"""What is measured of a machine besides its boot, on processes of this very test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from unibeam_nb.bench.journal import load_experiment
from unibeam_nb.bench.probes.footprint import footprint
from unibeam_nb.bench.probes.idle import idle
from unibeam_nb.bench.probes.steady import apart, steady
from unibeam_nb.errors import UsageError
from unibeam_nb.machine import cgroup, proc
from unibeam_nb.machine.cgroup import Usage, memory_directory
from unibeam_nb.machine.console import Console
from unibeam_nb.machine.proc import ProcessId, cpu_seconds, threads
from unibeam_nb.model import TRY, Memory


@pytest.fixture
def spinning() -> Iterator[ProcessId]:
    """A process that uses a whole core."""
    yield from _running("import time\nprint(flush=True)\nwhile True: pass")


@pytest.fixture
def sleeping() -> Iterator[ProcessId]:
    yield from _running("import time\nprint(flush=True)\ntime.sleep(60)")


def _running(code: str) -> Iterator[ProcessId]:
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    found = proc.identify(child.pid)
    assert found is not None
    try:
        yield found
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


class Some:
    """A machine that is nothing but processes."""

    def __init__(self, *members: ProcessId, group: Usage | None = None, guest: int | None = None) -> None:
        self.members, self.group, self.guest = members, group, guest
        self.name, self.url = "some", None
        self.console = Console(Path(os.devnull))

    def processes(self) -> Sequence[ProcessId]:
        return self.members

    def memory(self) -> Memory:
        return Memory(20, 3, 8)

    def cgroup(self) -> Usage | None:
        return self.group

    def touched(self) -> int | None:
        return self.guest


def test_processor_time_is_counted_per_process(spinning: ProcessId, sleeping: ProcessId) -> None:
    before = cpu_seconds([spinning]), cpu_seconds([sleeping])
    time.sleep(0.3)
    assert cpu_seconds([spinning]) - before[0] > 0.02
    assert cpu_seconds([sleeping]) - before[1] < 0.01
    assert cpu_seconds([ProcessId(spinning.pid, 1)]) == 0


def test_an_idle_machine_is_told_from_a_busy_one(spinning: ProcessId, sleeping: ProcessId) -> None:
    assert idle(Some(spinning), 0.3)["idle_cpu_ratio"] > 0.1
    assert idle(Some(sleeping), 0.2)["idle_cpu_ratio"] < 0.05


def test_a_footprint_holds_only_what_the_runner_knows() -> None:
    assert footprint(Some()) == {"beam_total_bytes": 8}
    assert footprint(Some(group=Usage(5, None))) == {"beam_total_bytes": 8, "cgroup_current_bytes": 5}
    assert footprint(Some(group=Usage(5, 9), guest=7), Memory(1, 1)) == {
        "cgroup_current_bytes": 5, "cgroup_peak_bytes": 9, "guest_touched_bytes": 7}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_machine_leaves_the_last_core_to_the_load_and_gets_it_back(sleeping: ProcessId) -> None:
    cores = os.sched_getaffinity(sleeping.pid)
    with apart([sleeping]) as (server, loader):
        assert server == len(cores) - 1
        assert loader == max(cores)
        assert all(os.sched_getaffinity(thread) == cores - {loader} for thread in threads(sleeping))
    assert os.sched_getaffinity(sleeping.pid) == cores


def test_on_one_core_nothing_is_moved(monkeypatch: pytest.MonkeyPatch, sleeping: ProcessId) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    with apart([sleeping]) as shared:
        assert shared == (1, None)


def test_processes_of_others_are_left_where_they_are(monkeypatch: pytest.MonkeyPatch, sleeping: ProcessId) -> None:
    def refuse(pid: int, cores: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    with apart([sleeping]) as shared:
        assert shared == (2, None)


def test_a_machine_without_http_is_not_asked() -> None:
    with pytest.raises(UsageError) as caught:
        steady(Some())
    assert caught.value.message == "some serves no HTTP, which the load needs."


V1 = "5:devices:/\n4:memory:/unibeam-1\n2:cpu,cpuacct:/\n0::/\n"
V2 = "0::/unibeam-1/container\n"


def test_both_layouts_of_control_groups_are_read(tmp_path: Path) -> None:
    assert memory_directory(V1, tmp_path) == tmp_path / "memory/unibeam-1"
    assert memory_directory(V2, tmp_path) == tmp_path / "unibeam-1/container"
    assert memory_directory("4:memory:/\n0::/\n", tmp_path) is None
    assert memory_directory("", tmp_path) is None


def test_a_groups_memory_is_read_and_ours_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                     sleeping: ProcessId) -> None:
    monkeypatch.setattr(cgroup, "PROC", tmp_path)
    for pid, text in ((sleeping.pid, V2), (os.getpid(), "0::/user\n")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text(text)
    group = tmp_path / "unibeam-1/container"
    group.mkdir(parents=True)
    assert cgroup.usage(sleeping, tmp_path) is None
    (group / "memory.current").write_text("4096\n")
    assert cgroup.usage(sleeping, tmp_path) == Usage(4096, None)
    (group / "memory.peak").write_text("8192\n")
    assert cgroup.usage(sleeping, tmp_path) == Usage(4096, 8192)
    (tmp_path / str(sleeping.pid) / "cgroup").write_text("0::/user\n")
    assert cgroup.usage(sleeping, tmp_path) is None


def test_swap_is_limited_where_it_is_counted(tmp_path: Path) -> None:
    assert not cgroup.limits_swap(tmp_path)
    (tmp_path / "user.slice").mkdir()
    (tmp_path / "user.slice" / "memory.swap.max").write_text("max\n")
    assert cgroup.limits_swap(tmp_path)


def test_a_recorded_journal_of_every_kind_is_read() -> None:
    """``tests/fixtures/journals`` holds one real experiment each, measured on a busy host: their form matters."""
    directory = Path(__file__).parent.parent / "fixtures" / "journals"
    steady_ones, dense, least = (load_experiment(directory / f"{kind}.jsonl") for kind in
                                 ("steady", "density", "minimum"))
    assert {"requests_per_s", "latency_p50_s", "latency_p90_s", "latency_p99_s", "errors_count", "connections_count",
            "load_s", "idle_cpu_ratio", "cpu_per_request_s"} <= set(steady_ones.measured_of("steady")[0].values)
    assert len(steady_ones.measured) == len(steady_ones.measured_of("steady")) == 6
    assert {s.values["copies_count"] for s in dense.measured_of("density")} == {1, 2, 4}
    for s in dense.measured_of("density"):
        assert s.memory is not None
        assert s.values["total_bytes"] == s.memory.total == s.values["each_bytes"] * s.values["copies_count"]
    found = {s.arm: s.values["least_bytes"] / (1 << 20) for s in least.measured_of("minimum")}
    assert found == {"linux+tiny+lean@qemu": 40, "oci+scratch@crun": 16, "oci+scratch+lean@crun": 11}
    tries = least.measured_of(TRY)
    assert len(tries) == 33
    assert all(bool(s.error) != bool(s.values["reached_count"]) for s in tries)
