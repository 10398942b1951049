"""A work in a notebook: a real kernel, spoken to as JupyterLab does."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from threading import Thread
from typing import Any

from tortures.works import CELLS

WORKS = tuple(CELLS)

FIRST = """
from tortures import works
works.acknowledge({acks!r})
%load_ext unibeam_nb
"""


class KernelWork:
    """The cells of a work, run one after another by a kernel of their own until one fails."""

    def __init__(self, what: str, place: Path, environment: dict[str, str]) -> None:
        from jupyter_client.manager import KernelManager

        self.acks, self.errors = place / "acks", place / "errors"
        self.told: list[str] = []
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=environment | {"JUPYTER_RUNTIME_DIR": os.environ["JUPYTER_RUNTIME_DIR"],
                                                     "IPYTHONDIR": os.environ["IPYTHONDIR"]}, cwd=str(place),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        if not self._run(FIRST.format(acks=str(self.acks))):
            raise RuntimeError(f"the kernel cannot load unibeam: {self.told}")
        self.runner = Thread(target=self._cells, args=(CELLS[what],), daemon=True)

    def _cells(self, cells: tuple[str, ...]) -> None:
        for cell in cells:
            if not self._run(cell):
                return
        self.told.append("done")

    def _run(self, cell: str) -> bool:
        """Run one cell; whether it ended well."""
        reply: dict[str, Any] = {}
        message = self.client.execute(cell)
        ends = time.monotonic() + 240
        while time.monotonic() < ends and self.manager.is_alive():
            try:
                reply = self.client.get_shell_msg(timeout=0.2)
            except Exception:  # queue.Empty; or the channel, of a kernel that was killed
                continue
            if reply.get("parent_header", {}).get("msg_id") == message:
                break
        content = reply.get("content", {})
        if content.get("status") != "ok":
            self.told.append(f"{content.get('ename')}: {content.get('evalue')}")
        return content.get("status") == "ok"

    def began(self) -> float:
        """Start the cells."""
        self.runner.start()
        return time.monotonic()

    @property
    def running(self) -> bool:
        return self.runner.is_alive() and bool(self.manager.is_alive())

    def interrupt(self, sign: str) -> None:
        """What Jupyter's stop button does for SIGINT; the signal itself for others."""
        if sign == "SIGINT":
            self.manager.interrupt_kernel()
        else:
            os.kill(self.manager.provisioner.pid, signal.Signals[sign])  # type: ignore[union-attr]

    def end(self, seconds: float = 90.0) -> None:
        """Wait for the cells' end, and end the kernel as closing a notebook does."""
        self.runner.join(seconds)
        stuck = self.runner.is_alive()
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=stuck)
        if stuck:
            raise TimeoutError(f"the cell had not ended after {seconds:.0f} s")

    def succeeded(self) -> bool:
        return self.told[-1:] == ["done"]

    def last_words(self) -> str:
        return str(self.told[-1:])
