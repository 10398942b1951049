"""The notebooks in the repository: what their texts say, and nothing that a run left behind."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def notebooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "scripts" / "notebooks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pair(notebooks: ModuleType, tmp_path: Path) -> Path:
    """A copy of the first notebook with its text."""
    path = tmp_path / NOTEBOOKS[0].name
    path.write_text(NOTEBOOKS[0].read_text())
    (tmp_path / "text").mkdir()
    notebooks.twin(path).write_text(notebooks.twin(NOTEBOOKS[0]).read_text())
    return path


def test_every_notebook_is_what_its_text_says_and_holds_no_outputs(notebooks: ModuleType) -> None:
    told = [told for path in notebooks.pairs() if (told := notebooks.wrong(path))]
    assert not told, notebooks.REMEDY


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_valid_and_carry_no_widget_state(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata


def test_an_output_is_found_and_taken_out(notebooks: ModuleType, pair: Path) -> None:
    notebook = nbformat.read(pair, as_version=4)
    code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    code.outputs, code.execution_count = [nbformat.v4.new_output("stream", text="left\n")], 3
    nbformat.write(notebook, pair)
    assert notebooks.wrong(pair) == f"{pair.name} is not what text/{pair.stem}.md says, or holds outputs."
    notebooks.sync(pair)
    assert notebooks.wrong(pair) is None
    assert pair.read_text() == NOTEBOOKS[0].read_text()


@pytest.mark.parametrize("edited", ["notebook", "text"])
def test_the_newer_of_the_two_is_taken(notebooks: ModuleType, pair: Path, edited: str) -> None:
    text = notebooks.twin(pair)
    chosen = pair if edited == "notebook" else text
    chosen.write_text(chosen.read_text().replace("From a cell to", "From one cell to"))
    other = text if edited == "notebook" else pair
    os.utime(other, (1, 1))
    assert notebooks.wrong(pair)
    assert notebooks.sync(pair) == f"{pair.stem}: from {chosen.name}"
    assert "From one cell to" in text.read_text()
    assert "From one cell to" in pair.read_text()
    assert notebooks.wrong(pair) is None


def test_a_notebook_without_a_text_is_told(notebooks: ModuleType, pair: Path) -> None:
    notebooks.twin(pair).unlink()
    assert notebooks.wrong(pair) == f"{pair.stem}.md is missing."
    notebooks.sync(pair)
    assert notebooks.wrong(pair) is None
