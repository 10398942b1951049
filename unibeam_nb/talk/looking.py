"""Looking at the processes in a running machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from unibeam_nb.errors import UsageError
from unibeam_nb.machine import Machine
from unibeam_nb.store import Store
from unibeam_nb.talk import inside
from unibeam_nb.talk.answers import number, sensible, text
from unibeam_nb.talk.channel import PATIENCE, channel_to

ORDERS = ("memory", "reductions", "queue")
"""What the table can be ordered by: bytes, reductions in the interval, messages that wait."""


_NUMBERS = ("interval_us", "uptime_ms", "processes", "ports", "atoms", "schedulers", "run_queue")


@dataclass(frozen=True)
class Process:
    """One Erlang process. ``memory`` is in bytes, ``reductions`` since it began, ``used`` reductions in the interval,
    ``queue`` messages that wait; ``at`` is the function it is in."""

    pid: str
    name: str
    at: str
    memory: int
    reductions: int
    used: int
    queue: int


@dataclass(frozen=True)
class Top:
    """The processes that stand out, and the emulator as a whole.

    ``interval`` is in seconds; ``memory`` maps a kind (``total``, ``processes``, ``binary``, ...) to bytes, and is
    empty where the emulator keeps no account; ``uptime`` is in seconds. ``again`` looks once more, in the order that it
    is given.
    """

    machine: str
    by: str
    interval: float
    processes: tuple[Process, ...]
    count: int
    ports: int
    atoms: int
    schedulers: int
    run_queue: int
    uptime: float
    memory: dict[str, int]
    again: Callable[[str], Top] | None = field(default=None, repr=False, compare=False)

    def to_frame(self) -> Any:
        """One row a process, as a pandas frame."""
        import pandas as pd

        return pd.DataFrame([vars(process) for process in self.processes], columns=list(Process.__dataclass_fields__))


def top(store: Store, machine: Machine, *, by: str = "memory", count: int = 15, seconds: float = 0.5) -> Top:
    """The ``count`` processes with most of ``by``, watched for ``seconds``. Raises UsageError, MachineError."""
    if by not in ORDERS:
        raise UsageError(f"Processes cannot be ordered by {by!r}.", f"Choose one of {', '.join(ORDERS)}.")
    if not 1 <= count <= 1000 or not 0 <= seconds <= 60:
        raise UsageError("That is not a look at a machine.", "Ask for 1 to 1000 processes, over at most 60 seconds.")
    with channel_to(machine) as channel:
        inside.send(store, channel)
        answer = channel.call(inside.INSIDE, "top", [by.encode(), count, round(seconds * 1000)], seconds + PATIENCE)
    return replace(told(machine.name, by, answer),
                   again=lambda order: top(store, machine, by=order, count=count, seconds=seconds))


def told(name: str, by: str, answer: Any) -> Top:
    """What the machine ``name`` answered, read. Raises MachineError where it makes no sense."""
    with sensible(name):
        facts, rows = answer
        known = {text(key): value for key, value in facts}
        processes = tuple(Process(text(pid), text(label), text(at), *map(number, numbers))
                          for pid, label, at, *numbers in rows)
        memory = {text(kind): number(size) for kind, size in known["memory"]}
        interval, uptime, count, ports, atoms, schedulers, queue = (number(known[key]) for key in _NUMBERS)
        return Top(name, by, interval / 1e6, processes, count, ports, atoms, schedulers, queue, uptime / 1e3, memory)
