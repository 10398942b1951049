"""Machine -> samples -> chart."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from unibeam_nb.analysis.chart import CHARTS, OPTIONS, Chart
from unibeam_nb.errors import UsageError
from unibeam_nb.lab.builds import Builds
from unibeam_nb.lab.cases import absent_arms, arm_of, images_of_cases
from unibeam_nb.lab.plans import PlanOptions, plan_of
from unibeam_nb.model import ICOUNT
from unibeam_nb.progress import step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from unibeam_nb.bench import Experiment
    from unibeam_nb.bench.plan import Plan
    from unibeam_nb.bench.preview import Preview

IF_BUSY = ("wait", "refuse")
"""What to do where another measurement runs on this host."""


class Experiments(Builds):
    """Experiments: plan them, run them, find them, show them."""

    def bench(self, name: str | None = None, *, plan: Plan | None = None, toml: str | None = None,
              experiment: str | None = None, if_busy: str = "wait", keep_going: bool = False,
              client: Any = None, **options: Unpack[PlanOptions]) -> Experiment:
        """Run an experiment: every case once per block, in an order shuffled by the seed.

        What to run is a ``plan``, a TOML text, or the options of :meth:`plan`. ``experiment`` names the journal; one
        that exists already is continued if its plan is the same. Where another measurement runs on this host,
        ``if_busy`` says whether to ``wait`` or to ``refuse``. Arms that cannot run here are all named at once in a
        BenchError, or with ``keep_going`` left out.

        With ``client``, a ``dask.distributed`` client or the address of a scheduler, images are made and boots are
        measured by the workers of that cluster which have the resource ``bench=1`` (bench/cluster.py).
        """
        from unibeam_nb.bench import run_experiment

        if if_busy not in IF_BUSY:
            raise UsageError(f"if_busy = {if_busy!r} makes no sense.", f"Choose one of {', '.join(IF_BUSY)}.")
        chosen = plan or self.plan(name, toml=toml, **options)
        stem = experiment or f"{chosen.source}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}", stem):
            raise UsageError(f"{stem!r} cannot be the name of an experiment.", "Use letters, digits, '.', '-' and '_'.")
        path = self.store.directory("experiments") / f"{stem}.jsonl"
        if client is not None:
            if if_busy != "wait":
                raise UsageError("Workers of a cluster wait for their host.", "Leave --if-busy out.")
            return self._bench_over(client, chosen, path, keep_going=keep_going)
        with step("Building the images of every arm"):
            chosen, images, absent = images_of_cases(self, chosen, keep_going=keep_going)
        return run_experiment(chosen, images, self.store, path, wait=if_busy == "wait", bounds=_bounds,
                              left_out={a.arm: a.why for a in absent})

    def _bench_over(self, client: Any, plan: Plan, path: Path, *, keep_going: bool) -> Experiment:
        from unibeam_nb.bench.cluster import connect, run_over
        from unibeam_nb.lab.fanout import build_over

        connection = connect(client) if isinstance(client, str) else client
        try:
            with step("Building the images of every arm"):
                build_over(connection, self.store, plan)
                plan, images, absent = images_of_cases(self, plan, keep_going=keep_going, here=False)
            return run_over(connection, plan, images, self.store, path, bounds=_bounds,
                            left_out={a.arm: a.why for a in absent})
        finally:
            if connection is not client:
                connection.close()

    def plan(self, name: str | None = None, *, toml: str | None = None, **options: Unpack[PlanOptions]) -> Plan:
        """The plan that :meth:`bench` would run, for looking at before anything runs.

        With ``within`` (a part of the ratio, 0.05 for 5 %) the experiment ends when every ratio to ``baseline`` is
        known that closely, at the latest after ``blocks``; ``factors`` maps a factor to its values.
        """
        from unibeam_nb.bench.planfile import plan_from_toml

        if toml is not None and toml.strip():
            return plan_from_toml(toml, source=name, ports=self.named(name).release.ports if name else ())
        if name is None:
            raise UsageError("Say what to measure.", "Name a build, for example '%unibeam bench hello -n 10'.")
        return plan_of(name, self.named(name).release.ports, options)

    def preview(self, plan: Plan) -> Preview:
        """What ``plan`` will cost on this host: boots, about how long, and which arms cannot run."""
        from unibeam_nb.bench import preview

        build = self.named(plan.source)
        earlier = [(arm_of(exp, s), s) for exp in self._earlier() for s in exp.samples if s.kind == "boot"]
        plan = plan if plan.until != "auto" else dataclasses.replace(
            plan, until="http" if (build.release.ports or plan.probe) and plan.accelerator != ICOUNT else "app")
        return preview(plan, earlier, absent_arms(self.store, plan))

    def _earlier(self) -> list[Experiment]:
        """The experiments of this store, oldest first."""
        from unibeam_nb.bench import list_experiments

        return list_experiments(self.store) if (self.store.state / "experiments").is_dir() else []

    def experiments(self) -> list[str]:
        """The names of the experiments on disk, oldest first."""
        directory = self.store.state / "experiments"
        if not directory.is_dir():
            return []
        return [path.stem for path in sorted(directory.glob("*.jsonl"), key=lambda p: p.stat().st_mtime)]

    def experiment(self, name: str | None = None) -> Experiment:
        """An experiment by its name, or by the path of its journal or report; the newest one when none is named.
        ``NAME@HOST`` is what of it was measured on the host of this id."""
        from unibeam_nb.bench import load_experiment

        if name is not None and (found := re.fullmatch(r"(.+)@([0-9a-f]{12})", name)):
            return self.experiment(found[1]).on_host(found[2])
        there = self.experiments()
        if name is not None and name.endswith((".jsonl", ".html")) and Path(name).expanduser().is_file():
            return load_experiment(Path(name).expanduser())
        if not there:
            raise UsageError("There is no experiment yet.", "Run one with '%unibeam bench NAME -n 10'.")
        chosen = name or there[-1]
        if chosen not in there:
            raise UsageError(f"There is no experiment {chosen!r}.", f"There are: {', '.join(there[-8:])}.")
        return load_experiment(self.store.state / "experiments" / f"{chosen}.jsonl")

    def chart(self, kind: str, experiment: str | Experiment | None = None, *, baseline: str | None = None,
              measure: str | None = None, arm: str | None = None, force: bool = False) -> Chart:
        """Draw one kind of chart (see CHARTS) of an experiment, the newest one unless named.

        ``ratio`` compares with the arm ``baseline`` what ``measure`` names (see MEASURE_NAMES), samples of several
        hosts or accelerators only with ``force``; ``treemap`` shows the image of ``arm``.
        """
        if kind not in CHARTS:
            raise UsageError(f"There is no chart {kind!r}.", f"The charts are {', '.join(CHARTS)}.")
        options = {key: value for key, value in
                   {"baseline": baseline, "measure": measure, "arm": arm, "force": force}.items() if value}
        for key in options:
            if kind not in OPTIONS[key]:
                raise UsageError(f"The chart {kind} takes no --{key}.", f"It is for {', '.join(OPTIONS[key])}.")
        from unibeam_nb.analysis import charts

        chosen = self.experiment(experiment) if isinstance(experiment, str | None) else experiment
        return charts.drawn(kind, chosen, **options)

    def compare(self, first: str | Experiment, second: str | Experiment, *, measure: str | None = None,
                force: bool = False) -> Chart:
        """Draw ``second`` against ``first``, over the arms that both have.

        Raises BenchError where they come from different hosts or accelerators, unless ``force``.
        """
        from unibeam_nb.analysis.charts.across import chart_across
        from unibeam_nb.analysis.compare import compare_experiments

        pair = [self.experiment(one) if isinstance(one, str) else one for one in (first, second)]
        found = compare_experiments(pair[0], pair[1], measure=measure or "boot", force=force)
        return Chart("compare", cast("Figure", chart_across(found).figure), str(found))

    def report(self, experiment: str | Experiment | None = None, path: Path | None = None) -> Path:
        """Write one self-contained HTML file about an experiment and return where it is."""
        from unibeam_nb.analysis.report import write_report

        chosen = self.experiment(experiment) if isinstance(experiment, str | None) else experiment
        return write_report(chosen, path or Path(f"{chosen.file_name}.html"))

    def export(self, form: str | None = None, experiment: str | Experiment | None = None,
               path: Path | None = None) -> Path:
        """Write an experiment in a format that other programs read (``analysis.export.FORMATS``), told by ``path``
        where ``form`` is None; returns where."""
        from unibeam_nb.analysis.export import export

        chosen = self.experiment(experiment) if isinstance(experiment, str | None) else experiment
        return export(chosen, form, path)


def _bounds(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """The ratio of two series and the ends of its interval, for the stop rule."""
    from unibeam_nb.analysis.intervals import ratio_interval

    found = ratio_interval(first, second)
    return found.value, found.low, found.high
