"""What `make torture` does to unibeam: one module for each section, all named in :data:`SECTIONS`.

A module has ``run(options) -> bool``: it prints what it counts, with its seed, and returns whether everything held.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unibeam_nb.held import remove_tree
from unibeam_nb.store import Store

ROOT = Path(__file__).resolve().parents[2]

SEED = 20260
"""The seed of every section unless told otherwise, so that two runs do the same."""


SHARED = ("kernels", "sources", "erts", "erts-sources", "apt", "bases")
"""Kinds of cache entries that take minutes to make, and are taken from the user's own cache."""


@dataclass(frozen=True)
class Options:
    """What a section is asked for: its ``seed``, how many cases of its kind (None: its usual number), the numbers of
    the cases to repeat (none: all), how many ``seconds`` each takes where that is to be chosen (None: as usual), and
    releases of Debian (none: the usual ones)."""

    seed: int = SEED
    count: int | None = None
    only: tuple[int, ...] = ()
    seconds: float | None = None
    releases: tuple[str, ...] = ()


class Section(Protocol):
    """A module of this package."""

    def run(self, options: Options) -> bool:
        """Do it; whether everything held."""


SECTIONS: dict[str, str] = {
    "faults": "200 seeded interruptions of builds, boots, experiments and notebooks: nothing lost, nothing left",
    "input": "1,050,000 hostile inputs for every reader: own errors only, a second and 256 MB at most",
    "guided": "hostile input again, guided by what it makes the readers execute (needs the extra 'fuzz')",
    "security": "every defence of docs/security.md taken away in turn: the test that shows it fails",
    "load": "500 machines one after another, 32 at once, and a guest that prints 1 GB: nothing grows",
    "starts": "4,000 QEMUs, more at once than there are processors: each hears its first orders",
    "reproducible": "every artefact made twice, in worlds that have nothing but the sources in common: the same bytes",
    "compatibility": "the tests that need it, with every version of everything that this host has",
    "hosts": "the same tests on other releases of Debian, each in a root of its own",
}
"""Every section: its module's name here, and what it shows."""

STAGES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("load",),), (("starts", "faults"),),
    (("compatibility", "hosts"), ("reproducible", "security", "input", "guided")))
"""The order in which they are run, one stage after another. Those of one stage run beside each other, each in a line:
none of them measures, and one leaves a processor idle while others do not. `load` wants a quiet host, and `faults`
looks for whatever else is there."""


def share(cache: Path) -> None:
    """Let a cache of a section's own have :data:`SHARED` of the user's, and keep there what it adds to that."""
    cache.mkdir(parents=True, exist_ok=True)
    for kind in SHARED:
        known = Store.default().cache / kind
        known.mkdir(parents=True, exist_ok=True)
        (cache / kind).symlink_to(known.resolve())


@contextmanager
def for_tests() -> Iterator[str]:
    """What tests of the project that a section runs are given as UNIBEAM_TEST_STORE: the one that is set, or a place of
    this run's own, so that a kernel is not compiled for each of them."""
    if kept := os.environ.get("UNIBEAM_TEST_STORE"):
        yield kept
        return
    base = Path(tempfile.mkdtemp(prefix="unibeam-tests-"))
    try:
        share(base / "store" / "cache")
        yield str(base)
    finally:
        remove_tree(base)


def section(name: str) -> Section:
    """The module of a section."""
    module: Section = importlib.import_module(f"{__name__}.{name}")  # type: ignore[assignment]
    return module
