"""The results explorer needs nothing of a host but files: run as in a browser's Python, on a report and on a table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from unibeam_nb.analysis.export import export
from unibeam_nb.analysis.report import write_report
from unibeam_nb.bench.journal import Experiment

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "08_results_explorer.ipynb"
RECORDED = ROOT / "notebooks" / "data" / "hello.jsonl"

AS_IN_A_BROWSER = """
import ast, importlib.abc, inspect, json, subprocess, sys

# Modules that a browser's Python does not have, and packages that are not made for it.
ABSENT = {"fcntl", "resource", "pty", "termios", "grp", "pwd", "syslog", "inotify_simple", "psutil", "filelock", "plumbum",
          "platformdirs", "qemu", "lz4", "zstandard", "anywidget", "ipywidgets", "IPython", "distributed"}

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def refuse(*arguments, **options):
    raise OSError("emscripten does not support processes.")

for name in ABSENT:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Absent())
subprocess.Popen.__init__ = refuse

cells, chosen, shown = json.load(sys.stdin), sys.argv[1], []
space = {}
for source in cells:
    source = source.replace('FILE = "data/hello.jsonl"', f"FILE = {chosen!r}")
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    eval(compile(ast.Module(tree.body, []), "cell", "exec", flags=flags), space)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), space)
        shown += [type(value).__name__] if value is not None else []
        if hasattr(value, "svg"):
            assert value.svg.lstrip().startswith("<?xml")
print(json.dumps(shown))
"""


def run(file: Path) -> tuple[str, list[str]]:
    """Run every cell on ``file``; what was printed, and the kinds of values that were shown."""
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    done = subprocess.run([sys.executable, "-W", "error", "-c", AS_IN_A_BROWSER, str(file)],
                          input=json.dumps(cells), capture_output=True, text=True, timeout=300, cwd=ROOT / "notebooks")
    assert done.returncode == 0, done.stdout + done.stderr
    *printed, shown = done.stdout.splitlines()
    return "\n".join(printed), json.loads(shown)


@pytest.mark.parametrize("kind", ["html", "parquet"])
def test_it_reads_and_draws_without_what_a_browser_lacks(tmp_path: Path, kind: str) -> None:
    experiment, file = Experiment.open(RECORDED), tmp_path / f"shared.{kind}"
    if kind == "html":
        write_report(experiment, file)
    else:
        export(experiment, kind, file)
    printed, shown = run(file)
    assert (shown[0], shown[-1]) == ("DataFrame", "Chart")
    if kind == "html":
        assert shown.count("Chart") == 4
        assert "can be drawn: boot, ecdf, stages, ratio, size, treemap, memory" in printed
        assert printed.count("linux+tiny@qemu") >= 1
    else:
        assert shown.count("Chart") == 1
        assert "can be drawn: nothing" in printed
