"""Looks for inputs that make a reader execute what none before them did (atheris: libFuzzer, for Python).

A process of its own, which ``guided.py`` starts: readers are instrumented while they are imported, so nothing of the
package may have been imported before. That takes longer than many a target, so it is done once, and each target has a
child of that process.

    python -m tests.fuzz.explore PLACE SEED SECONDS TARGET ...
"""

from __future__ import annotations

import atexit
import hashlib
import heapq
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NoReturn

import atheris

if TYPE_CHECKING:
    from tests.fuzz.target import Target

WITH = ("unibeam_nb", "tarfile", "tomllib", "dacite", "shlex", "html", "_markupbase")
"""What is instrumented: the tree, and what it leaves reading to where that is written in Python."""

SLOWEST = 30
"""How many of the slowest inputs are kept. Instrumented code is slower than it is otherwise: whether they are too slow
is judged without."""

STUCK_S = 120
"""Seconds after which libFuzzer gives up an input: no alarm of Python's interrupts a call in C."""

MEASURED_EVERY = 500
"""Inputs after which the limit of memory is set anew, since what libFuzzer remembers grows."""


def explore(target: Target, place: Path, seed: int, seconds: float, most: int | None = None) -> NoReturn:
    """Give an instrumented target inputs for so many seconds of processor time, ``most`` at most, and end this process.

    In ``PLACE/corpus`` are then its seeds and the inputs that reached something new, in ``PLACE/found`` one for every
    fault, in ``PLACE/slow`` the slowest ones, and in the file ``PLACE/inputs`` how many there were. libFuzzer tells on
    standard error how far it came.
    """
    from tests.fuzz.mutate import Mutator

    mutator = Mutator(target)
    for name in ("corpus", "found", "slow"):
        (place / name).mkdir(parents=True)
    for data in mutator.seeds:
        _keep(place / "corpus", data)
    known: set[str] = set()
    slowest: list[tuple[float, bytes]] = []
    inputs = 0

    def one(data: bytes) -> None:
        nonlocal inputs
        if time.process_time() - began > seconds or inputs == most:
            for _, slow in slowest:
                _keep(place / "slow", slow)
            (place / "inputs").write_text(str(inputs))
            atexit._run_exitfuncs()
            os._exit(0)  # libFuzzer takes any other end for a crash
        if inputs % MEASURED_EVERY == 0:
            _limit_memory()
        inputs += 1
        verdict = judge([data])[0]
        if len(slowest) < SLOWEST:
            heapq.heappush(slowest, (verdict.seconds, data))
        else:
            heapq.heappushpop(slowest, (verdict.seconds, data))
        if verdict.fault is not None and verdict.fault not in known:
            known.add(verdict.fault)
            _keep(place / "found", data)

    def change(data: bytes, longest: int, number: int) -> bytes:
        """libFuzzer's own changes, which know what was compared with what, and those that know the format."""
        random = Random(number)
        changed = atheris.Mutate(data, longest) if random.random() < 0.5 else None
        return (mutator.changed(random, data) if changed is None else mutator.dressed(random, changed))[:longest]

    with target.opened() as judge:
        judge(mutator.seeds)  # Whatever is loaded at first use is no input's doing.
        words = [f"-seed={seed}", f"-max_len={target.longest}", f"-timeout={STUCK_S}", "-rss_limit_mb=0", "-reload=0",
                 f"-artifact_prefix={place / 'found'}/", str(place / "corpus")]
        atheris.Setup([sys.argv[0], *words], one, custom_mutator=change)
        began = time.process_time()
        atheris.Fuzz()
    raise AssertionError("libFuzzer came back")


def _keep(folder: Path, data: bytes) -> None:
    (folder / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)


def _limit_memory() -> None:
    """The next inputs may add :data:`~tests.fuzz.target.ROOM` to what this process has now."""
    from tests.fuzz.target import ROOM

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, most))


def main(place: Path, seed: int, seconds: float, names: Sequence[str]) -> None:
    """Explore one target after another, each in a directory of its name, and print each name when it is done."""
    with atheris.instrument_imports(include=WITH):
        from tests.fuzz.targets import TARGETS
    for name in names:
        (place / name).mkdir()
        if not (child := os.fork()):
            with (place / name / "told").open("wb") as told:
                os.dup2(told.fileno(), 2)
            with atheris.instrument_imports(include=WITH), TARGETS[name].opened() as judge:
                judge(TARGETS[name].seeds())  # Some modules are imported at first use.
            explore(TARGETS[name], place / name, seed, seconds)
        os.waitpid(child, 0)
        print(name, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
