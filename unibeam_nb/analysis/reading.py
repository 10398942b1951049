"""What somebody else measured, as one table: a report, a journal, or a file that was exported.

Neither this nor what it imports needs anything of the host but files, so that it also works in a browser's Python
(JupyterLite), with pandas, matplotlib, scipy, orjson and dacite.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from unibeam_nb.analysis.tables import wide_frame
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.errors import BenchError, ToolMissing, UsageError
from unibeam_nb.jsonable import loads

NEEDED = ("row", "seconds")
"""Columns that every table of samples has."""

ENDINGS = ".html, .jsonl, .csv, .parquet or .json (hyperfine)"


def read_experiment(path: str | Path) -> Experiment | None:
    """The experiment in a report or a journal, from which charts are drawn; None for a file that holds a table only."""
    path = Path(path).expanduser()
    return Experiment.open(path) if path.suffix in (".html", ".jsonl") else None


def read_samples(path: str | Path) -> pd.DataFrame:
    """Every sample in a report, a journal, or an exported file, one a row, with the columns of
    :func:`~unibeam_nb.analysis.tables.wide_frame`; of hyperfine's files ``row`` and ``seconds`` only.

    Raises BenchError for a file that holds no samples, UsageError for one of another kind, ToolMissing for Parquet
    without pyarrow.
    """
    path = Path(path).expanduser()
    experiment = read_experiment(path)
    if experiment is not None:
        return wide_frame(experiment)
    readers = {".csv": _csv, ".parquet": _parquet, ".json": _hyperfine}
    if path.suffix not in readers:
        raise UsageError(f"{path.name} is no file of samples.", f"Name one that ends in {ENDINGS}.")
    try:
        frame = readers[path.suffix](path)
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror or error}.", "Name the file from where you are.") \
            from None
    except (ValueError, KeyError, TypeError):
        frame = pd.DataFrame()
    if not set(NEEDED) <= set(frame.columns):
        raise BenchError(f"{path.name} holds no samples.", "It should be written by 'unibeam export' or hyperfine.")
    return frame


def boots(samples: pd.DataFrame) -> pd.DataFrame:
    """The boots that count: those that succeeded and were no warm-up."""
    chosen = samples["seconds"].notna()
    for column, wanted in (("ok", True), ("warmup", False)):
        if column in samples:
            chosen &= samples[column].astype(bool) == wanted
    if "kind" in samples:
        chosen &= samples["kind"] == "boot"
    return samples[chosen]


def _csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError:
        raise ToolMissing("Parquet files are read by pyarrow, which is not installed.",
                          "pip install pyarrow, or ask for a .csv.") from None


def _hyperfine(path: Path) -> pd.DataFrame:
    results = loads(path.read_text(encoding="utf-8"))["results"]
    return pd.DataFrame([{"row": result["command"], "order": order, "seconds": seconds}
                         for result in results for order, seconds in enumerate(result["times"])])
