"""Whether a runner can work here, asked before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unibeam_nb.arms import RUNNERS
from unibeam_nb.errors import UsageError
from unibeam_nb.machine import available
from unibeam_nb.machine.available import NEEDS

SUDO = "" if os.geteuid() == 0 else "sudo "


@pytest.fixture
def bare_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host on which no program is installed but what lies in the directory that this gives."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("unibeam_nb.tools._EXTRA_PATH", ())
    return tmp_path


def test_every_runner_says_what_it_takes() -> None:
    assert set(NEEDS) == set(RUNNERS)


def test_the_bare_host_needs_nothing(bare_host: Path) -> None:
    assert available("process") is None


def test_all_missing_programs_are_named_with_one_command(bare_host: Path) -> None:
    assert available("podman") == (f"podman and crun are not on this host: "
                                   f"{SUDO}apt-get install --no-install-recommends podman crun")
    (bare_host / "podman").write_text("#!/bin/sh\n")
    (bare_host / "podman").chmod(0o755)
    assert available("podman") == f"crun is not on this host: {SUDO}apt-get install --no-install-recommends crun"


def test_what_is_no_runner_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^'wine' is not a runner\."):
        available("wine")
