"""One slot becomes one sample: what every kind of measurement shares, and the table of the kinds.

Between two samples nothing is kept: every sample is a cold process of its own, gone when its function returns.
A further kind is a function ``(Setting, Slot, started) -> Sample`` in ``measures.py``; one that only looks at a
machine which is up is :func:`boot_sample` with a ``look`` of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from unibeam_nb.bench.hoststate import read_counters
from unibeam_nb.bench.plan import DEFAULT, Plan
from unibeam_nb.bench.probes.density import Copied
from unibeam_nb.bench.probes.footprint import Occupied, footprint
from unibeam_nb.bench.probes.steady import Served
from unibeam_nb.bench.schedule import Slot
from unibeam_nb.errors import Cancelled, ToolMissing, UnibeamError, UsageError
from unibeam_nb.machine import BootOptions
from unibeam_nb.machine import boot as boot_machine
from unibeam_nb.model import Image, Mark, Memory, Sample
from unibeam_nb.progress import checkpoint, note
from unibeam_nb.store import Store

SETTLED = 0.01
"""Memory has settled when two readings differ by less than this, relative to the later one."""

READ_EVERY = 0.25
READ_AT_MOST = 3.0
"""Seconds between two readings of the memory, and after which the last one counts as it is."""

FLAGS_VARIABLE = "ERL_ZFLAGS"
"""Where the factor ``flags`` goes: erl(1) adds it at the end of the command line, where it wins over the release's own
flags."""


class Running(Copied, Occupied, Served, Protocol):
    """What a sample needs of a machine: all that the probes ask, and when it got where."""

    @property
    def accelerator(self) -> str: ...
    @property
    def marks(self) -> Mapping[str, Mark]: ...


class Boot(Protocol):
    """What starts a machine: :func:`unibeam_nb.machine.boot`, or a test's replay."""

    def __call__(self, store: Store, image: Image, runner: str, options: BootOptions, *,
                 name: str | None = None) -> Running: ...


@dataclass(frozen=True)
class Setting:
    """What all samples of an experiment share. ``images`` has one for every case, by its name.

    ``done`` are the samples so far; ``keep`` writes down at once what a measurement in several steps has found
    meanwhile, so that it can go on from there.
    """

    plan: Plan
    images: Mapping[str, Image]
    host_id: str
    store: Store
    boot: Boot = boot_machine
    done: Sequence[Sample] = ()
    keep: Callable[[Sample], None] = lambda sample: None

    def image(self, slot: Slot) -> Image:
        return self.images[slot.case.name]

    def options(self, slot: Slot) -> BootOptions:
        """How the slot's machine is booted: the plan's settings under the case's factors."""
        plan, case = self.plan, slot.case
        flags = case.value("flags", DEFAULT)
        return BootOptions(mem_mb=int(case.value("mem_mb", str(plan.mem_mb))),
                           vcpus=int(case.value("vcpus", str(plan.vcpus))), accelerator=plan.accelerator,
                           probe=plan.probe, until=plan.until, deadline=plan.deadline,
                           env=((FLAGS_VARIABLE, flags),) if flags != DEFAULT else (), outgoing=plan.outgoing)

    def start(self, slot: Slot, options: BootOptions | None = None, suffix: str = "") -> Running:
        """The slot's machine, booted, with other ``options`` where they are given."""
        return self.boot(self.store, self.image(slot), slot.arm.runner, options or self.options(slot),
                         name=f"{MEASURED}{self.plan.source}{suffix}")

    def about(self, slot: Slot, started: str) -> dict[str, Any]:
        """The fields of a sample that are known before it is taken."""
        image, options = self.image(slot), self.options(slot)
        virtual = slot.arm.runner in VIRTUAL
        return {
            "arm": slot.case.label, "block": slot.block, "order": slot.order, "warmup": slot.warmup, "kind": slot.kind,
            "factors": dict(slot.case.factors), "started": started, "shipped_bytes": image.shipped_bytes,
            "unpacked_bytes": image.unpacked_bytes, "parts": image.parts, "image_sha256": image.sha256,
            "release_sha256": image.release_sha256, "host": self.host_id,
            "mem_mb": options.mem_mb if virtual else None, "vcpus": options.vcpus if virtual else _cores(),
            "load1": round(os.getloadavg()[0], 2)}


VIRTUAL = ("qemu", "uml", "xen", "firecracker")
"""The runners whose machines have a memory and processors of their own."""

