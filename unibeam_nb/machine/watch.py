"""Watching a machine boot: until it reached the wanted mark, or with the reason why it will not."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass

from unibeam_nb.arms import RESTORE
from unibeam_nb.errors import MachineError
from unibeam_nb.machine import diagnose, door, ring, ways, xen
from unibeam_nb.machine.console import Console, Follower, plain
from unibeam_nb.machine.diagnose import Evidence
from unibeam_nb.machine.marks import MarkReader, code_of, with_kernel
from unibeam_nb.machine.options import SLIRP, Seat
from unibeam_nb.machine.osv_arguments import OSV
from unibeam_nb.machine.probe import Prober
from unibeam_nb.machine.qemu import OUTPUT
from unibeam_nb.machine.qemu_arguments import CONSOLE
from unibeam_nb.model import ASKS, READY, Mark
from unibeam_nb.progress import checkpoint, progress, tell_mark
from unibeam_nb.store import refuse_full

APP_AFTER_HTTP = 1.0
"""Seconds to wait for ``app`` once the machine answers: the two come in either order, milliseconds apart."""


@dataclass
class Watch:
    """Waits for one machine's marks. What is opened meanwhile closes with ``stack``."""

    seat: Seat
    child: subprocess.Popen[bytes]
    follower: Follower
    reader: MarkReader
    prober: Prober | None
    stack: ExitStack

    def marks(self) -> dict[str, Mark]:
        """The marks so far, with the derived one and the answer."""
        found = dict(self.reader.marks)
        if self.prober is not None and self.prober.answered is not None:
            found["http"] = Mark("http", self.prober.answered - self.reader.spawned)
        return with_kernel(found)

    def until_reached(self) -> None:
        """Return when the wanted mark is there; raise what went wrong when it will not come."""
        deadline = self.reader.spawned + self.seat.options.deadline
        wake = [self.prober.fileno()] if self.prober is not None else []
        while True:
            ended = self.child.poll() is not None
            self._read()
            if self._reached():
                return
            if ended or "exit" in self.reader.marks:
                raise self._failure(ended=True)
            if self.seat.image.platform == OSV and diagnose.osv_died(Console(self.seat.directory / CONSOLE).lines()):
                self.follower.wait(0.2)  # The rest of what it says is on its way; afterwards nothing ever will be.
                raise self._failure(ended=False)
            if time.monotonic() >= deadline:
                raise self._failure(ended=False)
            checkpoint()
            ring.trim(self.seat.directory / CONSOLE)
            refuse_full(self.seat.directory)  # What is written there is lost, marks too.
            patience = min(0.1, max(deadline - time.monotonic(), 0.0))
            if self.prober is not None and self.prober.answered is not None:
                wake, patience = [], min(patience, 0.01)
            self.follower.wait(patience, *wake)

    def _read(self) -> None:
        arrived = time.monotonic()
        self._heard(self.follower.read(), arrived)

    def _heard(self, data: bytes, arrived: float) -> None:
        for mark in self.reader.feed(data, arrived):
            if mark.name == ASKS:
                self._tell()
                continue
            progress(None, mark.name)
            tell_mark(mark.name, mark.at)
            if self.prober is not None:
                self.prober.heard(mark.name)

    def _tell(self) -> None:
        """Tell PID 1 the secret of the machine's channel."""
        if self.seat.door is not None:
            terminal = xen.terminal(self.seat) if self.seat.arm.runner == "xen" else None
            door.tell(self.seat.directory, self.seat.door, self.stack, terminal)

    def _reached(self) -> bool:
        if self.prober is None:
            return self._up()
        answered = self.prober.answered
        # Whether the channel is open is told by the mark.
        enough = self.seat.door is None and answered is not None and time.monotonic() > answered + APP_AFTER_HTTP
        return answered is not None and (self._up() or enough)

    def _up(self) -> bool:
        return any(mark in self.reader.marks for mark in READY)

    def _failure(self, *, ended: bool) -> MachineError:
        """Why the boot failed, once the machine has had a moment to say its last words."""
        if ended:
            ends = time.monotonic() + 2.0
            while self.child.poll() is None and time.monotonic() < ends:
                self.follower.wait(0.05)
            self._heard(self.follower.read_all(), time.monotonic())
        seat, options = self.seat, self.seat.options
        own = seat.directory / OUTPUT
        return diagnose.explain(Evidence(
            seat.name, seat.arm.runner, options.until, options.deadline, options.mem_mb,
            image_mb=-(-seat.image.unpacked_bytes // (1 << 20)), limited=ways.limited(seat.store, seat.arm),
            ended=ended, code=self.child.poll(), inner=code_of(self.reader.values),
            console=Console(seat.directory / CONSOLE).lines(),
            vmm=plain(ring.kept(own)).splitlines(), marks=self.marks(),
            osv=seat.image.platform == OSV,
            resumed=RESTORE in seat.arm.options or (seat.snapshot is not None and seat.snapshot.state is not None),
            left_out=frozenset(seat.image.left_out), closed=seat.arm.runner in SLIRP and not seat.outgoing))
