"""How long each notebook took, for scripts/lessons.py. No test asserts it: a time says nothing on a busy host."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

TAKEN = Path(__file__).resolve().parents[2] / "out" / "lessons.json"


@pytest.fixture(scope="session")
def timed() -> Callable[[str], AbstractContextManager[None]]:
    """Around the execution of the notebook of this name: its seconds go into ``out/lessons.json``."""

    @contextmanager
    def around(name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        known = json.loads(TAKEN.read_text()) if TAKEN.is_file() else {}
        TAKEN.parent.mkdir(exist_ok=True)
        TAKEN.write_text(json.dumps(dict(sorted((known | {name: time.monotonic() - began}).items())), indent=1) + "\n")

    return around
