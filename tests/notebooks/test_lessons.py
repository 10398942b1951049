"""Every lesson, executed for real on what this host has, in the store that the other tests have filled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from unibeam_nb.lab import Lab
from unibeam_nb.store import Store

ROOT = Path(__file__).resolve().parents[2]
LESSONS = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if not path.stem.startswith("01")]


@pytest.mark.serial
@pytest.mark.timeout(400)
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_as_it_stands_and_leaves_nothing_behind(
        path: Path, store: Store, tmp_path: Path, timed: Callable[[str], AbstractContextManager[None]]) -> None:
    place = tmp_path / "notebooks"
    shutil.copytree(ROOT / "notebooks", place)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(place)}})
    with timed(path.stem):
        client.execute(env=os.environ | {"UNIBEAM_HOME": str(store.cache.parent)})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not any(output.output_type == "error" for output in outputs)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert all(output.data["text/plain"].endswith(".") for output in pictures), "each says in words what it shows"
    assert not Lab(store).ps()
