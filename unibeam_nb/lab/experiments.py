"""Machine -> samples -> chart."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from unibeam_nb.analysis.chart import CHARTS, Chart
from unibeam_nb.arms import parse_arm
from unibeam_nb.errors import UsageError
from unibeam_nb.lab.builds import Builds
from unibeam_nb.model import Probe
from unibeam_nb.progress import step

if TYPE_CHECKING:
    from unibeam_nb.bench import Experiment
    from unibeam_nb.bench.plan import Plan

_DEFAULT_RIVALS = ("oci+scratch@crun", "oci+scratch@podman", "release@process")


class Experiments(Builds):
    """Experiments: plan them, run them, find them, show them."""

    def bench(self, name: str | None = None, *, arms: tuple[str, ...] = (), against: tuple[str, ...] = (),
              blocks: int = 10, warmup: int = 1, seed: int | None = None, mem_mb: int = 256, vcpus: int = 1,
              http: str | None = None, until: str | None = None, deadline: float = 120.0,
              accelerator: str = "auto", toml: str | None = None, experiment: str | None = None) -> Experiment:
        """Run an experiment: every arm once per block, in an order shuffled by ``seed``.

        ``experiment`` names the journal; one that exists already is continued if its plan is the same.
        """
        from unibeam_nb.bench import run_experiment

        plan = self.plan(name, arms=arms, against=against, blocks=blocks, warmup=warmup, seed=seed, mem_mb=mem_mb,
                         vcpus=vcpus, http=http, until=until, deadline=deadline, accelerator=accelerator, toml=toml)
        build = self.named(plan.source)
        with step("Building the images of every arm"):
            images = {str(arm): self._image(build, arm.target, arm.flavour, arm.extras) for arm in plan.arms}
        stem = experiment or f"{plan.source}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}", stem):
            raise UsageError(f"{stem!r} cannot be the name of an experiment.", "Use letters, digits, '.', '-' and '_'.")
        return run_experiment(plan, images, self.store, self.store.directory("experiments") / f"{stem}.jsonl")

    def plan(self, name: str | None = None, *, arms: tuple[str, ...] = (), against: tuple[str, ...] = (),
             toml: str | None = None, blocks: int = 10, warmup: int = 1, seed: int | None = None,
             mem_mb: int = 256, vcpus: int = 1, http: str | None = None, until: str | None = None,
             deadline: float = 120.0, accelerator: str = "auto") -> Plan:
        """The plan that :meth:`bench` would run, for looking at before anything runs."""
        from unibeam_nb.bench.plan import make_plan, plan_from_toml

        if toml is not None and toml.strip():
            return plan_from_toml(toml, source=name, ports=self.named(name).release.ports if name else ())
        if name is None:
            raise UsageError("Say what to measure.", "Name a build, for example '%unibeam bench hello -n 10'.")
        first = arms or ("linux@qemu",)
        chosen = tuple(dict.fromkeys(parse_arm(arm) for arm in (*first, *(against or _DEFAULT_RIVALS))))
        ports = self.named(name).release.ports
        return make_plan(name, chosen, blocks=blocks, warmup=warmup, seed=seed, mem_mb=mem_mb, vcpus=vcpus,
                         probe=Probe.parse(http, ports) if http else None,
                         until=until or ("http" if http else None), deadline=deadline, accelerator=accelerator)

    def experiments(self) -> list[str]:
        """The names of the experiments on disk, oldest first."""
        directory = self.store.state / "experiments"
        if not directory.is_dir():
            return []
        return [path.stem for path in sorted(directory.glob("*.jsonl"), key=lambda p: p.stat().st_mtime)]

    def experiment(self, name: str | None = None) -> Experiment:
        """An experiment by name or path; the newest one when none is named."""
        from unibeam_nb.bench import load_experiment

        there = self.experiments()
        if name is not None and name.endswith(".jsonl") and Path(name).expanduser().is_file():
            return load_experiment(Path(name).expanduser())
        if not there:
            raise UsageError("There is no experiment yet.", "Run one with '%unibeam bench NAME -n 10'.")
        chosen = name or there[-1]
        if chosen not in there:
            raise UsageError(f"There is no experiment {chosen!r}.", f"There are: {', '.join(there[-8:])}.")
        return load_experiment(self.store.state / "experiments" / f"{chosen}.jsonl")

    def chart(self, kind: str, experiment: str | Experiment | None = None) -> Chart:
        """Draw one kind of chart (see CHARTS) of an experiment, the newest one unless named."""
        if kind not in CHARTS:
            raise UsageError(f"There is no chart {kind!r}.", f"The charts are {', '.join(CHARTS)}.")
        from unibeam_nb.analysis import charts

        chosen = self.experiment(experiment) if isinstance(experiment, str | None) else experiment
        axes = getattr(charts, f"chart_{kind}")(chosen)
        return Chart(kind, axes.figure, getattr(charts, f"describe_{kind}")(chosen))

    def report(self, experiment: str | Experiment | None = None, path: Path | None = None) -> Path:
        """Write one self-contained HTML file about an experiment and return where it is."""
        from unibeam_nb.analysis.report import write_report

        chosen = self.experiment(experiment) if isinstance(experiment, str | None) else experiment
        return write_report(chosen, path or Path(f"{chosen.name}.html"))