Measure = Callable[[Setting, Slot, str], Sample]
"""Takes one sample of a slot; the third argument is when, ISO in UTC. A failure that concerns the machine is a sample
that says so; Cancelled, ToolMissing and UsageError are raised."""

Look = Callable[[Running], dict[str, float]]
"""Measures something more of a machine that is up: names with their unit (``idle_cpu_ratio``) to numbers."""


def nothing_more(_machine: Running) -> dict[str, float]:
    """The look that sees nothing."""
    return {}


def boot_sample(setting: Setting, slot: Slot, started: str, look: Look = nothing_more) -> Sample:
    """One boot, from nothing to a sample; the machine is gone when this returns or raises.

    Besides what ``look`` measures and what the machine occupies (``footprint.py``), ``values`` say what the measuring
    itself cost: ``stop_s`` for ending the machine, ``settle_s`` for waiting until its memory had settled and for
    ``look``, ``harness_s`` for everything else beyond the boot, and ``mark_lag_s`` how long after the program sent its
    last mark it was recorded, where both read the same clock; ``steal_ratio`` and ``throttled_count`` what the host
    kept from the boot (``hoststate.py``).
    """
    counted, began = read_counters(), time.monotonic()
    about = setting.about(slot, started)
    try:
        machine = setting.start(slot)
    except (Cancelled, ToolMissing, UsageError):
        raise
    except UnibeamError as error:
        return Sample(ok=False, error=told_by(error), **about)
    about["accelerator"] = machine.accelerator
    up = time.monotonic()
    marks: dict[str, float] = {"spawn": 0.0}
    values: dict[str, float] = {}
    memory: Memory | None = None
    told = ""
    seen = up
    try:
        marks |= {mark: value.at for mark, value in machine.marks.items()}
        values |= _mark_lag(machine) | read_counters().since(counted)
        seen = time.monotonic()
        memory = settled_memory(machine.memory)
        values |= footprint(machine, memory) | look(machine)
    except (Cancelled, ToolMissing, UsageError):
        raise
    except UnibeamError as error:
        told = told_by(error)
    finally:
        settled = time.monotonic()
        stop(machine)
    stopped = time.monotonic()
    until = setting.plan.until
    if not told and until not in marks:
        told = f"The machine never reached the mark {until}."
    if until in marks:
        values |= {"harness_s": (up - began - marks[until]) + (seen - up), "settle_s": settled - seen,
                   "stop_s": stopped - settled}
    return Sample(ok=not told, marks=marks, memory=memory, error=told,
                  values={key: round(float(value), 9) for key, value in values.items()}, **about)


MEASURED = "bench-"
"""How the name of a machine begins that is booted to be measured."""

def _mark_lag(machine: Running) -> dict[str, float]:
    """Seconds from the program's last mark to its record. A program on this host's own kernel reads the clock that
    we read (CLOCK_MONOTONIC); a virtual machine has one of its own."""
    spawned: float | None = getattr(machine, "spawned", None)
    sent = [mark for mark in machine.marks.values() if mark.guest is not None and mark.name in ("beam", "app")]
    if spawned is None or machine.accelerator != "native" or not sent:
        return {}
    last = max(sent, key=lambda mark: mark.at)
    assert last.guest is not None
    lag = spawned + last.at - last.guest
    # A container in a time namespace would tell another clock: what cannot be a lag is not called one.
    return {"mark_lag_s": lag} if 0 <= lag < 1 else {}


def stop(machine: Running) -> None:
    """Stop a machine; one that does not end is told and not counted against its boot."""
    try:
        machine.stop(grace=0)  # What a virtual machine would have to say to the end is no part of a sample.
    except UnibeamError as error:
        note(str(error))


def settled_memory(read: Callable[[], Memory], sleep: Callable[[float], None] = time.sleep) -> Memory:
    """Read the memory until two readings in a row, a quarter of a second apart, differ by less than 1 %,
    for three seconds at most; the last reading counts. A program that has just become ready still frees
    what starting it took."""
    last = read()
    for _ in range(int(READ_AT_MOST / READ_EVERY)):
        checkpoint()
        sleep(READ_EVERY)
        this = read()
        if abs(this.total - last.total) <= SETTLED * this.total:
            return this
        last = this
    return last


def told_by(error: UnibeamError) -> str:
    return "\n".join((error.message, *error.details))


def _cores() -> int:
    return len(os.sched_getaffinity(0))
