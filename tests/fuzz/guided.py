"""Runs targets guided by coverage: an input that makes the reader execute what none before it did is kept, and changed
further (``explore.py``; readers in C have libFuzzer itself). What is found is judged again without instrumentation, by
the same judge as everything else, so that time and memory are the reader's own."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import runner
from tests.fuzz.target import ROOT
from tests.fuzz.targets import TARGETS
from unibeam_nb.errors import ToolMissing

REACHED = re.compile(r"^#(\d+)\s+(\w+)\s+cov: (\d+) ft: \d+ corp: (\d+)/", re.MULTILINE)
"""What libFuzzer says how far it came (https://llvm.org/docs/LibFuzzer.html#output)."""


@dataclass(frozen=True)
class Reached:
    """What became of a target: how many ``inputs`` there were, the branches of the instrumented code that its seeds
    take (``before``) and that some input takes (``after``), how many inputs were ``kept`` for that, and what became of
    those and of the suspicious ones when they were judged again."""

    inputs: int
    before: int
    after: int
    kept: int
    judged: runner.Report


def guidable() -> list[str]:
    """The targets that can be guided here: those in Python first."""
    python = [name for name, target in TARGETS.items() if target.read is not None]
    return python + [name for name, target in TARGETS.items() if target.explore is not None]


def check() -> None:
    """Raises ToolMissing where there is no atheris."""
    if importlib.util.find_spec("atheris") is None:
        raise ToolMissing("Inputs guided by coverage need atheris, and it is not installed.",
                          "Install it: pip install -e '.[fuzz]'.")


def run(names: Sequence[str], seconds: float, seed: int) -> Iterator[tuple[str, Reached]]:
    """Guide these targets, each for so many seconds of processor time; what became of each as soon as it is known."""
    python = [name for name in names if TARGETS[name].read is not None]
    with tempfile.TemporaryDirectory(prefix="unibeam-guided-") as made:
        for name in _explored(python, Path(made), seconds, seed) if python else ():
            yield name, _reached(Path(made) / name, seed)
        for name in names:
            target = TARGETS[name]
            if target.explore is not None:
                target.explore(target, Path(made) / name, seed, seconds)
                yield name, _reached(Path(made) / name, seed)


def _explored(names: Sequence[str], place: Path, seconds: float, seed: int) -> Iterator[str]:
    """Explore targets in Python, in a process of their own; each as soon as it is done."""
    words = [sys.executable, "-m", "tests.fuzz.explore", place, str(seed), str(seconds), *names]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        yield from (line.strip() for line in child.stdout)


def _reached(place: Path, seed: int) -> Reached:
    """What is in the directory of a target that was explored."""
    text = (place / "told").read_text(errors="replace")
    reached = REACHED.findall(text)
    assert reached, f"{place.name} could not be guided:\n{text[-2000:]}"
    paths = [path for folder in ("found", "slow", "corpus") for path in sorted((place / folder).iterdir())]
    judged = runner.run(place.name, len(paths), seed, paths=paths)
    (before,) = (int(branches) for _, event, branches, _ in reached if event == "INITED")
    number, _, after, kept = reached[-1]
    told = place / "inputs"  # missing where libFuzzer ended the process
    return Reached(int(told.read_text() if told.exists() else number), before, int(after), int(kept), judged)
