"""How a sample of each kind is taken (:data:`~unibeam_nb.model.KINDS`), each with the probe that it is named after."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from unibeam_nb.bench.probes import density, minimum
from unibeam_nb.bench.probes.idle import idle
from unibeam_nb.bench.probes.minimum import Try
from unibeam_nb.bench.probes.steady import steady
from unibeam_nb.bench.probes.wrk import Load
from unibeam_nb.bench.sampling import VIRTUAL, Measure, Running, Setting, boot_sample, settled_memory, stop, told_by
from unibeam_nb.bench.schedule import Slot
from unibeam_nb.errors import BenchError, Cancelled, ToolMissing, UnibeamError, UsageError
from unibeam_nb.model import TRY, Sample
from unibeam_nb.progress import progress, step


def take(setting: Setting, slot: Slot, started: str) -> Sample:
    """The slot's sample."""
    return MEASURES[slot.kind](setting, slot, started)


def prepare(setting: Setting, wanted: Sequence[Slot]) -> None:
    """What is to be known before the first sample. Raises BenchError where more copies are wanted of an arm than this
    host holds, with the number that it does; one copy is booted to know."""
    first = {slot.case.name: slot for slot in wanted if slot.kind == "density"}
    for slot in first.values():
        with step(f"Seeing how many copies of {slot.case} fit"):
            try:
                machine = setting.start(slot)
            except (Cancelled, ToolMissing, UsageError):
                raise
            except UnibeamError:
                continue  # Its samples will tell why it does not boot.
            try:
                need = density.need_of(machine)
            finally:
                stop(machine)
        density.refuse_excess(str(slot.case), max(setting.plan.copies), need, density.read_host().available)


def steady_sample(setting: Setting, slot: Slot, started: str) -> Sample:
    """One boot, then nothing for a while, then a load."""
    load = Load(setting.plan.load_s, setting.plan.connections)
    return boot_sample(setting, slot, started, lambda machine: idle(machine) | steady(machine, load))


def density_sample(setting: Setting, slot: Slot, started: str) -> Sample:
    """``slot.copies`` machines at once; none is left when this returns or raises."""
    about = setting.about(slot, started)

    def start(number: int) -> Running:
        machine = setting.start(slot, suffix=f"-{number}")
        about["accelerator"] = machine.accelerator
        return machine

    try:
        with step(f"{slot.copies} x {slot.case}"):
            memory, values = density.density(start, slot.copies, setting.plan.probe, settled_memory)
    except (Cancelled, ToolMissing, UsageError):
        raise
    except UnibeamError as error:
        return Sample(ok=False, error=told_by(error), values={"copies_count": float(slot.copies)}, **about)
    return Sample(ok=True, memory=memory, values=values, **about)


def minimum_sample(setting: Setting, slot: Slot, started: str) -> Sample:
    """The least memory in which the slot's arm reaches its mark; every boot on the way is kept as a sample of its own.

    Raises BenchError where the memory of containers cannot be limited on this host.
    """
    about = setting.about(slot, started)
    most = setting.options(slot).mem_mb
    kept = [s for s in setting.done if s.kind == TRY and (s.case, s.block) == (slot.case.name, slot.block)]
    with step(f"Seeking the least memory of {slot.case}"):
        while (size := minimum.next_size([_try(s) for s in kept], most)) is not None:
            progress(None, f"try {len(kept) + 1}: {size} MB")
            kept.append(_attempt(setting, slot, size, kept, about))
            setting.keep(kept[-1])
    answer = minimum.least([_try(s) for s in kept], most)
    values: dict[str, float] = {"tries_count": float(len(kept))}
    if answer is None:
        return Sample(ok=False, error=kept[-1].error, values=values, **about)
    best = [s for s in kept if _try(s) == Try(answer, True)][-1]
    about |= {"mem_mb": best.mem_mb, "accelerator": best.accelerator}
    values["least_bytes"] = float(answer << 20)
    return Sample(ok=True, marks=best.marks, memory=best.memory, values=values, **about)


def _try(sample: Sample) -> Try:
    return Try(int(sample.values["limit_bytes"]) >> 20, sample.values["reached_count"] > 0)


def _attempt(setting: Setting, slot: Slot, size: int, before: Sequence[Sample], about: Mapping[str, Any]) -> Sample:
    """One boot in ``size`` MiB, as a sample of its own."""
    plan, options = setting.plan, setting.options(slot)
    plenty = next((s.marks[plan.until] for s in before if _try(s) == Try(options.mem_mb, True)), None)
    patience = plan.deadline if plenty is None else minimum.deadline(plenty, plan.deadline)
    about = {**about, "kind": TRY, "mem_mb": size if slot.arm.runner in VIRTUAL else None, "ok": True,
             "accelerator": next((s.accelerator for s in before if s.accelerator), "")}
    values = {"limit_bytes": float(size << 20)}
    try:
        machine = setting.start(slot, dataclasses.replace(options, mem_mb=size, deadline=patience))
    except (Cancelled, ToolMissing):
        raise
    except UnibeamError as error:
        if isinstance(error, UsageError) and size == options.mem_mb:
            raise
        return Sample(error=told_by(error), values=values | {"reached_count": 0.0}, **about)
    try:
        if slot.arm.runner not in VIRTUAL and machine.cgroup() is None:
            raise BenchError(f"The memory of {slot.case} cannot be limited: control groups do not work on this host.",
                             "Seek the minimum of a machine, or run this as root.")
        marks = {"spawn": 0.0} | {name: mark.at for name, mark in machine.marks.items()}
        about["accelerator"] = machine.accelerator
        return Sample(marks=marks, memory=machine.memory(), values=values | {"reached_count": 1.0}, **about)
    finally:
        stop(machine)


MEASURES: dict[str, Measure] = {"boot": boot_sample, "steady": steady_sample, "density": density_sample,
                                "minimum": minimum_sample}
"""How each kind of sample is taken."""
