"""Runners ``crun``, ``runc`` and ``runsc``: an oci image's root directory under a bare runtime, without an engine.

The three speak the command line that runc began; how they differ stands in :data:`RUNTIMES`. Each machine has a bundle
of its own, and runs in a mount namespace of its own, so that nothing stays mounted when it is gone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.arms import RESTORE
from unibeam_nb.errors import MachineError
from unibeam_nb.machine import criu, memory, proc, ways
from unibeam_nb.machine.bundle import config
from unibeam_nb.machine.cgroup import limits_swap
from unibeam_nb.machine.options import Seat, Start
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.qemu_arguments import CONSOLE, HOSTNAME
from unibeam_nb.machine.registry import Record
from unibeam_nb.machine.ways import Way, container_name
from unibeam_nb.model import IMAGE_ROOT, IMAGE_STATE, Image
from unibeam_nb.store import Store

ROOT, UPPER, WORK, LOWER = "root", "upper", "work", "lower"
"""Directories of a bundle: the container's root, an overlay's layers, and a link to the image's own root.
The overlay's options go through these short names, since a path in them could hold a comma or a colon."""

OVERLAY = f"mount -t overlay -o lowerdir={LOWER},upperdir={UPPER},workdir={WORK} overlay {ROOT}"


@dataclass(frozen=True)
class Runtime:
    """How one runtime is called. ``flags`` stand before its command; ``without_cgroups`` take the place of a cgroup
    where those do not work. ``monitors`` are words in the command lines of processes that belong to the runtime, not
    to the program, although they are below it. ``restoring`` are flags of its commands for CRIU, where it
    does not read CRIU's configuration."""

    program: str
    flags: tuple[str, ...] = ()
    without_cgroups: tuple[str, ...] = ()
    monitors: tuple[str, ...] = ()
    restoring: tuple[str, ...] = ()

    def words(self, way: Way, words: tuple[str, ...]) -> tuple[str, ...]:
        """The command line for one way to run it, with the machine's directory as working directory."""
        manager = () if way.cgroups else self.without_cgroups
        mounts = (*((ways.COVER,) if way.cover else ()), *(() if way.copy else (OVERLAY,)))
        return (*ways.private_mounts(mounts), str(tools.find(self.program)), "--root", "runtime", *self.flags,
                *manager, *words)

    def prepare(self, seat: Seat) -> Start:
        """The bundle and the command line of this machine."""
        way, name = self.way(seat), container_name(seat.id)
        launch = seat.image.launch
        env = launch.env() | seat.given
        fill_bundle(seat.directory, seat.image, way, name, launch.argv(IMAGE_ROOT, IMAGE_STATE), env,
                    seat.options.mem_mb)
        if RESTORE not in seat.arm.options:
            return Start(self.words(way, ("run", name)), CONSOLE)
        if (why := criu.obstacle(seat.store, self.program)) is not None:
            message, _, hint = why.partition(": ")
            raise MachineError(message.rstrip(".") + ".", hint or "Leave out +restore; 'unibeam doctor' says more.")
        criu.keep(seat, lambda words: self.words(way, words), tools.find(self.program), name,
                  self.restoring)
        return Start(self.words(way, criu.restore_words(name, self.restoring)), CONSOLE, piped=True)

    def way(self, seat: Seat) -> Way:
        """How this runtime works on this host, tried out with the seat's image where that is not known yet."""
        launch, trial = seat.image.launch, ways.trial_name(seat.id)

        def attempt(way: Way) -> str | None:
            with seat.store.scratch() as scratch:
                fill_bundle(scratch, seat.image, way, trial, (launch.argv()[0], "+V"), launch.env(), 64)
                try:
                    done = process.run(self.words(way, ("run", trial)), cwd=scratch, timeout=30, check=False)
                finally:
                    ways.remove_cgroup(trial)
            return None if done.code == 0 else (done.stderr.strip() or f"exit status {done.code}").splitlines()[-1]

        return ways.settle(seat.store, tools.find(self.program), ways.candidates(copies=True), attempt)

    def started(self, seat: Seat, alive: Callable[[], bool]) -> float | None:
        """The runtime goes straight on to the program; where that is restored, when it runs again."""
        return criu.restored(seat.directory, alive) if RESTORE in seat.arm.options else None

    def payload(self, record: Record, directory: Path) -> list[ProcessId]:
        """The processes in the container: the runtime stays their parent, and adopts those whose parent ended."""
        below = proc.descendants(record.process) if record.process and record.process.alive else []
        return [one for one in below if not self._monitors(one)]

    def _monitors(self, one: ProcessId) -> bool:
        return bool(self.monitors) and any(word in self.monitors for word in proc.command_line(one))

    def runtime(self, record: Record, directory: Path) -> list[ProcessId]:
        """The runtime, which waits for the container's end, and its helpers."""
        if record.process is None:
            return []
        return [record.process, *(one for one in proc.descendants(record.process) if self._monitors(one))]

    def measure(self, record: Record, directory: Path) -> tuple[int, int]:
        """Bytes of the container's processes, and of the runtime's."""
        return memory.pss(self.payload(record, directory)), memory.pss(self.runtime(record, directory))

    def halt(self, store: Store, record: Record, directory: Path, reap: Callable[[], object]) -> bool:
        """End the container. Ending its first process makes the kernel end all others in it, the runtime then
        tidies up."""
        if record.process is None:
            return True
        proc.end(self.payload(record, directory)[:1], reap=reap)
        proc.wait([record.process], 2.0, reap)
        gone = proc.end([record.process], lambda: proc.descendants(record.process) if record.process else (),
                        reap=reap)
        # It tidies up itself unless it was killed; its own state lies in the machine's directory, mounts are private.
        ways.remove_cgroup(container_name(record.id))
        return gone


RUNTIMES: dict[str, Runtime] = {runtime.program: runtime for runtime in (
    Runtime("crun", without_cgroups=("--cgroup-manager=disabled",),
            restoring=("--manage-cgroups-mode", "ignore")),
    # Where a bundle names no cgroup and the user is not root, runc goes without one by itself.
    Runtime("runc"),
    # Its network is the host's as in the other two; its own writable layer would be one more beside our overlay.
    Runtime("runsc", ("--network=host", "--overlay2=none"), ("--ignore-cgroups",), ("gofer",)),
)}
"""The bare runtimes by name."""


def fill_bundle(directory: Path, image: Image, way: Way, name: str, argv: tuple[str, ...],
                env: dict[str, str], mem_mb: int) -> None:
    """Write a bundle into ``directory``. The image's root stays as it is: writes go to an overlay or a copy."""
    rootfs = image.file("rootfs").resolve()
    for part in ("runtime", UPPER, WORK):
        (directory / part).mkdir()
    if way.copy:
        shutil.copytree(rootfs, directory / ROOT, symlinks=True)
    else:
        (directory / ROOT).mkdir()
        (directory / LOWER).symlink_to(rootfs)
    # The overlay's root takes over the mode of its upper directory.
    (directory / UPPER).chmod(0o755)
    data = config(argv, env, root=ROOT, hostname=HOSTNAME, cgroup=f"/{name}" if way.cgroups else None,
                  memory=mem_mb << 20, swap=limits_swap(),
                  annotations={"org.criu.config": str(directory / criu.CONFIGURATION)})
    (directory / "config.json").write_text(json.dumps(data), encoding="utf-8")
