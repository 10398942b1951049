"""Samples as tidy pandas frames: one observation a row, units in the column's name, arms in the plan's order.

Everything here is a pure function of an :class:`~unibeam_nb.bench.journal.Experiment` or of images.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import pandas as pd

from unibeam_nb.analysis.rows import row_of, rows_of
from unibeam_nb.bench.checks import outliers
from unibeam_nb.bench.header import image_facts
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.bench.records import no_collection
from unibeam_nb.errors import BenchError
from unibeam_nb.model import KINDS, MARKS, Image, Sample

SAMPLES = ("experiment", "kind", "row", "arm", "block", "order", "warmup", "ok", "started", "until", "seconds",
           "outlier", "accelerator", "host", "mem_mb", "vcpus", "load1", "payload_bytes", "overhead_bytes",
           "memory_bytes", "beam_bytes", "shipped_bytes", "unpacked_bytes", "image_sha256", "error")
"""Columns of :func:`samples_frame`: one sample a row. ``row`` is the arm with its factors
(:mod:`~unibeam_nb.analysis.rows`), ``seconds`` the time from ``spawn`` to the mark ``until``, missing where the boot
failed; ``outlier`` marks good boots far from their row's median. What the plan varies and what further was measured
follow in columns of their own, ``factor_mem_mb`` and ``requests_per_s``."""

STAGES = ("row", "arm", "block", "order", "stage", "start", "seconds")
"""Columns of :func:`stages_frame`: one stage of one boot a row. ``stage`` is the mark that ends it,
``start`` when it began, in seconds after ``spawn``."""

SIZES = ("image", "arms", "measure", "part", "bytes")
"""Columns of :func:`sizes_frame`: one part of one image a row. ``measure`` is ``unpacked`` (by part) or
``shipped`` (one row, part ``all``: what travels is compressed as a whole); ``image`` is what its arms share,
``oci+scratch``, and ``arms`` the tuple of their names."""

MEMORY = ("row", "arm", "block", "order", "kind", "bytes")
"""Columns of :func:`memory_frame`: ``kind`` is ``payload``, ``overhead`` or ``beam`` (which is part of the
payload, as the program itself counts it)."""

PART_GROUPS = ("Linux kernel", "kernel modules", "base system", "libraries", "ERTS (the BEAM)", "OTP applications",
               "init and configuration")
"""What :func:`sizes_frame` groups an image's parts into, in the order of a stack."""

_GROUP_OF = {"linux kernel": "Linux kernel", "osv kernel": "Linux kernel", "efi stub": "init and configuration",
             "kernel modules": "kernel modules", "base": "base system",
             "libraries": "libraries",
             "erts": "ERTS (the BEAM)", "init": "init and configuration", "configuration": "init and configuration"}


def group_of(part: str) -> str:
    """The one of :data:`PART_GROUPS` that an image's part belongs to."""
    return _GROUP_OF.get(part, "OTP applications")


HOW_TO_MEASURE = {
    "boot": "Measure boots: %unibeam bench NAME -n 10",
    "steady": "Measure under load: %unibeam bench NAME --steady",
    "density": "Measure copies: %unibeam bench NAME --density 1,4,16",
    "minimum": "Search for it: %unibeam bench NAME --min-memory"}
"""How samples of each kind come to be."""


