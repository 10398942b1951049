"""One running machine, held by whoever booted it or attached from its record on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from unibeam_nb.arms import RUNNERS_OF
from unibeam_nb.errors import MachineError
from unibeam_nb.machine import (
    cgroup,
    children,
    farewell,
    firecracker,
    keyboard,
    qemu,
    registry,
    ring,
    strays,
    uml,
    ways,
)
from unibeam_nb.machine.cgroup import Usage
from unibeam_nb.machine.console import Console
from unibeam_nb.machine.marks import MarkReader, code_of, times_told, with_kernel
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.qemu_arguments import CONSOLE
from unibeam_nb.machine.registry import Record
from unibeam_nb.machine.runners import runner_of
from unibeam_nb.model import AGAIN, FALLBACK, Mark, Memory
from unibeam_nb.process import sweep_places
from unibeam_nb.progress import note, shielded
from unibeam_nb.release.workplace import sweep_builds
from unibeam_nb.store import Store


class Machine:
    """A machine that was booted: its console, marks, ports, memory, and its end.

    It outlives this object and this process; :func:`unibeam_nb.machine.machines` finds it again.
    """

    def __init__(self, store: Store, record: Record, directory: Path) -> None:
        self._store, self._record, self._directory = store, record, directory
        self._code = record.exit_code
        self.spawned: float | None = None
        """When its process was spawned, on this host's monotonic clock; known to whoever booted it."""
        self.console = Console(directory / CONSOLE, lambda: self.alive, record.name,
                               self.write if record.shell else None)

    @property
    def id(self) -> str:
        """Eight hex digits, unique among this user's machines."""
        return self._record.id

    @property
    def store(self) -> Store:
        """The store whose machine it is."""
        return self._store

    @property
    def record(self) -> Record:
        """What is kept on disk about it."""
        return self._record

    @property
    def directory(self) -> Path:
        """Where its console, sockets and record are."""
        return self._directory

    @property
    def name(self) -> str:
        return self._record.name

    @property
    def arm(self) -> str:
        """What it is in a comparison, for example ``linux@qemu``."""
        return self._record.arm

    @property
    def image_name(self) -> str:
        return self._record.image_name

    @property
    def image_sha256(self) -> str:
        return self._record.image_sha256

    @property
    def accelerator(self) -> str:
        """``kvm``, ``tcg``, or ``native`` where nothing is emulated or virtualised."""
        return self._record.accelerator

    @property
    def pid(self) -> int | None:
        """The host process that stands for it: QEMU, podman, crun, the emulator itself."""
        return self._record.process.pid if self._record.process else None

    @property
    def ports(self) -> dict[int, int]:
        """Port inside the machine -> port at :attr:`address`, which is 127.0.0.1 for all but a few runners."""
        return {guest: host for host, guest in self._record.ports}

    @property
    def address(self) -> str:
        """Where its ports are: 127.0.0.1, or an address of its own, at which they are those inside."""
        return self._record.address

    @property
    def channel(self) -> int | None:
        """The port at :attr:`address` at which it can be talked to; None unless it was booted so."""
        return self._record.channel

    @property
    def url(self) -> str | None:
        """Where it answers, or None when it serves no port."""
        return self._record.url

    @property
    def started(self) -> str:
        """When it was started: ISO 8601 in UTC."""
        return self._record.started

    @property
    def booting(self) -> bool:
        """Whether somebody is still waiting for its first mark."""
        return not self._record.ready and self._record.keeper.alive

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        process = self._record.process
        if process is None:
            return self.booting
        alive = process.alive
        code = children.reap(process.pid)
        if not alive and code is not None and self._code is None and not self._own_kernel:
            self._code = code
        return alive

    @property
    def _own_kernel(self) -> bool:
        return self._record.runner in RUNNERS_OF["linux"]

    @property
    def marks(self) -> dict[str, Mark]:
        """The instants of its boot, in order. ``exit`` is added once the console tells it: its host time is
        reckoned from the machine's own clock, since nobody may have watched it arrive."""
        marks = {mark.name: mark for mark in self._record.marks}
        last = next((m for m in reversed(self._record.marks) if m.guest is not None), None)
        end = self._reread().marks.get("exit")
        if end is not None and end.guest is not None and last is not None and last.guest is not None:
            marks["exit"] = Mark("exit", last.at + end.guest - last.guest, end.guest)
        return with_kernel(marks)

    @property
    def exit_code(self) -> int | None:
        """The program's exit status, None while it runs and where nobody could see it; negative for a signal."""
        if self.alive:
            return None
        inner = code_of(self._reread().values)
        return inner if inner is not None else self._code

    @property
    def restarts(self) -> int:
        """How often PID 1 has started the program again, because it ended badly, hung or did not come up."""
        return times_told(self.console.raw(), self._record.nonce, AGAIN)

    @property
    def fell_back(self) -> bool:
        """Whether the image's other release runs, since the first did not come up, now or at an earlier boot."""
        return times_told(self.console.raw(), self._record.nonce, FALLBACK) > 0

    @property
    def data(self) -> Path | None:
        """The disk that its program's home is on."""
        return self._record.options.data if self._record.options else None

    def _reread(self) -> MarkReader:
        reader = MarkReader(self._record.nonce, 0.0)
        reader.feed(self.console.raw(), 0.0)
        return reader

    def memory(self) -> Memory:
        """What it occupies now. Raises MachineError when it does not run or may not be looked at."""
        if not self.alive:
            raise MachineError(f"{self.name} is not running.", "Memory can be measured only while a machine runs.")
        payload, overhead = runner_of(self._record).measure(self._record, self._directory)
        return Memory(payload, overhead, self._record.beam)

    def processes(self) -> list[ProcessId]:
        """Everything on the host that belongs to it: the program's own processes, and those that run it."""
        runner = runner_of(self._record)
        both = (*runner.payload(self._record, self._directory), *runner.runtime(self._record, self._directory))
        return list(dict.fromkeys(both))

    def cgroup(self) -> Usage | None:
        """What its control group counts, for a container that has one of its own."""
        inside = runner_of(self._record).payload(self._record, self._directory)
        return cgroup.usage(inside[0]) if self._record.runner != "process" and inside else None

    def touched(self) -> int | None:
        """Bytes of RAM that its guest has touched, for a virtual machine: unlike the payload, all of what
        it shares with other copies of one snapshot."""
        guest = {"qemu": qemu, "uml": uml, "firecracker": firecracker}.get(self._record.runner)
        return guest.touched(self._record, self._directory) if guest else None

    def write(self, line: str) -> None:
        """Send one line to the shell on its console. Raises MachineError where it has none, or does not run."""
        if not self._record.shell:
            raise MachineError(f"{self.name} has no shell.", "Boot it with --shell.")
        if not self.alive:
            raise MachineError(f"{self.name} is not running.", "Only a machine that runs can be written to.")
        keyboard.send_line(self._directory, line)

    def stop(self, *, grace: float | None = None) -> None:
        """End it with everything that belongs to it, and forget it; its console stays readable in this object.

        The program is asked first, so that it can stop its applications in order, and killed after ``grace`` seconds
        (farewell.GRACE, proc.GRACE); a virtual machine is not asked where that is 0. Where the user stopped the work
        that this is part of, it is killed at once. Does nothing to one that is gone already. Raises MachineError when
        it does not end.
        """
        with shielded():
            self._stop(grace)

    def _stop(self, grace: float | None) -> None:
        process = self._record.process
        if not self._directory.exists():
            return
        if process is None or not process.alive:
            strays.end(self._record)
        if process is not None:
            farewell.ask(self._record, self._directory, grace, lambda: children.reap(process.pid))
            gone = runner_of(self._record).halt(self._store, self._record, self._directory,
                                                lambda: children.reap(process.pid))
            if not gone:
                raise MachineError(f"{self.name} (process {process.pid}) does not end.",
                                   f"Try it by hand: kill -9 {process.pid}")
        if self.arm.startswith("oci"):  # Whoever was killed in between has removed neither.
            for name in (ways.container_name(self.id), ways.trial_name(self.id)):
                ways.remove_cgroup(name)
        self.console.keep()
        code, self._record = self.exit_code, dataclasses.replace(self._record, ready=True)
        self._code = code
        registry.forget(self._directory)

    def __repr__(self) -> str:
        where = f", {self.url}" if self.url else ""
        state = "running" if self.alive else "ended"
        return f"<Machine {self.name} ({self.id}) {self.arm} {self.accelerator}: {state}{where}>"


