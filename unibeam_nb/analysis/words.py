"""Each chart in one or two sentences: what a screen reader reads, and a terminal prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unibeam_nb.analysis.frames import (
    accelerators,
    emulated,
    measured_frame,
    memory_frame,
    sizes_frame,
    stages_frame,
    typical,
)
from unibeam_nb.analysis.intervals import median_interval
from unibeam_nb.arms import RESUME
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.model import Image
from unibeam_nb.units import format_bytes, format_seconds

ENDS = {"app": "every application is started", "http": "the first good HTTP answer"}
"""What the mark that ends a boot means."""

STAGE_NAMES = {
    "vmm": "until the VMM is ready", "kernel": "until the kernel runs", "init": "until PID 1 runs",
    "beam": "until the BEAM runs", "app": "until applications are up", "resume": "until the copy runs on",
    "http": "until it answers HTTP"}
"""What each stage is called; a stage is named after the mark that ends it."""


def describe_boot(exp: Experiment) -> str:
    """Median boot times with intervals, arm by arm."""
    frame = measured_frame(exp)
    told = []
    for arm in exp.arms:
        values = frame[frame["arm"] == arm]["seconds"].tolist()
        if not values:
            told.append(f"{arm} never succeeded")
            continue
        found = median_interval(values)
        told.append(f"{arm} {format_seconds(found.value)} ({found.kind} {format_seconds(found.low)} to "
                    f"{format_seconds(found.high)}, n={found.n})")
    return f"Median boot time of {exp.plan.source}, from spawn to {ENDS[exp.until]}: {_list(told)}.{_emulation(exp)}"


def describe_stages(exp: Experiment) -> str:
    """The stages of the boot at or next below the median, arm by arm."""
    frame, stages = measured_frame(exp), stages_frame(exp)
    told = []
    for arm in exp.arms:
        order = typical(frame, "seconds", arm)
        if order is None:
            continue
        own = stages[(stages["arm"] == arm) & (stages["order"] == order)]
        parts = ", ".join(f"{format_seconds(seconds)} {STAGE_NAMES[stage]}"
                          for stage, seconds in zip(own["stage"], own["seconds"], strict=True))
        told.append(f"{arm} spends {parts}, {format_seconds(own['seconds'].sum())} in all")
    return f"Stages of a median boot of {exp.plan.source}: {'; '.join(told) or 'no boot succeeded'}.{_emulation(exp)}"


def describe_size(source: Experiment | Mapping[str, Image]) -> str:
    """Shipped and unpacked sizes, image by image."""
    frame = sizes_frame(source)
    told = []
    for image, rows in frame.groupby("image", sort=False):
        shipped = rows[rows["measure"] == "shipped"]["bytes"].sum()
        unpacked = rows[rows["measure"] == "unpacked"]["bytes"].sum()
        told.append(f"{image} {format_bytes(unpacked)} unpacked and {format_bytes(shipped)} shipped")
    return f"Image sizes: {_list(told)}."


def describe_memory(exp: Experiment) -> str:
    """Memory of the boot at or next below the median total, arm by arm."""
    frame, kinds = measured_frame(exp), memory_frame(exp)
    told = []
    for arm in exp.arms:
        order = typical(frame, "memory_bytes", arm)
        if order is None:
            continue
        own = kinds[(kinds["arm"] == arm) & (kinds["order"] == order)].set_index("kind")["bytes"]
        told.append(f"{arm} {format_bytes(int(own['payload'] + own['overhead']))}, of which "
                    f"{format_bytes(int(own['overhead']))} are overhead")
    return f"Memory of {exp.plan.source} after its boot: {_list(told) if told else 'no boot succeeded'}."


def footer_lines(exp: Experiment) -> list[str]:
    """What must stand below every chart: n, what was left out, accelerators, host, date."""
    counts = {arm: sum(s.arm == arm for s in exp.measured) for arm in exp.arms}
    n = f"n = {min(counts.values())}" if len(set(counts.values())) == 1 else \
        f"n = {min(counts.values())} to {max(counts.values())}"
    warm = f", {exp.plan.warmup} warm-up block{'s' if exp.plan.warmup > 1 else ''} left out" if exp.plan.warmup else ""
    failed = len([s for s in exp.failed if not s.warmup])
    lost = f", {failed} failed boot{'s' if failed > 1 else ''}" if failed else ""
    host = exp.header["host"]
    where = f"{host['cpu']}, {host['cores']} cores" + (", itself a virtual machine" if host["virtualised"] else "")
    return [f"{n} boots per arm{warm}{lost}", f"{accelerator_line(exp)}; {where}",
            *filter(None, [resumed_line(exp)]), f"{date_of(exp)}; experiment {exp.name}"]


def accelerator_line(exp: Experiment) -> str:
    """Which accelerator ran what: ``linux@qemu under kvm, the others native``."""
    found = accelerators(exp.samples)
    under: dict[str, list[str]] = {}
    for arm in exp.arms:
        for name in found.get(arm, ()):
            under.setdefault(name, []).append(arm)
    virtual = [f"{_list(arms)} under {name}" for name, arms in sorted(under.items()) if name != "native"]
    native = ["the others native" if virtual else "all arms native"] if under.get("native") else []
    return "; ".join(virtual + native) or "no boot succeeded"


def emulation_line(exp: Experiment) -> str:
    """The loud sentence about software emulation; empty where no arm was emulated."""
    slow = emulated(exp)
    return f"{_list(slow)} ran under tcg: software emulation, not what production would show" if slow else ""


def resumed_line(exp: Experiment) -> str:
    """Which arms were not booted at all; empty where all were."""
    copies = [str(arm) for arm in exp.plan.arms if RESUME in arm.extras]
    return f"{_list(copies)} was resumed from a snapshot, not booted" if copies else ""


def date_of(exp: Experiment) -> str:
    return str(exp.header["date"])[:10]


def _emulation(exp: Experiment) -> str:
    return "".join(f" {line}." for line in (resumed_line(exp), emulation_line(exp)) if line)


def _list(items: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1]))) if items else "none"
