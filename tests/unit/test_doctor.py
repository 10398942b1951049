"""What the doctor says, with programs on PATH that are there, broken, or not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unibeam_nb import doctor, machine, tools
from unibeam_nb.doctor import (
    Capability,
    Diagnosis,
    diagnose,
    of_accelerator,
    of_disk,
    of_kvm,
    of_memory,
    of_programs,
    of_runner,
)
from unibeam_nb.errors import MachineError
from unibeam_nb.machine import Accelerator, hosted
from unibeam_nb.notebook.display import to_text
from unibeam_nb.store import Store

SUDO = "" if os.geteuid() == 0 else "sudo "


@pytest.fixture
def bin_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH, with nothing but a shell in it."""
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setattr(tools, "_EXTRA_PATH", ())
    return directory


def place(directory: Path, name: str, script: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_program_that_is_not_there_is_missing_with_the_command_that_installs_it(bin_directory: Path) -> None:
    assert of_programs("rebar3 projects", ("rebar3",)) == Capability(
        "rebar3 projects", "missing", "rebar3 is not on this host",
        f"{SUDO}apt-get install --no-install-recommends rebar3 git")


def test_programs_that_are_missing_together_are_installed_together(bin_directory: Path) -> None:
    place(bin_directory, "dpkg-deb", "echo 1.21.22")
    found = of_programs("linux images", ("apt-get", "dpkg-deb", "depmod"))
    assert found.detail == "apt-get and depmod are not on this host"
    assert found.install == f"{SUDO}apt-get install --no-install-recommends apt kmod"


@pytest.mark.parametrize(("lists", "packages"), [("", "docker.io"),
                                                 (" docker-cli | 26.1.5 | main", "docker.io docker-cli")])
def test_a_package_of_some_releases_is_installed_where_there_is_one(bin_directory: Path, lists: str,
                                                                    packages: str) -> None:
    place(bin_directory, "apt-cache", f"echo '{lists}'")
    assert of_programs("docker", ("docker",)).install == (
        f"{SUDO}apt-get install --no-install-recommends {packages}")


def test_a_program_that_works_tells_its_version(bin_directory: Path) -> None:
    place(bin_directory, "crun", "echo crun version 1.8.1")
    assert of_programs("crun", ("crun",)) == Capability("crun", "works", "crun 1.8.1")


def test_a_program_that_is_broken_is_not_called_working(bin_directory: Path) -> None:
    place(bin_directory, "crun", "echo cannot load libyajl; exit 127")
    found = of_programs("crun", ("crun",))
    assert (found.state, found.detail) == ("limited", "crun does not tell its version, so it may be broken")
    assert found.install == f"{SUDO}apt-get install --reinstall crun"


def test_a_program_that_is_no_program_is_missing(bin_directory: Path) -> None:
    (bin_directory / "crun").write_bytes(b"\x7fELF not really")
    (bin_directory / "crun").chmod(0o755)
    found = of_programs("crun", ("crun",))
    assert found.state == "missing"
    assert found.detail.startswith("crun is here but does not run: ")


@pytest.mark.parametrize("commands", [commands for _, commands in doctor.PROGRAMS])
def test_every_program_the_doctor_knows_has_a_package(commands: tuple[str, ...]) -> None:
    assert set(commands) <= set(tools.TOOLS)


def test_what_comes_from_no_package_is_said_where_it_is(bin_directory: Path) -> None:
    found = of_programs("runsc", ("runsc",))
    assert (found.state, found.detail) == ("missing", "runsc is not on this host")
    assert found.install == "see https://gvisor.dev/docs/user_guide/install/"


def test_a_runner_that_wants_a_certain_host_says_so_before_its_program(bin_directory: Path,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    """xl alone starts nothing: the host must be the control domain of a hypervisor."""
    place(bin_directory, "xl", "echo 4.17")
    assert of_runner("xen", of_programs("xen", ("xl",))) == Capability(
        "xen", "missing", "this host is not the control domain (dom0) of a Xen hypervisor",
        f"{SUDO}apt-get install --no-install-recommends xen-system-amd64")
    assert of_runner("firecracker", of_programs("firecracker", ("firecracker", "ip"))) == Capability(
        "firecracker", "missing", "firecracker is not on this host",
        "see https://github.com/firecracker-microvm/firecracker/releases")
    monkeypatch.setattr(hosted, "CAPABILITIES", bin_directory / "capabilities")
    monkeypatch.setattr(hosted, "XEN_DEVICE", bin_directory / "xl")
    (bin_directory / "capabilities").write_text("control_d\n")
    assert of_runner("xen", Capability("xen", "works", "xl 4.17")).state == "works"


UNPROVED = Capability("accelerator", "limited", "not proved on this host since it started")


def test_kvm_that_is_not_there_is_a_limit_and_not_a_lack(tmp_path: Path) -> None:
    found = of_kvm(UNPROVED, tmp_path / "kvm")
    assert (found.state, found.detail) == ("limited", "not on this host; guests run under tcg, several times slower")


@pytest.mark.parametrize(("accelerator", "state", "detail"), [
    (UNPROVED, "limited", "opens, which does not yet mean that a guest runs"),
    (Capability("accelerator", "works", "kvm: A guest booted"), "works", "opens and runs a guest"),
    (Capability("accelerator", "limited", "tcg: A guest did not boot"), "limited", "opens, but does not run a guest"),
])
def test_a_kvm_that_opens_counts_only_when_a_guest_has_run(tmp_path: Path, accelerator: Capability, state: str,
                                                          detail: str) -> None:
    (tmp_path / "kvm").touch()
    found = of_kvm(accelerator, tmp_path / "kvm")
    assert (found.state, found.detail) == (state, detail)


def test_a_kvm_that_does_not_open_says_why(tmp_path: Path) -> None:
    (tmp_path / "kvm").mkdir()
    assert of_kvm(UNPROVED, tmp_path / "kvm").detail == "there, but does not open: Is a directory"


def test_an_accelerator_nobody_proved_is_told_as_such(fresh_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "known_accelerator", lambda store: None)
    assert of_accelerator(fresh_store, prove=False) == Capability(
        "accelerator", "limited", "not proved on this host since it started", "unibeam doctor --prove")


@pytest.mark.parametrize(("name", "state"), [("kvm", "works"), ("tcg", "limited")])
def test_a_proved_accelerator_is_told_with_its_reason(fresh_store: Store, monkeypatch: pytest.MonkeyPatch, name: str,
                                                     state: str) -> None:
    monkeypatch.setattr(machine, "prove_accelerator", lambda store: Accelerator(name, "A guest said so."))
    assert of_accelerator(fresh_store, prove=True) == Capability("accelerator", state, f"{name}: A guest said so")  # type: ignore[arg-type]


def test_a_proof_that_cannot_be_made_is_a_row_and_no_error(fresh_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(store: Store) -> Accelerator:
        raise MachineError("There is no kernel to prove it with.", "Fetch one.")

    monkeypatch.setattr(machine, "prove_accelerator", fail)
    assert of_accelerator(fresh_store, prove=True) == Capability(
        "accelerator", "missing", "There is no kernel to prove it with", "Fetch one.")


def test_little_disk_is_told_with_what_to_do(fresh_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_disk(fresh_store).detail.endswith(f"free at {fresh_store.cache.parent.parent}")
    monkeypatch.setattr(doctor, "LEAST_DISK", 10**18)
    found = of_disk(fresh_store)
    assert (found.state, found.install) == ("limited", "unibeam clean --cache")


def test_little_memory_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_MEMORY", 10**18)
    assert of_memory().state == "limited"


def test_a_host_with_nothing_gets_a_whole_diagnosis_and_no_error(fresh_store: Store, bin_directory: Path) -> None:
    diagnosis = diagnose(fresh_store)
    assert {c.name for c in diagnosis.missing} >= {name for name, _ in doctor.PROGRAMS}
    assert all(c.install for c in diagnosis.missing)
    text = to_text(diagnosis)
    assert "✗ missing" in text
    assert f"{SUDO}apt-get install --no-install-recommends qemu-system-x86" in text


def test_a_diagnosis_is_summed_up_in_a_line() -> None:
    rows = (Capability("QEMU", "works", "7.2"), Capability("crun", "missing", "not here", "get it"),
            Capability("memory", "limited", "little"))
    assert repr(Diagnosis(rows)) == "<Diagnosis: 2 of 3 work; missing: crun>"
    assert repr(Diagnosis(rows[:1])) == "<Diagnosis: 1 of 1 work>"
    assert Diagnosis(rows)["crun"].install == "get it"
