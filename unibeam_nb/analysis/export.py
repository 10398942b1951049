"""An experiment as a file that other programs read. :data:`FORMATS` is the one table of what there is."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unibeam_nb.analysis.tables import write_csv, write_parquet
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.errors import BenchError, UsageError
from unibeam_nb.model import Sample
from unibeam_nb.store import disk_errors, write_atomically


@dataclass(frozen=True)
class Format:
    """One way to write an experiment down: what it holds, how its files end, and ``write(experiment, path)``."""

    name: str
    holds: str
    suffix: str
    write: Callable[[Experiment, Path], None]


def export(exp: Experiment, form: str | None, path: Path | None = None) -> Path:
    """Write ``exp`` in the format of this name, or the one that ``path`` ends like, and return where. Raises UsageError
    for a format there is not, and BenchError where the experiment has nothing for it."""
    form = form or _told_by(path)
    if form not in FORMATS:
        raise UsageError(f"There is no format {form!r} to export.", f"The formats are {', '.join(FORMATS)}.")
    chosen = FORMATS[form]
    target = path or Path(f"{exp.file_name}{chosen.suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(target.parent):
        chosen.write(exp, target)
    target.chmod(0o644)
    return target


def _told_by(path: Path | None) -> str:
    """The format whose files end like ``path``."""
    for form in FORMATS.values():
        if path is not None and path.name.endswith(form.suffix):
            return form.name
    raise UsageError("Say in which format to export." if path is None else
                     f"{path.name} does not say in which format to export.",
                     f"Add --format with one of {', '.join(FORMATS)}; a file that ends in .csv or .parquet says it.")


def hyperfine_results(exp: Experiment) -> dict[str, Any]:
    """The boot times as ``hyperfine --export-json`` (1.15) writes them: one result a case, times in seconds in the
    order in which they were taken, warm-up and failed boots left out.

    ``command`` is the case's name and ``parameters`` its arm and factors. ``user`` and ``system`` are null: most of
    a machine's CPU time is spent in processes that are not our children. ``stddev`` is null for one run, as there.
    """
    results = []
    for case in exp.plan.cases:
        own: list[Sample] = [s for s in exp.measured if s.kind == "boot" and s.case == case.name]
        times = [s.marks[exp.until] for s in sorted(own, key=lambda s: s.order)]
        if not times:
            continue
        results.append({
            "command": case.name, "mean": statistics.fmean(times),
            "stddev": statistics.stdev(times) if len(times) > 1 else None, "median": statistics.median(times),
            "user": None, "system": None, "min": min(times), "max": max(times), "times": times,
            "exit_codes": [0] * len(times), "parameters": {"arm": str(case.arm), **dict(case.factors)}})
    if not results:
        raise BenchError(f"No boot of {exp.name} succeeded, so there is nothing to export.",
                         "See the failed boots in the experiment.")
    return {"results": results}


def _write_hyperfine(exp: Experiment, path: Path) -> None:
    write_atomically(path, json.dumps(hyperfine_results(exp), indent=2, ensure_ascii=False) + "\n")


FORMATS: dict[str, Format] = {form.name: form for form in (
    Format("hyperfine", "boot times as hyperfine --export-json writes them", ".hyperfine.json", _write_hyperfine),
    Format("csv", "every sample as text, one a row", ".csv", write_csv),
    Format("parquet", "every sample in columns with types", ".parquet", write_parquet))}
"""Every format by name."""
