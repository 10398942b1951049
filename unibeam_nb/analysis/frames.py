"""Samples as tidy pandas frames: one observation a row, units in the column's name, arms in the plan's order.

Everything here is a pure function of an :class:`~unibeam_nb.bench.journal.Experiment` or of images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from unibeam_nb.bench.checks import outliers
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.errors import BenchError
from unibeam_nb.model import MARKS, Image, Sample

SAMPLES = ("experiment", "arm", "block", "order", "warmup", "ok", "started", "until", "seconds", "outlier",
           "accelerator", "host", "mem_mb", "vcpus", "load1", "payload_bytes", "overhead_bytes", "memory_bytes",
           "beam_bytes", "shipped_bytes", "unpacked_bytes", "image_sha256", "error")
"""Columns of :func:`samples_frame`: one boot a row. ``seconds`` is the time from ``spawn`` to the mark
``until``, missing where the boot failed; ``outlier`` marks good samples far from their arm's median."""

STAGES = ("arm", "block", "order", "stage", "start", "seconds")
"""Columns of :func:`stages_frame`: one stage of one boot a row. ``stage`` is the mark that ends it,
``start`` when it began, in seconds after ``spawn``."""

SIZES = ("image", "arms", "measure", "part", "bytes")
"""Columns of :func:`sizes_frame`: one part of one image a row. ``measure`` is ``unpacked`` (by part) or
``shipped`` (one row, part ``all``: what travels is compressed as a whole); ``image`` is what its arms share,
``oci+scratch``, and ``arms`` the tuple of their names."""

MEMORY = ("arm", "block", "order", "kind", "bytes")
"""Columns of :func:`memory_frame`: ``kind`` is ``payload``, ``overhead`` or ``beam`` (which is part of the
payload, as the program itself counts it)."""

PART_GROUPS = ("Linux kernel", "kernel modules", "base system", "libraries", "ERTS (the BEAM)", "OTP applications",
               "init and configuration")
"""What :func:`sizes_frame` groups an image's parts into, in the order of a stack."""

_GROUP_OF = {"linux kernel": "Linux kernel", "kernel modules": "kernel modules", "base": "base system",
             "libraries": "libraries",
             "erts": "ERTS (the BEAM)", "init": "init and configuration", "configuration": "init and configuration"}


