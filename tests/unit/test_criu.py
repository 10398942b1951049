"""What CRIU is asked for, and what is said where it does not work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unibeam_nb.arms import Arm
from unibeam_nb.errors import UsageError
from unibeam_nb.machine import criu, obstacle
from unibeam_nb.machine.bundle import config
from unibeam_nb.machine.criu import Proof, checkpoint_words, known, prove, restore_words
from unibeam_nb.machine.runtimes import RUNTIMES
from unibeam_nb.store import Store

SUDO = "" if os.geteuid() == 0 else "sudo "


def test_a_container_is_kept_and_restored_in_the_machines_directory() -> None:
    assert checkpoint_words("unibeam-1") == (
        "checkpoint", "--image-path", "checkpoint", "--work-path", "checkpoint", "--ext-unix-sk", "unibeam-1")
    assert restore_words("unibeam-1", RUNTIMES["crun"].restoring) == (
        "restore", "--image-path", "checkpoint", "--work-path", "checkpoint", "--ext-unix-sk",
        "--manage-cgroups-mode", "ignore", "--bundle", ".", "--pid-file", "restored.pid", "unibeam-1")


def test_a_bundle_says_where_crius_configuration_is() -> None:
    bundle = config(("/x",), {}, root="root", hostname="a.b", annotations={"org.criu.config": "/m/criu.conf"})
    assert bundle["annotations"] == {"org.criu.config": "/m/criu.conf"}


def test_only_runtimes_restore() -> None:
    assert str(Arm.parse("oci+restore@runc")) == "oci+scratch+restore@runc"
    with pytest.raises(UsageError, match=r"podman has no option 'restore'\."):
        Arm.parse("oci+restore@podman")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of programs that is the whole PATH, with a runc in it."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("unibeam_nb.tools._EXTRA_PATH", ())
    place(tmp_path / "bin", "runc", "true")
    return tmp_path / "bin"


def place(directory: Path, name: str, script: str) -> None:
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)


def test_without_criu_it_is_said_how_to_get_it(programs: Path, fresh_store: Store) -> None:
    assert obstacle(fresh_store, Arm.parse("oci+restore@runc")) == (
        f"criu is not on this host: {SUDO}apt-get install --no-install-recommends criu")
    assert obstacle(fresh_store, Arm.parse("oci@runc")) is None


def test_a_crun_without_criu_is_told_apart(programs: Path, fresh_store: Store) -> None:
    place(programs, "criu", "true")
    place(programs, "crun", "echo crun version 1.8.1; echo +SYSTEMD +SELINUX")
    assert criu.obstacle(fresh_store, "crun") == "This crun was built without CRIU: use runc."


def test_what_criu_did_is_remembered_with_its_reason(programs: Path, fresh_store: Store,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    place(programs, "criu", "echo Version: 3.17.1")
    place(programs, "unshare",
          'echo run >> "$TRIED"; echo "Error (criu/rlimit.c:1): rlimit: Not permitted" >&2; '
          'echo "Error (criu/vdso.c:1): vdso: Unexpected bounds" >&2; exit 1')
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("unibeam_nb.process.PASSED_ON", ("PATH", "TRIED"))
    monkeypatch.setenv("TRIED", str(programs.parent / "tried"))
    assert known(fresh_store) is None
    told = Proof(False, "CRIU 3.17.1 cannot restore a process on this kernel (vdso: Unexpected bounds).")
    assert prove(fresh_store) == prove(fresh_store) == known(fresh_store) == told
    assert (programs.parent / "tried").read_text() == "run\n"
    assert criu.obstacle(fresh_store, "runc") == told.reason


def test_only_root_is_asked_to_try(programs: Path, fresh_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    place(programs, "criu", "true")
    monkeypatch.setattr(criu, "is_root", lambda: False)
    assert prove(fresh_store).reason == "Only root may let CRIU restore a container."
