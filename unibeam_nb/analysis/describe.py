"""Each chart in one or two sentences: what a screen reader reads, and a terminal prints."""

from __future__ import annotations

from collections.abc import Mapping

from unibeam_nb.analysis.frames import (
    copies_frame,
    image_parts,
    measured_frame,
    memory_frame,
    sizes_frame,
    stages_frame,
    typical,
)
from unibeam_nb.analysis.intervals import median_interval
from unibeam_nb.analysis.measures import format_latency, format_rate
from unibeam_nb.analysis.rows import rows_of
from unibeam_nb.analysis.stats import comparisons
from unibeam_nb.analysis.words import ENDS, STAGE_NAMES, emulation_note, listed
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.model import Image
from unibeam_nb.units import format_bytes, format_seconds


def describe_boot(exp: Experiment) -> str:
    """Median boot times with intervals, arm by arm."""
    frame = measured_frame(exp)
    told = []
    for row in rows_of(exp):
        values = frame[frame["row"] == row]["seconds"].tolist()
        if not values:
            told.append(f"{row} never succeeded")
            continue
        found = median_interval(values)
        told.append(f"{row} {format_seconds(found.value)} ({found.kind} {format_seconds(found.low)} to "
                    f"{format_seconds(found.high)}, n={found.n})")
    return (f"Median boot time of {exp.plan.source}, from spawn to {ENDS[exp.until]}: {listed(told)}."
            f"{emulation_note(exp)}")


def describe_stages(exp: Experiment) -> str:
    """The stages of the boot at or next below the median, arm by arm."""
    frame, stages = measured_frame(exp), stages_frame(exp)
    told = []
    for row in rows_of(exp):
        order = typical(frame, "seconds", row)
        if order is None:
            continue
        own = stages[(stages["row"] == row) & (stages["order"] == order)]
        parts = ", ".join(f"{format_seconds(seconds)} {STAGE_NAMES[stage]}"
                          for stage, seconds in zip(own["stage"], own["seconds"], strict=True))
        told.append(f"{row} spends {parts}, {format_seconds(own['seconds'].sum())} in all")
    return (f"Stages of a median boot of {exp.plan.source}: {'; '.join(told) or 'no boot succeeded'}."
            f"{emulation_note(exp)}")


def describe_size(source: Experiment | Mapping[str, Image]) -> str:
    """Shipped and unpacked sizes, image by image."""
    frame = sizes_frame(source)
    told = []
    for image, rows in frame.groupby("image", sort=False):
        shipped = rows[rows["measure"] == "shipped"]["bytes"].sum()
        unpacked = rows[rows["measure"] == "unpacked"]["bytes"].sum()
        told.append(f"{image} {format_bytes(unpacked)} unpacked and {format_bytes(shipped)} shipped")
    return f"Image sizes: {listed(told)}."


def describe_memory(exp: Experiment) -> str:
    """Memory of the boot at or next below the median total, arm by arm."""
    frame, kinds = measured_frame(exp), memory_frame(exp)
    told = []
    for row in rows_of(exp):
        order = typical(frame, "memory_bytes", row)
        if order is None:
            continue
        own = kinds[(kinds["row"] == row) & (kinds["order"] == order)].set_index("kind")["bytes"]
        told.append(f"{row} {format_bytes(int(own['payload'] + own['overhead']))}, of which "
                    f"{format_bytes(int(own['overhead']))} are overhead")
    return f"Memory of {exp.plan.source} after its boot: {listed(told) if told else 'no boot succeeded'}."


def describe_ecdf(exp: Experiment) -> str:
    """When half and nine tenths of the boots were ready, row by row."""
    frame = measured_frame(exp)
    told = []
    for row in rows_of(exp):
        own = frame[frame["row"] == row]["seconds"]
        if own.empty:
            told.append(f"{row} never succeeded")
            continue
        half, most, whole = (format_seconds(float(own.quantile(share, "higher"))) for share in (0.5, 0.9, 1.0))
        told.append(f"half of the boots of {row} by {half}, nine tenths by {most}, all by {whole}")
    return f"Boots of {exp.plan.source} that were ready by then: {'; '.join(told)}.{emulation_note(exp)}"


def describe_treemap(source: Experiment | Mapping[str, Image], *, arm: str | None = None) -> str:
    """The parts of one image from the largest down."""
    label, shipped, parts = image_parts(source, arm)
    told = [f"{name} {format_bytes(count)}" for name, _, count in parts]
    total = sum(count for _, _, count in parts)
    return (f"Image {label}: {format_bytes(total)} unpacked, {format_bytes(shipped)} shipped; its parts are "
            f"{listed(told)}.")


def describe_ratio(exp: Experiment, *, baseline: str | None = None, measure: str = "boot", force: bool = False) -> str:
    """Every comparison as its sentence."""
    found = comparisons(exp, baseline, measure=measure, force=force)
    return " ".join(map(str, found)) or "There is nothing to compare: one arm only."


def describe_density(exp: Experiment) -> str:
    """Memory of each copy, by how many run at once."""
    frame = copies_frame(exp)
    told = []
    for row, own in frame.groupby("row", sort=False):
        each = [f"{format_bytes(median_interval(group['each_bytes'].tolist()).value)} each at {copies:.0f}"
                for copies, group in own.groupby("copies")]
        told.append(f"{row} {listed(each)}")
    return (f"Memory of every copy of {exp.plan.source}: {'; '.join(told) or 'no set of copies ran'}."
            f"{emulation_note(exp)}")


def describe_minimum(exp: Experiment) -> str:
    """The least memory, row by row."""
    frame = measured_frame(exp, "minimum")
    told = []
    for row in rows_of(exp, "minimum"):
        own = [float(count) for count in frame[frame["row"] == row].get("least_bytes", ())]
        told.append(f"{row} {median_interval(own).value / (1 << 20):.4g} MiB" if own
                    else f"{row} in none that was tried")
    return f"Least memory in which {exp.plan.source} still reaches {exp.until}: {listed(told)}.{emulation_note(exp)}"


def describe_steady(exp: Experiment) -> str:
    """Requests per second and latency, row by row."""
    frame = measured_frame(exp, "steady")
    told = []
    for row in rows_of(exp, "steady"):
        own = frame[frame["row"] == row]
        if own.empty:
            told.append(f"{row} answered no load")
            continue
        rate = median_interval(own["requests_per_s"].tolist())
        late = [format_latency(float(own[key].median())) for key in ("latency_p50_s", "latency_p99_s")]
        told.append(f"{row} {format_rate(rate.value)} ({rate.kind} {format_rate(rate.low)} to "
                    f"{format_rate(rate.high)}, n={rate.n}), median latency {late[0]}, 99 % within {late[1]}")
    return f"{exp.plan.source} under load: {'; '.join(told)}.{emulation_note(exp)}"