def machines(store: Store) -> list[Machine]:
    """All machines of this user, oldest first; one whose process is gone has ``alive`` False."""
    return [Machine(store, record, directory) for record, directory in registry.records(store)]


def find_machine(store: Store, name_or_id: str) -> Machine:
    """The machine of this name, or whose id begins so; a running one before one that ended.

    Raises MachineError when there is none, or more than one id begins so.
    """
    known = machines(store)
    named = [m for m in known if m.name == name_or_id]
    found = named or [m for m in known if name_or_id and m.id.startswith(name_or_id)]
    running = [m for m in found if m.alive] or found
    if named and running:
        return running[-1]
    if len(running) == 1:
        return running[0]
    if running:
        raise MachineError(f"{name_or_id!r} stands for more than one machine.",
                           f"Choose one of {', '.join(m.id for m in running)}.")
    names = sorted({m.name for m in known if m.alive})
    raise MachineError(f"There is no machine {name_or_id!r}.",
                       f"Running: {', '.join(names)}." if names else "No machine is running.")


def recover(store: Store) -> None:
    """End machines that nobody waits for, since whoever booted them was killed before they were up."""
    for machine in machines(store):
        if not machine.record.ready and not machine.record.keeper.alive:
            machine.stop(grace=0)
            note(f"Stopped {machine.name}, which was left half-way when the process that booted it was killed.")
    with registry.locked(store):
        for directory in registry.unrecorded(store):
            registry.forget(directory)


def clean(store: Store) -> list[str]:
    """Stop and remove every machine of this user, and what lost ones left behind; one line for each.

    A machine that another process is just booting is stopped too.
    """
    from unibeam_nb.machine import docker, podman

    lines = [f"Removed {path}, which a process that was killed had left."
             for path in (*sweep_places(), *sweep_builds(), *store.sweep())]
    for machine in machines(store):
        was = "Stopped" if machine.alive else "Removed the remains of"
        machine.stop()
        lines.append(f"{was} {machine.name} ({machine.id}, {machine.arm}).")
    with registry.locked(store):
        for directory in registry.directories(store):
            if registry.read(directory) is None:
                registry.forget(directory)
                lines.append(f"Removed the unreadable remains of {directory.name}.")
        if not registry.directories(store):
            ring.end_keeper(registry.root(store))
            lines += (*podman.clean(store), *docker.clean(store))
    return lines
