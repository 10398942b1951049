"""Machines become samples: a plan, its boots in randomised blocks, and the journal they are written to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unibeam_nb.bench.journal import Experiment, journal_path, list_experiments, load_experiment
from unibeam_nb.bench.plan import Case, Factor, Plan, Stop, make_plan
from unibeam_nb.bench.planfile import plan_from_toml
from unibeam_nb.bench.preview import Preview, describe, preview
from unibeam_nb.bench.schedule import Slot, schedule

if TYPE_CHECKING:
    from unibeam_nb.bench.run import run_experiment

__all__ = ["Case", "Experiment", "Factor", "Plan", "Preview", "Slot", "Stop", "describe", "journal_path",
           "list_experiments", "load_experiment", "make_plan", "plan_from_toml", "preview", "run_experiment",
           "schedule"]


def __getattr__(name: str) -> Any:
    # Running needs the machines, and they the programs of the host; reading a journal needs neither, and
    # `analysis` stays free of both.
    if name == "run_experiment":
        from unibeam_nb.bench.run import run_experiment

        return run_experiment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
