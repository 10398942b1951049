"""A bundle's configuration, and the ways in which runtimes are tried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unibeam_nb.errors import MachineError
from unibeam_nb.machine.bundle import config
from unibeam_nb.machine.ways import Way, candidates, remembered, settle
from unibeam_nb.store import Store

ARGV = ("/opt/release/erts-1/bin/erlexec", "-noinput")


def test_the_program_runs_in_its_state_directory_with_just_its_environment() -> None:
    process = config(ARGV, {"PORT": "80", "HOME": "/x"}, root="root", hostname="a.b")["process"]
    assert process["args"] == list(ARGV)
    assert process["env"] == ["PORT=80", "HOME=/x"]
    assert process["cwd"] == "/var/lib/unibeam"
    assert process["noNewPrivileges"] is True
    assert "rlimits" not in process


def test_the_hosts_network_is_shared_and_all_else_is_private() -> None:
    linux = config(ARGV, {}, root="root", hostname="a.b")["linux"]
    assert {n["type"] for n in linux["namespaces"]} == {"pid", "ipc", "uts", "mount"}
    assert "resources" not in linux
    assert "cgroupsPath" not in linux


def test_a_memory_limit_goes_with_a_cgroup() -> None:
    linux = config(ARGV, {}, root="root", hostname="a.b", cgroup="/unibeam-1", memory=1 << 20)["linux"]
    assert linux["cgroupsPath"] == "/unibeam-1"
    assert linux["resources"] == {"memory": {"limit": 1048576}}


def test_the_hosts_sys_is_read_only() -> None:
    mounts = {m["destination"]: m for m in config(ARGV, {}, root="root", hostname="a.b")["mounts"]}
    assert "ro" in mounts["/sys"]["options"]
    assert json.dumps(mounts)


def test_ways_are_tried_from_the_most_complete_down() -> None:
    assert candidates(copies=False, unified=True) == [
        Way(False, True), Way(True, True), Way(False, False), Way(True, False)]
    assert candidates(copies=True, unified=False) == [
        Way(cgroups=True), Way(cgroups=False), Way(cgroups=True, copy=True), Way(cgroups=False, copy=True)]


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    (tmp_path / "crun").write_text("a program")
    return tmp_path / "crun"


def test_the_way_that_worked_is_remembered(fresh_store: Store, runtime: Path) -> None:
    tried: list[Way] = []

    def attempt(way: Way) -> str | None:
        tried.append(way)
        return None if not way.cgroups else "no cgroups here"

    ways = candidates(copies=False, unified=False)
    assert remembered(fresh_store, runtime) is None
    assert settle(fresh_store, runtime, ways, attempt) == Way(cgroups=False)
    assert settle(fresh_store, runtime, ways, attempt) == Way(cgroups=False)
    assert tried == ways


def test_another_version_of_the_runtime_is_tried_again(fresh_store: Store, runtime: Path) -> None:
    settle(fresh_store, runtime, [Way()], lambda way: None)
    runtime.write_text("a newer program")
    import os
    os.utime(runtime, ns=(1, 1))
    assert remembered(fresh_store, runtime) is None


def test_when_no_way_works_every_reason_is_told_once(fresh_store: Store, runtime: Path) -> None:
    with pytest.raises(MachineError) as caught:
        settle(fresh_store, runtime, candidates(copies=True, unified=False), lambda way: f"cgroups {way.cgroups}")
    assert caught.value.message == "crun cannot run a container on this host."
    assert caught.value.details == ("cgroups True", "cgroups False")
    assert caught.value.hint is not None
    assert remembered(fresh_store, runtime) is None
