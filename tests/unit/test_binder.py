"""What Binder will make of this repository: the cheap part of ``make binder``, which runs the notebooks too."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def binder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("binder_rehearsal", ROOT / "scripts" / "binder.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Dataclasses look their module up there.
    spec.loader.exec_module(module)
    return module


def test_repo2docker_accepts_the_repository_and_uses_every_file(binder: ModuleType) -> None:
    text = binder.dockerfile()
    assert binder.complaints_about(text) == []
    assert binder.complaints_about(text.replace(" flex ", " ")) == ["flex is not installed"]


def test_what_binder_runs_can_be_run_and_hands_on(tmp_path: Path) -> None:
    for name in ("postBuild", "start"):
        assert os.access(ROOT / "binder" / name, os.X_OK), name
    told = subprocess.run([ROOT / "binder" / "start", "sh", "-c", 'echo "$ERL_AFLAGS|$1"', "sh", "two words"],
                          env={"PATH": os.environ["PATH"], "ERL_AFLAGS": "+K true"}, capture_output=True, text=True,
                          check=True)
    assert told.stdout == "+S 2:2 +K true|two words\n"
    failed = subprocess.run([ROOT / "binder" / "start", "sh", "-c", "exit 3"], check=False)
    assert failed.returncode == 3


def test_a_python_that_nobody_else_may_run_is_told_before_anything_is_done(binder: ModuleType, tmp_path: Path) -> None:
    inner = tmp_path / "home"
    inner.mkdir(mode=0o755)
    program = inner / "python"
    program.touch(mode=0o755)
    program.chmod(0o700)
    assert binder.closed_to_others(program) == program
    program.chmod(0o755)
    inner.chmod(0o700)
    assert binder.closed_to_others(program) == inner
