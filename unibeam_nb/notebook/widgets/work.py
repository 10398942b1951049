"""Work under way as a widget with a Stop button; afterwards it is one folded line of plain HTML."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from unibeam_nb.notebook.display import WIDGET_VIEW
from unibeam_nb.notebook.sheet import printable
from unibeam_nb.notebook.steps import StepLog, line_text, steps_html, steps_text
from unibeam_nb.notebook.widgets.panel import Face
from unibeam_nb.units import format_seconds

if TYPE_CHECKING:
    from unibeam_nb.job import Job


class WorkPanel(Face):
    """Steps, the timelines of machines that are coming up, and a Stop button."""

    def __init__(self, job: Job[Any], log: StepLog, now: float) -> None:
        super().__init__(printable(job.title), work_state(log, now))
        self._job = job

    def heard(self, content: dict[str, Any]) -> None:
        if content.get("do") == "cancel":
            self._job.cancel()


def work_state(log: StepLog, now: float) -> dict[str, Any]:
    """What a page shows of work under way."""
    booting = log.booting[-1:]
    machines = [{"id": one.id, "name": f"machine {one.id}", "alive": True, "state": "booting", "facts": [], "links": [],
                 "actions": [], "now": now - log.began,
                 "marks": [{"name": name, "at": round(at, 4)} for name, at in one.marks.items()]}
                for one in booting if one.marks]
    return {"title": printable(log.title), "status": f"for {format_seconds(now - log.began)}", "running": True,
            "steps": [line_text(line, now) for line in log.shown()], "machines": machines,
            "message": "\n".join(printable(note) for note in log.notes)}


class WorkView:
    """The view (``notebook/live.py``) of a job in a notebook: a widget while it runs, HTML when it is over.

    The bundle holds the same as HTML and text for front ends without widgets; they see the beginning and the end.
    """

    def __init__(self, shell: Any, job: Job[Any], *, background: bool = False) -> None:
        self._shell, self._job, self._background = shell, job, background
        self._id = uuid.uuid4().hex
        self._panel: WorkPanel | None = None

    def show(self, log: StepLog, now: float) -> None:
        data: dict[str, Any] = {"text/plain": steps_text(log, now), "text/html": steps_html(log, now)}
        if log.outcome:
            made = self._made()
            if self._panel is not None:
                # Where a widget is closed, a page hides its place, with the widget that took its place in between. So
                # the work's own goes first, and leaves HTML.
                self._publish(data)
                self._panel.close()
            if made or self._panel is None:
                self._publish(data | made, first=self._panel is None)
        elif self._panel is None:
            self._panel = WorkPanel(self._job, log, now)
            view = {"version_major": 2, "version_minor": 0, "model_id": self._panel.model_id}
            self._publish(data | {WIDGET_VIEW: view}, first=True)
        else:
            self._panel.change(**work_state(log, time.monotonic()))

    def _made(self) -> dict[str, Any]:
        """The face of a machine that came up in the background, which no cell shows as its value."""
        from unibeam_nb.machine import Machine

        if not self._background or self._job.state != "done" or not isinstance(self._job.result(), Machine):
            return {}
        made: dict[str, Any] = self._shell.display_formatter.format(self._job.result())[0]
        return made

    def _publish(self, data: dict[str, Any], *, first: bool = False) -> None:
        self._shell.display_pub.publish(data=data, metadata={}, transient={"display_id": self._id},
                                        update=not first and self._panel is not None)