def require(frame: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """``frame`` itself. Raises BenchError that names the first missing column."""
    for column in columns:
        if column not in frame.columns:
            raise BenchError(f"The frame has no column {column!r}.",
                             f"It has {', '.join(map(str, frame.columns)) or 'none at all'}.")
    return frame


def samples_frame(exp: Experiment) -> pd.DataFrame:
    """Every sample, failed ones and warm-ups included; columns :data:`SAMPLES`, then factors and further values."""
    with no_collection():
        return _samples_frame(exp)


def _samples_frame(exp: Experiment) -> pd.DataFrame:
    samples, until = exp.samples, exp.until
    # All of a sample at once, then column by column: 100,000 samples do not fit into a processor's cache, so that each
    # further pass over them waits for memory.
    held: dict[str, Any] = dict.fromkeys(_HELD, ())
    held |= zip(_HELD, zip(*map(_held, samples), strict=True), strict=False)
    rows = [row_of(s) for s in samples]
    seconds = [marks.get(until) if ok else None for marks, ok in zip(held["marks"], held["ok"], strict=True)]
    marked = _outlying(exp, rows)
    memories = [(m.payload, m.overhead, m.payload + m.overhead, m.beam) if m else (None,) * 4 for m in held["memory"]]
    columns: dict[str, Any] = {key: held[key] for key in SAMPLES if key in held}
    columns |= {"experiment": exp.name, "row": rows, "until": until, "seconds": seconds,
                "outlier": [place in marked for place in range(len(samples))]}
    columns |= zip(("payload_bytes", "overhead_bytes", "memory_bytes", "beam_bytes"),
                   zip(*memories, strict=True) if memories else ((),) * 4, strict=True)
    factors, values = _spread(held["factors"]), _spread(held["values"])
    columns |= {f"factor_{key}": found for key, found in factors.items()} | values
    # Typed one by one: pandas would first guess what each holds, and copy the whole frame to change it.
    columns |= {key: np.array(columns[key], dtype="float64") for key in ("seconds", "load1", *values)}
    try:
        columns |= {key: pd.array(columns[key], dtype="Int64") for key in _WHOLE}
        columns |= {key: np.array(columns[key], dtype="int64") for key in _COUNTS}
    except OverflowError:
        raise BenchError("A count in the journal is larger than any count can be.",
                         "Its samples were not written by unibeam; take the journal as it was measured.") from None
    return pd.DataFrame(columns, columns=[*SAMPLES, *(f"factor_{key}" for key in factors), *values])


def _spread(dicts: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[Any]]:
    """A column for every key of any of these dicts, in the order of the names; None where a dict does not have it."""
    keys = sorted(set().union(*dicts))
    if len(keys) > 1:
        try:
            return dict(zip(keys, zip(*map(itemgetter(*keys), dicts), strict=True), strict=True))
        except KeyError:
            pass
    return {key: [one.get(key) for one in dicts] for key in keys}


_WHOLE = ("payload_bytes", "overhead_bytes", "memory_bytes", "beam_bytes", "mem_mb")
"""The columns of whole numbers that may be missing."""

_COUNTS = ("block", "order", "vcpus", "shipped_bytes", "unpacked_bytes")
"""The columns of whole numbers that every sample has."""

_HELD = tuple(field.name for field in dataclasses.fields(Sample) if field.name != "parts")
_held = attrgetter(*_HELD)


def measured_frame(exp: Experiment, kind: str = "boot") -> pd.DataFrame:
    """The rows of :func:`samples_frame` that enter a statistic: good samples of one kind after the warm-up."""
    frame = samples_frame(exp)
    return frame[frame["ok"] & ~frame["warmup"] & (frame["kind"] == kind)].reset_index(drop=True)


def _outlying(exp: Experiment, rows: Sequence[str]) -> set[int]:
    """The places in the experiment of all boots far from the others of their row; ``rows`` are those of its samples."""
    boots: dict[str, list[tuple[int, float]]] = {}
    for place, (s, row) in enumerate(zip(exp.samples, rows, strict=True)):
        if s.ok and not s.warmup and s.kind == "boot":
            boots.setdefault(row, []).append((place, s.marks[exp.until]))
    return {place for own in boots.values()
            for (place, _), is_far in zip(own, outliers([at for _, at in own]), strict=True) if is_far}


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
    rows = [{"row": row_of(s), "arm": s.arm, "block": s.block, "order": s.order, "stage": stage, "start": start,
             "seconds": seconds}
            for s in exp.measured for stage, start, seconds in stages_of(s.marks, exp.until)]
    return _tidy(rows, STAGES, {"start": "float64", "seconds": "float64"})


def memory_frame(exp: Experiment) -> pd.DataFrame:
    """The memory of every measured boot, by kind; columns :data:`MEMORY`."""
    rows = []
    for s in exp.measured:
        if s.memory is None:
            continue
        kinds = {"payload": s.memory.payload, "overhead": s.memory.overhead, "beam": s.memory.beam}
        rows += [{"row": row_of(s), "arm": s.arm, "block": s.block, "order": s.order, "kind": kind, "bytes": count}
                 for kind, count in kinds.items() if count is not None]
    return _tidy(rows, MEMORY, {"bytes": "Int64"})


def typical(frame: pd.DataFrame, column: str, row: str) -> int | None:
    """The ``order`` of the boot of ``row`` whose ``column`` is the median (of an even number, the lower of
    the two middle ones); None where there is none.

    Medians of parts do not sum to the median of the whole. Charts that stack parts therefore show those of
    this one boot, which do sum to its whole.
    """
    own = require(frame, ("row", "order", column))
    own = own[(own["row"] == row) & own[column].notna()].sort_values([column, "order"])
    return None if own.empty else int(own["order"].iloc[(len(own) - 1) // 2])


def sizes_frame(source: Experiment | Mapping[str, Image]) -> pd.DataFrame:
    """The sizes of every image, by group of parts; columns :data:`SIZES`.

    ``source`` is an experiment, or images by arm. Arms that share an image share its rows.
    """
    rows: list[dict[str, Any]] = []
    for arms, about in _images(source):
        label = arms[0].partition("@")[0]
        if any(row["image"] == label for row in rows):
            label = arms[0]
        groups = dict.fromkeys(PART_GROUPS, 0)
        for name, count in about["parts"]:
            groups[group_of(name)] += count
        rows += [{"image": label, "arms": arms, "measure": "unpacked", "part": group, "bytes": count}
                 for group, count in groups.items() if count]
        rows.append({"image": label, "arms": arms, "measure": "shipped", "part": "all",
                     "bytes": about["shipped_bytes"]})
    return _tidy(rows, SIZES, {"bytes": "int64"})


def _images(source: Experiment | Mapping[str, Image]) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """``(arms, what is known)`` of every distinct image, in the arms' order."""
    known: dict[str, tuple[list[str], dict[str, Any]]] = {}
    if isinstance(source, Experiment):
        known_images = source.header["images"]
        unknown = [name for name in source.plan.names if name not in known_images]
        if unknown:
            raise BenchError(f"{source.name} tells nothing of the image of {unknown[0]}.",
                             "Its journal was changed, or is of an experiment that could not begin.")
        pairs = [(name, image_facts(known_images[name])) for name in source.plan.names]
        abouts = [(arm, image | {"parts": [(p["name"], p["bytes"]) for p in image["parts"]]}) for arm, image in pairs]
    else:
        abouts = [(arm, {"target": image.target, "flavour": image.flavour, "sha256": image.sha256,
                         "shipped_bytes": image.shipped_bytes,
                         "parts": [(p.name, p.bytes) for p in image.parts]}) for arm, image in source.items()]
    for arm, about in abouts:
        known.setdefault(f"{about['target']} {about['sha256']}", ([], about))[0].append(arm)
    return [(tuple(arms), about) for arms, about in known.values()]


def image_parts(source: Experiment | Mapping[str, Image], arm: str | None = None) \
        -> tuple[str, int, list[tuple[str, str, int]]]:
    """``(label, shipped bytes, parts)`` of one image, that of ``arm`` or the first; parts are ``(name, group, bytes)``
    from the largest down. Raises BenchError where there is no such arm."""
    images = _images(source)
    if not images:
        raise BenchError("There is nothing to draw.", "There is no image.")
    names = [name for arms, _ in images for name in arms]
    if arm is not None and arm not in names:
        raise BenchError(f"There is no image of {arm}.", f"There are those of {', '.join(names)}.")
    arms, about = next(pair for pair in images if arm is None or arm in pair[0])
    parts = sorted(((name, group_of(name), int(count)) for name, count in about["parts"]
                    if count), key=lambda part: (-part[2], part[0]))
    return arms[0].partition("@")[0], int(about["shipped_bytes"]), parts


def copies_frame(exp: Experiment) -> pd.DataFrame:
    """Every measured set of copies: ``row`` (without the number of copies), ``copies``, ``each_bytes`` and
    ``total_bytes``, in the order of the arms, then of the copies."""
    place = {row: index for index, row in enumerate(rows_of(exp, "density"))}
    rows = [{"row": re.sub(r" copies=\d+", "", row_of(s)), "copies": int(s.values["copies_count"]),
             "each_bytes": s.values["each_bytes"], "total_bytes": s.values["total_bytes"]}
            for s in sorted(exp.measured_of("density"), key=lambda s: place[row_of(s)])]
    return _tidy(rows, ("row", "copies", "each_bytes", "total_bytes"), {})


def require_kind(exp: Experiment, kind: str) -> None:
    """Raise BenchError where the experiment did not measure this kind of thing."""
    if any(s.kind == kind for s in exp.samples):
        return
    there = sorted({s.kind for s in exp.samples})
    holds = f"It holds samples of: {', '.join(there)}." if there else "It holds no sample at all yet."
    raise BenchError(f"The experiment {exp.name} has no {kind} samples.", f"{holds} {HOW_TO_MEASURE[kind]}")


def accelerators(samples: Iterable[Sample]) -> dict[str, tuple[str, ...]]:
    """Which accelerators each arm ran under; more than one means that its samples do not belong together."""
    seen: dict[str, set[str]] = {}
    for s in samples:
        if s.ok and s.kind in KINDS:
            seen.setdefault(s.arm, set()).add(s.accelerator)
    return {arm: tuple(sorted(names)) for arm, names in seen.items()}


def emulated(exp: Experiment) -> tuple[str, ...]:
    """The arms that ran under software emulation, which production would not."""
    found = accelerators(exp.samples)
    return tuple(arm for arm in exp.arms if "tcg" in found.get(arm, ()))


def _tidy(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], types: Mapping[str, str]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records(list(rows), columns=list(columns))
    return frame.astype({key: value for key, value in types.items() if key in frame.columns})
