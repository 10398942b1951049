"""What is said where Firecracker could not run. Its configuration is held against its API in the unit tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from unibeam_nb.errors import MachineError
from unibeam_nb.lab import Build, Lab
from unibeam_nb.machine.accelerator import prove_accelerator
from unibeam_nb.store import Store

HELLO = "-module(cracker_hello).\n-export([start/0]).\nstart() -> ok.\n"


@pytest.fixture(scope="module")
def build(store: Store) -> Build:
    return Lab(store).build("cracker-hello", text=HELLO)


def test_a_host_whose_kvm_runs_nothing_is_refused(
        lab: Lab, store: Store, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proof = prove_accelerator(store)
    if proof.name == "kvm":
        pytest.skip("KVM works here")
    (tmp_path / "firecracker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "firecracker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(MachineError) as caught:
        lab.boot("cracker-hello", arm="linux@firecracker")
    told = str(caught.value)
    assert "KVM does not work on this host" in told or "/dev/kvm" in told
    assert "--on qemu" in told
