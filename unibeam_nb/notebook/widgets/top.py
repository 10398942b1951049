"""The processes in a machine as a table that stays fresh, in the order that is chosen in the page.

A page that is in view asks every two seconds. A look takes a while, because the machine watches its processes; so it is
taken on a thread of its own, one at a time, and what it found is sent when it is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unibeam_nb.errors import UnibeamError
from unibeam_nb.job import Job
from unibeam_nb.notebook.sheet import Table, printable
from unibeam_nb.notebook.talking import top_sheet
from unibeam_nb.notebook.widgets.panel import Face
from unibeam_nb.talk.looking import ORDERS

if TYPE_CHECKING:
    from unibeam_nb.talk import Top


class TopPanel(Face):
    """What ``static/face.js`` draws as ``top``."""

    def __init__(self, top: Top) -> None:
        self._top, self._by = top, top.by
        self._job: Job[Top] | None = None
        super().__init__(f"Processes in {printable(top.machine)}", top_state(top), kind="top")

    def heard(self, content: dict[str, Any]) -> None:
        if content.get("do") == "order" and content.get("by") in ORDERS:
            self._by = str(content["by"])
        if content.get("do") in ("order", "refresh"):
            self._look()

    def _look(self) -> None:
        again = self._top.again
        if again is None or (self._job is not None and self._job.running):
            return
        by = self._by
        job = self._job = Job(f"top {self._top.machine}", lambda: again(by))
        job.when_over(lambda: self._seen(job))
        job.start()

    def _seen(self, job: Job[Top]) -> None:
        error = job.error
        if error is None:
            self._top = job.result()
            self.change(**top_state(self._top))
        else:
            told = error.message if isinstance(error, UnibeamError) else repr(error)
            self.change(message=f"{printable(told)} This is how it last was.")


def top_state(top: Top) -> dict[str, Any]:
    """What a page shows of one look, in the words of the sheet."""
    sheet = top_sheet(top)
    (table,) = (block for block in sheet.blocks if isinstance(block, Table))
    return {"title": printable(sheet.title), "by": top.by, "orders": list(ORDERS), "message": "",
            "facts": [[key, printable(value)] for key, value in sheet.facts], "caption": table.caption,
            "columns": list(table.columns), "numeric": sorted(table.numeric),
            "rows": [[printable(word) for word in row] for row in table.rows]}