def require(frame: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """``frame`` itself. Raises BenchError that names the first missing column."""
    for column in columns:
        if column not in frame.columns:
            raise BenchError(f"The frame has no column {column!r}.",
                             f"It has {', '.join(map(str, frame.columns)) or 'none at all'}.")
    return frame


def samples_frame(exp: Experiment) -> pd.DataFrame:
    """Every sample, failed ones and warm-ups included; columns :data:`SAMPLES`."""
    marked = _outlying(exp)
    rows = [{
        "experiment": exp.name, "arm": s.arm, "block": s.block, "order": s.order, "warmup": s.warmup, "ok": s.ok,
        "started": s.started, "until": exp.until, "seconds": s.marks.get(exp.until) if s.ok else None,
        "outlier": (s.arm, s.order) in marked, "accelerator": s.accelerator, "host": s.host, "mem_mb": s.mem_mb,
        "vcpus": s.vcpus, "load1": s.load1, "payload_bytes": s.memory.payload if s.memory else None,
        "overhead_bytes": s.memory.overhead if s.memory else None,
        "memory_bytes": s.memory.total if s.memory else None, "beam_bytes": s.memory.beam if s.memory else None,
        "shipped_bytes": s.shipped_bytes, "unpacked_bytes": s.unpacked_bytes, "image_sha256": s.image_sha256,
        "error": s.error} for s in exp.samples]
    return _tidy(rows, SAMPLES, {"seconds": "float64", "payload_bytes": "Int64", "overhead_bytes": "Int64",
                                 "memory_bytes": "Int64", "beam_bytes": "Int64", "mem_mb": "Int64"})


def measured_frame(exp: Experiment) -> pd.DataFrame:
    """The rows of :func:`samples_frame` that enter a statistic: good boots after the warm-up."""
    frame = samples_frame(exp)
    return frame[frame["ok"] & ~frame["warmup"]].reset_index(drop=True)


def _outlying(exp: Experiment) -> set[tuple[str, int]]:
    marked: set[tuple[str, int]] = set()
    for arm in exp.arms:
        own = [s for s in exp.measured if s.arm == arm]
        far = outliers([s.marks[exp.until] for s in own])
        marked |= {(arm, s.order) for s, is_far in zip(own, far, strict=True) if is_far}
    return marked


def stages_of(marks: Mapping[str, float], until: str) -> list[tuple[str, float, float]]:
    """``(mark that ends it, start, seconds)`` of every stage between ``spawn`` and ``until``.

    Marks that the arm does not have are skipped, so that the stages always sum to the whole. Where two
    instants were seen in an unusual order (a program may answer before its last application is started)
    they are taken in the order of time.
    """
    seen = sorted((marks[name], MARKS.index(name), name) for name in MARKS
                  if name in marks and name not in ("spawn", "exit") and marks[name] <= marks[until])
    stages, start = [], marks.get("spawn", 0.0)
    for at, _, name in seen:
        stages.append((name, start, at - start))
        start = at
    return stages


def stages_frame(exp: Experiment) -> pd.DataFrame:
    """The stages of every measured boot; per boot they sum to its ``seconds``. Columns :data:`STAGES`."""
    rows = [{"arm": s.arm, "block": s.block, "order": s.order, "stage": stage, "start": start, "seconds": seconds}
            for s in exp.measured for stage, start, seconds in stages_of(s.marks, exp.until)]
    return _tidy(rows, STAGES, {"start": "float64", "seconds": "float64"})


def memory_frame(exp: Experiment) -> pd.DataFrame:
    """The memory of every measured boot, by kind; columns :data:`MEMORY`."""
    rows = []
    for s in exp.measured:
        if s.memory is None:
            continue
        kinds = {"payload": s.memory.payload, "overhead": s.memory.overhead, "beam": s.memory.beam}
        rows += [{"arm": s.arm, "block": s.block, "order": s.order, "kind": kind, "bytes": count}
                 for kind, count in kinds.items() if count is not None]
    return _tidy(rows, MEMORY, {"bytes": "Int64"})


def typical(frame: pd.DataFrame, column: str, arm: str) -> int | None:
    """The ``order`` of the boot of ``arm`` whose ``column`` is the median (of an even number, the lower of
    the two middle ones); None where there is none.

    Medians of parts do not sum to the median of the whole. Charts that stack parts therefore show those of
    this one boot, which do sum to its whole.
    """
    own = require(frame, ("arm", "order", column))
    own = own[(own["arm"] == arm) & own[column].notna()].sort_values([column, "order"])
    return None if own.empty else int(own["order"].iloc[(len(own) - 1) // 2])


def sizes_frame(source: Experiment | Mapping[str, Image]) -> pd.DataFrame:
    """The sizes of every image, by group of parts; columns :data:`SIZES`.

    ``source`` is an experiment, or images by arm. Arms that share an image share its rows.
    """
    rows: list[dict[str, Any]] = []
    for arms, about in _images(source):
        label = arms[0].partition("@")[0]
        groups = dict.fromkeys(PART_GROUPS, 0)
        for name, count in about["parts"]:
            groups[_GROUP_OF.get(name, "OTP applications")] += count
        rows += [{"image": label, "arms": arms, "measure": "unpacked", "part": group, "bytes": count}
                 for group, count in groups.items() if count]
        rows.append({"image": label, "arms": arms, "measure": "shipped", "part": "all",
                     "bytes": about["shipped_bytes"]})
    return _tidy(rows, SIZES, {"bytes": "int64"})


def _images(source: Experiment | Mapping[str, Image]) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """``(arms, what is known)`` of every distinct image, in the arms' order."""
    known: dict[str, tuple[list[str], dict[str, Any]]] = {}
    if isinstance(source, Experiment):
        pairs = [(name, source.header["images"][name]) for name in source.plan.names]
        abouts = [(arm, image | {"parts": [(p["name"], p["bytes"]) for p in image["parts"]]}) for arm, image in pairs]
    else:
        abouts = [(arm, {"target": image.target, "flavour": image.flavour, "sha256": image.sha256,
                         "shipped_bytes": image.shipped_bytes,
                         "parts": [(p.name, p.bytes) for p in image.parts]}) for arm, image in source.items()]
    for arm, about in abouts:
        known.setdefault(f"{about['target']} {about['sha256']}", ([], about))[0].append(arm)
    return [(tuple(arms), about) for arms, about in known.values()]


def accelerators(samples: Iterable[Sample]) -> dict[str, tuple[str, ...]]:
    """Which accelerators each arm ran under; more than one means that its samples do not belong together."""
    seen: dict[str, set[str]] = {}
    for s in samples:
        if s.ok:
            seen.setdefault(s.arm, set()).add(s.accelerator)
    return {arm: tuple(sorted(names)) for arm, names in seen.items()}


def emulated(exp: Experiment) -> tuple[str, ...]:
    """The arms that ran under software emulation, which production would not."""
    found = accelerators(exp.samples)
    return tuple(arm for arm in exp.arms if "tcg" in found.get(arm, ()))


def _tidy(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], types: Mapping[str, str]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records(list(rows), columns=list(columns))
    return frame.astype({key: value for key, value in types.items() if key in frame.columns})
