"""The dashboard of an experiment: a form that writes the cell it stands for, a chart that fills, and a stop button.

The chart follows the journal, whoever runs the experiment. A page in view asks every two seconds; nothing runs here
otherwise. When the experiment is complete, the widget gives way to a figure that needs no kernel.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unibeam_nb.bench.follow import Follow
from unibeam_nb.errors import UnibeamError
from unibeam_nb.job import Job
from unibeam_nb.notebook.board import OFFERED, changed, progress_state
from unibeam_nb.notebook.display import WIDGET_VIEW
from unibeam_nb.notebook.measuring import experiment_sheet
from unibeam_nb.notebook.results import Board
from unibeam_nb.notebook.sheet import Folded, Sheet, as_html, as_text, printable
from unibeam_nb.notebook.widgets.panel import Face

if TYPE_CHECKING:
    from unibeam_nb.bench import Experiment


class Dashboard(Face):
    """One dashboard, shown once by ``shell``."""

    def __init__(self, shell: Any, board: Board) -> None:
        self._shell, self._lab = shell, board.lab
        self._id, self._shown, self._over = uuid.uuid4().hex, False, False
        self._form = board.form
        self._job: Job[Experiment] | None = None
        self._seen = Follow(board.journal) if board.journal else None
        follows = board.journal is not None
        super().__init__("Dashboard of an experiment", {
            "title": f"Experiment {board.journal.stem}" if board.journal else "An experiment", "follows": follows,
            "names": board.lab.names(), "arms": _arms_here(), "running": follows, "error": "",
            "form": {"name": self._form.name, "arms": list(self._form.arms), "blocks": self._form.blocks,
                     "mem_mb": self._form.mem_mb, "probe": self._form.probe},
            "cell": self._form.cell, "cases": [], "samples": [], "fraction": 0.0, "where": "", "words": ""},
            kind="dashboard")
        self.refresh()

    def heard(self, content: dict[str, Any]) -> None:
        do, form = content.get("do"), content.get("form")
        if do == "refresh":
            self.refresh()
        elif do == "cancel" and self._job is not None:
            self._job.cancel()
        elif do == "form" and isinstance(form, dict) and not self._running:
            self._form = changed(self._form, form)
            self.change(cell=self._form.cell, error=self._mistake())
        elif do == "start" and not self._running:
            self._start()

    @property
    def _running(self) -> bool:
        return self._job is not None and self._job.running

    def _mistake(self) -> str:
        """What is wrong with the plan; empty when nothing is."""
        try:
            self._lab.plan(self._form.name or None, toml=self._form.toml())
        except UnibeamError as error:
            return " ".join(filter(None, (error.message, error.hint)))
        return ""

    def _start(self) -> None:
        if mistake := self._mistake():
            self.change(error=mistake)
            return
        name = f"{self._form.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        self._seen = Follow(self._lab.store.directory("experiments") / f"{name}.jsonl")
        toml, lab = self._form.toml(), self._lab
        self._job = Job(f"bench {name}", lambda: lab.bench(self._form.name, toml=toml, experiment=name))
        self._job.when_over(self._ended)
        self._job.start()
        self.change(running=True, error="", where="building the images", title=f"Experiment {name}",
                    cases=[], samples=[])

    def _ended(self) -> None:
        job = self._job
        error = job.error if job is not None else None
        told = error.message if isinstance(error, UnibeamError) else repr(error) if error is not None else ""
        self.change(running=False, error=printable(told))
        self.refresh()

    def refresh(self) -> None:
        """Read what was measured since, and send it."""
        seen = self._seen
        if seen is None or self._over:
            return
        try:
            if seen.read():
                self.change(**progress_state(seen))
        except UnibeamError as error:
            self.change(error=printable(error.message))
        # An experiment of our own is over when its job is; the journal of a foreign one says it in its own way.
        if seen.complete and not self._running:
            self._over = True
            self._leave_figure(seen.path)

    def show(self) -> None:
        """Show the dashboard in the cell that is running."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        self._publish(self._static() if self._over else self._static() | {WIDGET_VIEW: view})

    def _leave_figure(self, path: Path) -> None:
        if self._shown:
            self._publish(figure_of(self._lab, path))
            self.close()

    def _static(self) -> dict[str, Any]:
        if self._over and self._seen is not None:
            return figure_of(self._lab, self._seen.path)
        sheet = Sheet(str(self.state["title"]), (("so far", str(self.state["where"] or "nothing measured yet")),),
                      (Folded("The cell it stands for", self._form.cell),))
        return {"text/plain": as_text(sheet), "text/html": as_html(sheet)}

    def _publish(self, data: dict[str, Any]) -> None:
        self._shell.display_pub.publish(data=data, metadata={}, transient={"display_id": self._id}, update=self._shown)
        self._shown = True


def figure_of(lab: Any, path: Path) -> dict[str, Any]:
    """A finished experiment as its chart of boots over its table, in HTML, text, and a picture."""
    from unibeam_nb.bench import load_experiment

    experiment = load_experiment(path)
    sheet = experiment_sheet(experiment)
    try:
        chart = lab.chart("boot", experiment)._repr_mimebundle_()
    except UnibeamError:  # Nothing was booted that could be drawn.
        return {"text/plain": as_text(sheet), "text/html": as_html(sheet)}
    return {"text/plain": f"{chart['text/plain']}\n\n{as_text(sheet)}", "image/png": chart["image/png"],
            "text/html": chart["text/html"] + as_html(sheet)}


def _arms_here() -> list[str]:
    """The arms that the form offers: those whose runner is on this host."""
    from unibeam_nb.machine.available import available

    runners = {arm.partition("@")[2] for arm in OFFERED}
    missing = {runner for runner in runners if available(runner) is not None}
    return [arm for arm in OFFERED if arm.partition("@")[2] not in missing]
