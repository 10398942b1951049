"""Hostile input: every fault that was ever found stays mended, and a slice of the inputs of every reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import runner
from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import TARGETS

SEED = 20260
SLICE = 60
"""Inputs of each target here; scripts/torture.py gives them a million."""

KEPT = sorted(runner.FINDINGS.glob("*/*"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_stays_mended(path: Path) -> None:
    with TARGETS[path.parent.name].opened() as judge:
        assert judge([path.read_bytes()])[0].fault is None


@pytest.mark.parametrize("name", TARGETS)
def test_a_slice_of_the_inputs_of_every_reader(name: str) -> None:
    mutator = Mutator(TARGETS[name])
    with mutator.target.opened() as judge:
        assert [verdict.fault for verdict in judge(mutator.seeds) if verdict.fault] == []
        report = runner.batches(mutator, judge, range(SLICE), SEED)
    assert [(found.fault, found.index) for found in report.findings] == []
    assert report.inputs == SLICE


def test_the_same_seed_makes_the_same_inputs() -> None:
    first, again = Mutator(TARGETS["term"]), Mutator(TARGETS["term"])
    assert [first.input(SEED, index) for index in range(50)] == [again.input(SEED, index) for index in range(50)]
    assert first.input(SEED, 1) != first.input(SEED + 1, 1)
