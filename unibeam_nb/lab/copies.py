"""Many machines like one that runs: as many as the host has memory for, or none but that one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibeam_nb.bench.probes.density import SPARE, end, need_of
from unibeam_nb.errors import MachineError, UsageError
from unibeam_nb.progress import progress
from unibeam_nb.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibeam_nb.machine import Machine


def booted(name: str, copies: int, start: Callable[[], Machine], available: Callable[[], int]) -> list[Machine]:
    """So many machines, each made by ``start`` and up before the next one is begun; ``available`` are the bytes that
    this host has left.

    The first one tells what a further one takes. Raises MachineError, with the number that would fit, where the host
    has no room for the others; then, and where one of them fails, none is left.
    """
    if copies < 1:
        raise UsageError(f"{copies} copies make no sense.", "Ask for one or more: --copies 8.")
    machines = [start()]
    try:
        need = need_of(machines[0])
        left = available() - SPARE
        if (copies - 1) * need.further > left:
            fits = 1 + max(left, 0) // need.further
            raise MachineError(
                f"{copies} copies of {name} need about {format_bytes(need.of(copies))}, and this host has "
                f"{format_bytes(need.first + max(left, 0))} for them.",
                f"About {fits} would fit: --copies {fits}.")
        for number in range(1, copies):
            progress(number / copies, f"copy {number + 1} of {copies}")
            machines.append(start())
        return machines
    except BaseException:
        end(machines)
        raise
