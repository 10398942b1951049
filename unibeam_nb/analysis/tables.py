"""Samples as files for other tools: one table, one sample a row, the columns of
:func:`~unibeam_nb.analysis.frames.samples_frame` and ``mark_NAME_s`` for every mark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unibeam_nb.analysis.frames import samples_frame
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.errors import ToolMissing
from unibeam_nb.model import MARKS

if TYPE_CHECKING:
    import pandas as pd


def wide_frame(exp: Experiment) -> pd.DataFrame:
    """Every sample with all that is known about it."""
    frame = samples_frame(exp)
    for mark in (name for name in MARKS if name != "spawn"):
        seconds = [s.marks.get(mark) for s in exp.samples]
        if any(value is not None for value in seconds):
            frame[f"mark_{mark}_s"] = [float("nan") if value is None else float(value) for value in seconds]
    return frame


def write_csv(exp: Experiment, path: Path) -> None:
    """A CSV file with a line of names."""
    inert(wide_frame(exp)).to_csv(path, index=False)


def inert(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with texts that no spreadsheet takes for a formula: those that begin like one get an apostrophe in
    front, which a spreadsheet does not show (OWASP, "CSV Injection"). Numbers are no texts, and stay."""
    def plain(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value

    texts = frame.select_dtypes(exclude=["number", "bool"]).columns
    return frame.assign(**{column: frame[column].map(plain) for column in texts})


def write_parquet(exp: Experiment, path: Path) -> None:
    """A Parquet file, which carries the journal's header as metadata ``unibeam.header``. Raises ToolMissing without
    pyarrow, an optional package."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ToolMissing("Parquet files are written by pyarrow, which is not installed.",
                          "pip install 'unibeam-nb[parquet]'") from None
    table: Any = pyarrow.Table.from_pandas(wide_frame(exp), preserve_index=False)
    about = {b"unibeam.header": exp.to_journal().split(b"\n", 1)[0]}
    parquet.write_table(table.replace_schema_metadata((table.schema.metadata or {}) | about), path)
