"""Messages of a page that arrive while a cell is busy."""

from __future__ import annotations

from typing import Any


def reachable(widget: Any) -> None:
    """Let the messages of a page reach ``widget`` while a cell waits for the very work that they are to stop.

    JupyterLab (from 4.4) sends them on a subshell, a thread of the kernel's own. ipykernel 7.4 takes them off it again,
    and puts them behind the cell that last sent something to the page, for the sake of cells that await an answer.
    Ours await none. Where the attribute does not exist there is nothing to undo.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = None
