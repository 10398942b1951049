"""What stands on one row of a chart or a table: an arm, with the values of what the plan varies besides."""

from __future__ import annotations

import re

from unibeam_nb.bench.journal import Experiment
from unibeam_nb.model import Sample, case_name


def row_of(sample: Sample) -> str:
    """``linux@qemu``, or ``linux@qemu mem_mb=128`` where the plan varies the memory."""
    return case_name(sample.arm, factors_of(sample)) if "copies_count" in sample.values else sample.case


def factors_of(sample: Sample) -> list[tuple[str, str]]:
    """What was varied for a sample, by name; so many copies at once are a factor like any other."""
    copies = {"copies": f"{sample.values['copies_count']:.0f}"} if "copies_count" in sample.values else {}
    return sorted((copies | sample.factors).items())


def rows_of(exp: Experiment, kind: str = "boot") -> tuple[str, ...]:
    """The rows of an experiment: the plan's cases in its order, also those without any sample of ``kind``, for they
    are missing and not unwanted; sets of copies have rows of their own, by number."""
    found: dict[str, dict[str, Sample]] = {case.label: {} for case in exp.plan.cases}
    for sample in exp.samples:
        if sample.kind == kind:
            found.setdefault(sample.arm, {}).setdefault(row_of(sample), sample)
    rows: list[str] = []
    for arm, own in found.items():
        planned = [case.name for case in exp.plan.cases if case.label == arm]
        if own and not own.keys() & set(planned):
            planned = []
        rows += planned + sorted(own.keys() - set(planned), key=lambda row: _natural(own[row]))
    return tuple(rows)


def _natural(sample: Sample) -> list[list[tuple[int, float, str]]]:
    """A key that sorts ``64`` before ``128`` and ``a`` before ``b``."""
    return [[(0, float(part), "") if re.fullmatch(r"\d+", part) else (1, 0.0, part)
             for part in re.split(r"(\d+)", value) if part] for _, value in factors_of(sample)]


def arm_of(row: str) -> str:
    """The arm of a row."""
    return row.partition(" ")[0]


