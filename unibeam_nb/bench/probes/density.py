"""Several copies of one machine at once: what they occupy together, and each of them.

Memory is PSS, in which a page that n processes map counts 1/n for each: summed over all copies, what they share (a
snapshot's RAM, an emulator's code) counts once. What other programs of the host map as well (the C library) counts in
part. PSS knows nothing of the kernel's own memory for them: ``host_kernel_bytes`` is by how much that grew, and
``host_mapped_bytes`` by how much the mapped pages of the whole host grew, which is the sum's counterpart in
``/proc/meminfo`` (proc_meminfo(5)) and agrees with it where nothing else happens on the host.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from unibeam_nb.errors import BenchError, UnibeamError
from unibeam_nb.machine import probe as asking
from unibeam_nb.machine.memory import unshareable
from unibeam_nb.machine.proc import PROC, ProcessId
from unibeam_nb.model import Memory, Probe
from unibeam_nb.progress import checkpoint, note, progress
from unibeam_nb.units import format_bytes

SPARE = 256 << 20
"""Bytes of the host's memory that copies never take."""

HANDS = 8
"""How many machines are ended at once: an emulator takes a second to shut down in order."""

PATIENCE = 10.0
"""Seconds in which a copy among many must answer."""


class Copied(Protocol):
    """What is asked of a machine."""

    @property
    def name(self) -> str: ...
    @property
    def ports(self) -> dict[int, int]: ...
    @property
    def address(self) -> str: ...
    @property
    def alive(self) -> bool: ...
    def memory(self) -> Memory: ...
    def processes(self) -> Sequence[ProcessId]: ...
    def stop(self, *, grace: float | None = None) -> Any: ...


@dataclass(frozen=True)
class Host:
    """Bytes of the whole host: free or freed at once (``available``), pages that programs map, and the kernel's own
    (page tables, stacks, slabs that cannot be reclaimed)."""

    available: int
    mapped: int
    kernel: int


def read_host(meminfo: str | None = None) -> Host:
    """The host's memory now, from ``/proc/meminfo``."""
    text = (PROC / "meminfo").read_text() if meminfo is None else meminfo
    kib = {line.partition(":")[0]: int(line.split()[1]) for line in text.splitlines() if ":" in line}

    def total(*names: str) -> int:
        return sum(kib.get(name, 0) for name in names) * 1024

    return Host(total("MemAvailable"), total("AnonPages", "Mapped"), total("PageTables", "KernelStack", "SUnreclaim"))


@dataclass(frozen=True)
class Need:
    """Bytes that one copy alone occupies (``first``), and that each further one takes besides (``further``)."""

    first: int
    further: int

    def of(self, copies: int) -> int:
        return self.first + (copies - 1) * self.further

    def fitting(self, available: int) -> int:
        """How many copies leave the host its spare memory."""
        left = available - SPARE - self.first
        return 0 if left < 0 else 1 + left // max(self.further, 1)


def need_of(machine: Copied) -> Need:
    """What a machine that runs alone says about many. A further copy takes the pages that the first one wrote to; the
    others belong to files, and are shared."""
    return Need(machine.memory().total, unshareable(machine.processes()))


def refuse_excess(arm: str, copies: int, need: Need, available: int) -> None:
    """Raise BenchError, with the number that would fit, where so many copies are too many for this host."""
    fits = need.fitting(available)
    if copies > fits:
        raise BenchError(
            f"{copies} copies of {arm} need about {format_bytes(need.of(copies))}, and this host has "
            f"{format_bytes(max(available - SPARE, 0))} for them.",
            f"About {fits} would fit: --density 1,{fits}." if fits > 1 else "Not even two would fit.")


@contextmanager
def together(start: Callable[[int], Copied], copies: int, *,
             available: Callable[[], int] = lambda: read_host().available) -> Iterator[list[Copied]]:
    """So many machines at once, each up before the next is started by ``start(number)``. All are ended when the block
    is left, also by Ctrl-C, and also while they are being started.

    Raises BenchError when the host runs short of memory.
    """
    machines: list[Copied] = []
    try:
        for number in range(copies):
            progress(number / copies, f"copy {number + 1} of {copies}")
            if (left := available()) < SPARE:
                raise BenchError(f"{number} copies leave this host {format_bytes(left)} of memory.",
                                 "Measure fewer of them.")
            machines.append(start(number))
        yield machines
    finally:
        end(machines)


def end(machines: Sequence[Copied]) -> None:
    """Stop machines, several at a time. A Ctrl-C meanwhile waits until the last one is gone."""
    interrupted: KeyboardInterrupt | None = None
    with ThreadPoolExecutor(HANDS) as hands:
        for stopping in [hands.submit(_stop, machine) for machine in machines]:
            while True:
                try:
                    told = stopping.result()
                    break
                except KeyboardInterrupt as error:
                    interrupted = error
            if told:
                note(told)
    if interrupted is not None:
        raise interrupted


def _stop(machine: Copied) -> str:
    """Stop one; what went wrong, or nothing."""
    try:
        machine.stop(grace=0)
    except UnibeamError as error:
        return str(error)
    return ""


def all_answer(machines: Sequence[Copied], probe: Probe | None) -> None:
    """Ask every machine once, all being up. Raises BenchError that names the first which gives no good answer."""
    for machine in machines:
        checkpoint()
        good = machine.alive if probe is None else \
            asking.ask(probe, machine.ports[probe.port], PATIENCE, machine.address) is not None
        if not good:
            raise BenchError(f"{machine.name}, one of {len(machines)} copies, does not answer any more.",
                             "Fewer copies may do: the host is at its limits.")


def occupied(machines: Sequence[Copied]) -> Memory:
    """What the machines occupy together."""
    each = [machine.memory() for machine in machines]
    return Memory(sum(memory.payload for memory in each), sum(memory.overhead for memory in each))


def figures(memory: Memory, copies: int, before: Host, after: Host, seconds: float) -> dict[str, float]:
    """The values of a sample: ``seconds`` is from the first spawn until all were up."""
    found = {"copies_count": copies, "total_bytes": memory.total, "each_bytes": memory.total / copies,
             "overhead_bytes": memory.overhead, "host_mapped_bytes": after.mapped - before.mapped,
             "host_kernel_bytes": after.kernel - before.kernel, "all_up_s": seconds}
    return {name: float(value) for name, value in found.items()}


def density(start: Callable[[int], Copied], copies: int, probe: Probe | None,
            settled: Callable[[Callable[[], Memory]], Memory]) -> tuple[Memory, dict[str, float]]:
    """Start so many copies, have all of them answer, and read what they occupy; none is left when this returns or
    raises. ``settled`` reads memory until it holds still."""
    before, began = read_host(), time.monotonic()
    with together(start, copies) as machines:
        seconds = time.monotonic() - began
        all_answer(machines, probe)
        memory = settled(lambda: occupied(machines))
        return memory, figures(memory, copies, before, read_host(), seconds)
