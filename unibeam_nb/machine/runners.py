"""The runners behind one protocol: each is a module, or an object, with these six functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from unibeam_nb.machine import docker, firecracker, host, podman, qemu, uml, xen
from unibeam_nb.machine.options import Seat, Start
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.registry import Record
from unibeam_nb.machine.runtimes import RUNTIMES
from unibeam_nb.store import Store


class Runner(Protocol):
    """What a runner can do. ``reap`` collects children of our own that ended, while waiting."""

    def prepare(self, seat: Seat) -> Start:
        """Everything that is not timed, up to the command line that is."""

    def started(self, seat: Seat, alive: Callable[[], bool]) -> float | None:
        """What is to be done right after the spawn; the host's monotonic clock of the mark ``vmm``, if there is one."""

    def payload(self, record: Record, directory: Path) -> list[ProcessId]:
        """The program's own processes on the host."""

    def runtime(self, record: Record, directory: Path) -> list[ProcessId]:
        """The processes on the host that run the program and are not the program: QEMU, an engine, its monitor."""

    def measure(self, record: Record, directory: Path) -> tuple[int, int]:
        """Bytes of the program, and of what runs it."""

    def halt(self, store: Store, record: Record, directory: Path, reap: Callable[[], object]) -> bool:
        """End everything that belongs to the machine; whether it is gone."""


RUNNERS: dict[str, Runner] = {
    "qemu": qemu, "uml": uml, "xen": xen, "firecracker": firecracker, "podman": podman, "docker": docker, **RUNTIMES,
    "process": host}


def runner_of(record: Record) -> Runner:
    """The runner of a machine."""
    return RUNNERS[record.runner]
