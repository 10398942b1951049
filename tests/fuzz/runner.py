"""Runs targets: many inputs each, in a worker process of its own whose memory is limited, and tells what it found.

An input follows from the seed, the target's name and its number alone, so any of them can be made again. A worker that
does not come back from an input (a crash, an endless call in C) is ended, and that input is a finding like others.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.fuzz.mutate import Mutator
from tests.fuzz.target import ROOM, ROOT, Judge, Target
from tests.fuzz.targets import TARGETS

FINDINGS = ROOT / "tests/fuzz/findings"
BATCH = 64
STUCK_S = 300.0
"""Seconds without a new batch after which a worker is given up: no batch of a busy host takes so long."""

KINDS = 20
"""Different faults of one target after which it ends: there is enough to mend."""


@dataclass(frozen=True)
class Found:
    """A fault, the number of the first input that had it, and that input, as small as it could be made."""

    fault: str
    index: int
    data: bytes


@dataclass
class Report:
    """What became of the inputs of one target. ``slowest`` are processor seconds of the slowest input, ``peak_bytes``
    what the worker had in memory at most, and ``grown_bytes`` how much of that the inputs added."""

    target: str
    inputs: int = 0
    seeds: int = 0
    taken: int = 0
    cpu: float = 0.0
    slowest: float = 0.0
    slowest_index: int = -1
    peak_bytes: int = 0
    grown_bytes: int = 0
    findings: list[Found] = field(default_factory=list)


class Inputs(Protocol):
    """Where inputs come from: the seeds of a target, and its input by a seed and a number."""

    target: Target
    seeds: Sequence[bytes]

    def input(self, seed: int, index: int) -> bytes: ...


class Kept:
    """Inputs that are files already, by their number in the order of ``paths``."""

    def __init__(self, target: Target, paths: Sequence[Path]) -> None:
        self.target, self.seeds, self._paths = target, target.seeds(), paths

    def input(self, _seed: int, index: int) -> bytes:
        return self._paths[index].read_bytes()


def inputs_of(name: str, paths: Sequence[Path]) -> Inputs:
    """The inputs of the target ``name``: those in these files, or, without any, those that are made of its seeds."""
    return Kept(TARGETS[name], paths) if paths else Mutator(TARGETS[name])


def run(
    name: str, count: int, seed: int, tell: Callable[[str], None] = print, paths: Sequence[Path] = ()
) -> Report:
    """Give the target ``name`` its first ``count`` inputs of this seed, or the first of those in ``paths``."""
    context = multiprocessing.get_context("spawn")
    report, first = Report(name), 0
    while first < count:
        progress = context.Value("q", first)
        ours, theirs = context.Pipe()
        worker = context.Process(target=_work, args=(name, first, count, seed, progress, theirs, paths), daemon=True)
        worker.start()
        theirs.close()
        part = _follow(worker, ours, progress)
        if part is not None:
            _add(report, part)
            break
        at = int(progress.value)
        tell(f"    {name}: the worker did not come back from inputs {at} to {at + BATCH - 1}")
        report.findings.append(Found("the worker ended, or stood still", at, inputs_of(name, paths).input(seed, at)))
        report.inputs, first = at + BATCH, at + BATCH
    return report


def _follow(worker: Any, ours: Any, progress: Any) -> Report | None:
    """The worker's report, or None where it ended without one or stood still."""
    last, since = -1, time.monotonic()
    with ours:
        while True:
            with contextlib.suppress(EOFError):
                if ours.poll(0.2):
                    part: Report = ours.recv()
                    worker.join(10)
                    return part
            if progress.value != last:
                last, since = progress.value, time.monotonic()
            if not worker.is_alive() or time.monotonic() - since > STUCK_S:
                worker.kill()
                worker.join()
                return None


def _add(whole: Report, part: Report) -> None:
    for name in ("inputs", "taken", "cpu"):
        setattr(whole, name, getattr(whole, name) + getattr(part, name))
    whole.seeds = part.seeds
    if part.slowest > whole.slowest:
        whole.slowest, whole.slowest_index = part.slowest, part.slowest_index
    whole.peak_bytes, whole.grown_bytes = part.peak_bytes, part.grown_bytes
    whole.findings += part.findings


def _work(
    name: str, first: int, count: int, seed: int, progress: Any, pipe: Any, paths: Sequence[Path]
) -> None:
    """The worker: what happens in its own process."""
    inputs = inputs_of(name, paths)
    with inputs.target.opened() as judge:
        judge(inputs.seeds)  # Whatever is loaded at first use is no input's doing.
        began, resident = time.process_time(), _limit_memory()
        report = batches(inputs, judge, range(first, count), seed, lambda at: setattr(progress, "value", at))
        report.cpu = time.process_time() - began
    report.peak_bytes = _status("VmHWM")
    report.grown_bytes = max(0, report.peak_bytes - resident)
    pipe.send(report)
    pipe.close()


def batches(
    source: Inputs, judge: Judge, numbers: range, seed: int, told: Callable[[int], None] = lambda _at: None
) -> Report:
    """Judge the inputs of these numbers in this process."""
    report = Report(source.target.name, seeds=len(source.seeds))
    known: dict[str, int] = {}
    for start in range(numbers.start, numbers.stop, BATCH):
        told(start)
        indices = range(start, min(start + BATCH, numbers.stop))
        inputs = [source.input(seed, index) for index in indices]
        for index, data, verdict in zip(indices, inputs, judge(inputs), strict=True):
            report.inputs += 1
            report.taken += verdict.taken
            if verdict.seconds > report.slowest:
                report.slowest, report.slowest_index = verdict.seconds, index
            if verdict.fault is not None and verdict.fault not in known:
                known[verdict.fault] = index
                report.findings.append(Found(verdict.fault, index, minimised(judge, data, verdict.fault)))
        if len(known) >= KINDS:
            break
    return report


def minimised(judge: Judge, data: bytes, fault: str, tries: int = 300, patience: float = 20.0) -> bytes:
    """A shorter input with the same fault: pieces are left out while it stays (Zeller and Hildebrandt's ddmin)."""
    until, size = time.monotonic() + patience, max(1, len(data) // 2)
    while size >= 1 and tries > 0:
        at = 0
        while at < len(data) and tries > 0 and time.monotonic() < until:
            shorter = data[:at] + data[at + size :]
            tries -= 1
            if judge([shorter])[0].fault == fault:
                data = shorter
            else:
                at += size
        size //= 2
    return data


def save(report: Report) -> list[Path]:
    """Keep the inputs of the findings, each under its digest: from then on they are tests."""
    kept = []
    for found in report.findings:
        path = FINDINGS / report.target / hashlib.sha256(found.data).hexdigest()[:12]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(found.data)
        kept.append(path)
    return kept


def shares(total: int, names: Sequence[str]) -> dict[str, int]:
    """How many inputs each target gets of ``total``, by its share."""
    whole = sum(TARGETS[name].share for name in names)
    return {name: -(-total * TARGETS[name].share // whole) for name in names}


def _limit_memory() -> int:
    """From here on this process may grow by :data:`~tests.fuzz.target.ROOM`. Returns what it has in memory now."""
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew (proc_pid_clear_refs(5)).
    limit = _status("VmSize") + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return _status("VmRSS")


def _status(field_name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field_name}:"))
