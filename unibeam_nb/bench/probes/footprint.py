"""What a machine that has just become ready occupies, besides payload and overhead (:class:`unibeam_nb.model.Memory`).

    cgroup_current_bytes, cgroup_peak_bytes   a container's control group, now and at most since it was made
    guest_touched_bytes                       RAM that a virtual machine's guest has touched
    beam_total_bytes                          erlang:memory(total) when the program was ready
"""

from __future__ import annotations

from typing import Protocol

from unibeam_nb.machine.cgroup import Usage
from unibeam_nb.model import Memory


class Occupied(Protocol):
    """What is asked of a machine."""

    def memory(self) -> Memory: ...
    def cgroup(self) -> Usage | None: ...
    def touched(self) -> int | None: ...


def footprint(machine: Occupied, memory: Memory | None = None) -> dict[str, float]:
    """The figures that this machine has; what its runner knows nothing of is left out. ``memory`` is a reading that
    was taken already."""
    memory = machine.memory() if memory is None else memory
    group = machine.cgroup()
    found = {"cgroup_current_bytes": None if group is None else group.current,
             "cgroup_peak_bytes": None if group is None else group.peak,
             "guest_touched_bytes": machine.touched(), "beam_total_bytes": memory.beam}
    return {name: float(value) for name, value in found.items() if value is not None}
