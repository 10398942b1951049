"""Run the quickstart notebook headless and leave what it made in ``out/`` (or the directory named).

    out/01_quickstart.ipynb    the executed notebook
    out/report.html            one self-contained report, written by its last cell but one
    out/boot.svg, boot.png     and the same for every chart that can be drawn of it
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from unibeam_nb.analysis.report import save_charts
from unibeam_nb.errors import UnibeamError
from unibeam_nb.lab import Lab

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "01_quickstart.ipynb"


def main(out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    total = sum(cell.cell_type == "code" for cell in notebook.cells)
    done = 0

    def announce(cell: nbformat.NotebookNode, cell_index: int) -> None:
        nonlocal done
        if cell.cell_type == "code":
            done += 1
            first_line = cell.source.splitlines()[0][:90]
            print(f"[{done:2}/{total}] {time.monotonic() - began:6.1f} s  {first_line}", flush=True)

    began = time.monotonic()
    client = NotebookClient(notebook, timeout=1800, kernel_name="python3", on_cell_start=announce,
                            resources={"metadata": {"path": str(out)}})
    try:
        client.execute()
    except CellExecutionError as error:
        print(f"demo: the notebook stopped.\n{error}", file=sys.stderr)
        return 1
    finally:
        nbformat.write(notebook, out / NOTEBOOK.name)
    save_charts(Lab().experiment(), out)
    print(f"Done in {time.monotonic() - began:.0f} s. Look at:")
    for path in sorted(out.iterdir()):
        print(f"  {path}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "out").absolute()))
    except UnibeamError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(1)
