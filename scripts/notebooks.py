"""Keep every notebook and its text the same: ``notebooks/NAME.ipynb`` and ``notebooks/text/NAME.md``.

    scripts/notebooks.py            of each pair the newer one is taken; outputs are removed
    scripts/notebooks.py --check    say which pairs are not in order, and change nothing

The text is what a reviewer reads and a diff shows; the notebook is what Jupyter opens without further tools. The bytes
of the notebook follow from the text alone: no outputs, no counts, no widgets' state, cells numbered.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent / "notebooks"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
REMEDY = "Run: make notebooks-sync"


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """The same cells, and nothing that a run or an editor leaves in a notebook."""
    cells = []
    for number, cell in enumerate(notebook.cells):
        make = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        tags = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        cells.append(make(cell.source, id=f"cell-{number:02}", metadata=tags))
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL, "language_info": {"name": "python"}})


def as_text(notebook: NotebookNode) -> str:
    """The notebook as jupytext writes it in Markdown."""
    plain = cleaned(notebook)
    plain.metadata.pop("language_info")
    plain.metadata["jupytext"] = {
        "notebook_metadata_filter": "kernelspec,-jupytext.text_representation.jupytext_version"}
    return str(jupytext.writes(plain, fmt="md"))


def as_notebook(text: str) -> str:
    """The bytes of the notebook that this text stands for."""
    return str(nbformat.writes(cleaned(jupytext.reads(text, fmt="md")))) + "\n"


def twin(path: Path) -> Path:
    """Where the text of a notebook is."""
    return path.parent / "text" / f"{path.stem}.md"


def wrong(path: Path) -> str | None:
    """What is not in order with a notebook, as a sentence, or None."""
    text = twin(path)
    if not path.is_file() or not text.is_file():
        return f"{(text if path.is_file() else path).name} is missing."
    if as_notebook(text.read_text(encoding="utf-8")) != path.read_text(encoding="utf-8"):
        return f"{path.name} is not what text/{text.name} says, or holds outputs."
    return None


def pairs(root: Path = ROOT) -> list[Path]:
    """Every notebook, also one of which only the text is there."""
    names = {path.stem for path in (*root.glob("*.ipynb"), *(root / "text").glob("*.md"))}
    return [root / f"{name}.ipynb" for name in sorted(names)]


def sync(path: Path) -> str:
    """Write both forms from the newer one; says from which."""
    text = twin(path)
    from_text = text.is_file() and (not path.is_file() or text.stat().st_mtime >= path.stat().st_mtime)
    source = text if from_text else path
    notebook = jupytext.read(source)
    if not from_text:
        text.parent.mkdir(exist_ok=True)
        text.write_text(as_text(notebook), encoding="utf-8")
    path.write_text(as_notebook(text.read_text(encoding="utf-8")), encoding="utf-8")
    return f"{path.stem}: from {source.name}"


def main(arguments: list[str]) -> int:
    bad = {path: told for path in pairs() if (told := wrong(path))}
    if "--check" in arguments:
        print("\n".join([*bad.values(), REMEDY]) if bad else "All notebooks are what their texts say.")
        return 1 if bad else 0
    for path in bad:
        print(sync(path))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
