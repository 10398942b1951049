"""Fixtures shared by all tiers: a store of their own, never the user's."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

from unibeam_nb.store import Store

# A shell that runs the tests in the background starts them deaf to SIGINT, nohup to SIGHUP, and their children too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes says something about the host's other work, not about the code.
settings.register_profile("unibeam", deadline=None)
settings.load_profile("unibeam")


@pytest.fixture
def torture(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """What imports a module of `make torture` by its name, and forgets all of them afterwards."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "scripts"))
    yield lambda name: importlib.import_module(f"tortures.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "tortures"]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One cache for the whole run, shared by all xdist workers, so that each thing is built once. Each worker has
    machines of its own, because a test that cleans up after itself stops them all.

    ``UNIBEAM_TEST_STORE`` keeps it between runs while developing.
    """
    kept = os.environ.get("UNIBEAM_TEST_STORE")
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    base = Path(kept) if kept else tmp_path_factory.getbasetemp()
    if worker and not kept:
        base = base.parent
    return Store(base / "store" / "cache", base / "store" / (f"state-{worker}" if worker else "state"))


@pytest.fixture
def fresh_store(tmp_path: Path) -> Store:
    """An empty store that nobody else uses."""
    return Store(tmp_path / "store" / "cache", tmp_path / "store" / "state")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own unibeam directories."""
    monkeypatch.setenv("UNIBEAM_HOME", str(tmp_path / "unibeam-home"))


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A real InteractiveShell of its own, with the extension loaded and the user's own history left alone."""
    import atexit

    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    made = InteractiveShell(config=Config({"HistoryManager": {"enabled": False},
                                           "InteractiveShell": {"colors": "nocolor"}}))
    made.run_line_magic("load_ext", "unibeam_nb")
    yield made
    made.atexit_operations()
    atexit.unregister(made.atexit_operations)
