"""Hostile input guided by coverage: it finds what inputs that are changed blindly do not."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import guided
from tests.fuzz.mutate import Mutator
from tests.fuzz.target import ROOT, Target
from unibeam_nb.errors import ToolMissing

needs_atheris = pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="the extra 'fuzz' is missing")

INPUTS = 40_000

PLANTED = f"""
import sys
from pathlib import Path

import atheris
from tests.fuzz.explore import explore
from tests.fuzz.target import Target

@atheris.instrument_func
def read(data):
    if len(data) > 5 and data[0] == 0x55:
        if data[1] == 0x4e:
            if data[2] == 0x49:
                if data[3] ^ data[4] == 0x42:
                    raise KeyError("planted")

explore(Target("made up", lambda: [b"some seed"], read), Path(sys.argv[1]), 1, 120.0, {INPUTS})
"""


def has_it(data: bytes) -> bool:
    return len(data) > 5 and data[:3] == b"\x55\x4e\x49" and data[3] ^ data[4] == 0x42


@needs_atheris
def test_a_fault_behind_several_branches_is_found_by_guidance_and_not_without(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PLANTED, tmp_path], cwd=ROOT, capture_output=True, text=True,
                          timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [has_it(path.read_bytes()) for path in (tmp_path / "found").iterdir()] == [True]
    assert int((tmp_path / "inputs").read_text()) <= INPUTS
    blind = Mutator(Target("made up", lambda: [b"some seed"], bytes))
    assert not any(has_it(blind.input(1, number)) for number in range(INPUTS))


@needs_atheris
def test_a_reader_of_the_tree_is_guided_and_judged_again() -> None:
    (name, reached), = guided.run(["cpio"], 2.0, 20260)
    assert name == "cpio"
    assert reached.inputs > 0
    assert reached.after > reached.before > 0
    assert reached.judged.inputs >= reached.kept
    assert reached.judged.findings == []


def test_without_atheris_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ToolMissing) as caught:
        guided.check()
    assert caught.value.message == "Inputs guided by coverage need atheris, and it is not installed."
    assert caught.value.hint == "Install it: pip install -e '.[fuzz]'."
