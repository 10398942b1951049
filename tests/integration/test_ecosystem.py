"""Other people's tools: papermill (and nbclient below it) runs an experiment, hyperfine's files and ours agree."""

from __future__ import annotations

import json
import subprocess
import warnings
from pathlib import Path
from typing import Any

import nbformat
import pytest

from unibeam_nb import tools
from unibeam_nb.lab import Lab

CELLS = (
    ("parameters", "blocks = 1\nout = 'none.json'"),
    ("", "%load_ext unibeam_nb"),
    ("", "%%unibeam build hello_paper --target release\n-module(hello_paper).\n-export([start/0]).\nstart() -> ok.\n"),
    ("", "exp = %unibeam bench hello_paper --on a=release@process --against b=release@process -n {blocks} --warmup 0 "
         "--until app\nexp"),
    ("", "%unibeam export --format hyperfine -o {out}"))


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook with a cell of parameters, as papermill knows them."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    made.cells = [nbformat.v4.new_code_cell(text, metadata={"tags": [tag]} if tag else {}) for tag, text in CELLS]
    path = tmp_path / "paper.ipynb"
    nbformat.write(made, path)
    return path


def shape(value: Any) -> Any:
    """The keys of a JSON value and the types below them; of a list, those of its first item."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


@pytest.mark.serial
def test_papermill_runs_an_experiment_and_hyperfine_would_have_written_its_file(
        notebook: Path, tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIBEAM_HOME", str(lab.store.cache.parent))
    out, done = tmp_path / "boot.json", tmp_path / "done.ipynb"
    with warnings.catch_warnings():
        # papermill's own use of what its dependencies call deprecated.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=PendingDeprecationWarning)
        import papermill

        papermill.execute_notebook(notebook, done, parameters={"blocks": 3, "out": str(out)}, cwd=tmp_path,
                                   progress_bar=False)
    executed = nbformat.read(done, as_version=4)
    tables = [output.data["text/html"] for cell in executed.cells for output in cell.get("outputs", [])
              if "text/html" in output.get("data", {})]
    assert any("Experiment hello_paper-" in table for table in tables)
    ours = json.loads(out.read_text())
    assert [(result["command"], len(result["times"])) for result in ours["results"]] == [("a", 3), ("b", 3)]

    theirs = tmp_path / "theirs.json"
    subprocess.run([tools.locate("hyperfine") or "hyperfine", "-N", "--runs", "3", "--export-json", theirs,
                    "-L", "arm", "a,b", "/bin/echo {arm}"], check=True, capture_output=True, timeout=60)
    written = json.loads(theirs.read_text())
    assert list(ours) == list(written)
    for mine, his in zip(ours["results"], written["results"], strict=True):
        assert mine.pop("user") is mine.pop("system") is None, "null: not measured, and not called zero"
        assert {his.pop("user"), his.pop("system")} != {None}
        assert shape(mine) == shape(his)
        assert list(mine) == list(his)
        for key in ("min", "median", "mean", "max", "stddev"):
            assert mine["min"] <= mine["median"] <= mine["max"]
            assert isinstance(mine[key], float)
