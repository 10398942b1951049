"""Runner ``process``: the release straight on the host, the floor that every other arm is compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unibeam_nb.machine import memory, proc
from unibeam_nb.machine.options import Seat, Start
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.qemu_arguments import CONSOLE
from unibeam_nb.machine.registry import STATE, Record
from unibeam_nb.store import Store


def prepare(seat: Seat) -> Start:
    """The command line of this machine: the release where it is, writing into the machine's directory."""
    root, state = seat.image.file("root").resolve(), seat.directory / STATE
    state.mkdir(mode=0o700)
    launch = seat.image.launch
    env = launch.env(str(root), str(state)) | seat.given
    return Start(launch.argv(str(root), str(state)), CONSOLE, tuple(env.items()), clean_env=True, cwd=state)


def started(seat: Seat, alive: Callable[[], bool]) -> float | None:
    """Nothing lies between the process and its program."""
    return None


def payload(record: Record, directory: Path) -> list[ProcessId]:
    """The emulator, its port programs, and what they left in the background (``epmd``): the latter is no
    child of ours any more, but was started with this machine's home."""
    if record.process is None:
        return []
    family = [record.process, *proc.descendants(record.process)]
    strays = proc.with_variable("HOME", str(directory / STATE))
    return [process for process in dict.fromkeys((*family, *strays)) if process.alive]


def runtime(record: Record, directory: Path) -> list[ProcessId]:
    """Nothing runs the program but the host."""
    return []


def measure(record: Record, directory: Path) -> tuple[int, int]:
    """Bytes of all the program's processes, and none besides."""
    return memory.pss(payload(record, directory)), 0


def halt(store: Store, record: Record, directory: Path, reap: Callable[[], object]) -> bool:
    """End the whole process tree. Returns whether it is gone."""
    first = [record.process] if record.process else []
    return proc.end(first, lambda: payload(record, directory), reap=reap)
