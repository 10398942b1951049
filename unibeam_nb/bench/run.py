"""Machines become samples: the loop that boots every arm in turn and writes down what it saw.

Between two samples nothing is kept: every sample is a cold process of its own. What is in the journal is
never measured again, so an experiment that was stopped goes on where it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from unibeam_nb.bench import checks, host
from unibeam_nb.bench.journal import Experiment, Journal, load_experiment
from unibeam_nb.bench.lock import LOCK_PATH, measuring
from unibeam_nb.bench.plan import Plan, Slot, resolve, schedule
from unibeam_nb.errors import BenchError, Cancelled, ToolMissing, UnibeamError, UsageError
from unibeam_nb.jsonable import from_json, to_json
from unibeam_nb.machine import BootOptions
from unibeam_nb.machine import boot as boot_machine
from unibeam_nb.machine import machines as running_machines
from unibeam_nb.model import Image, Mark, Memory, Sample
from unibeam_nb.progress import checkpoint, note, progress, step

if TYPE_CHECKING:
    from unibeam_nb.store import Store

GIVE_UP_AFTER = 3
"""Failed boots in a row after which an arm is not booted any more."""

SETTLED = 0.01
"""Memory has settled when two readings differ by less than this, relative to the later one."""

READ_EVERY = 0.25
READ_AT_MOST = 3.0
"""Seconds between two readings of the memory, and after which the last one counts as it is."""


class Running(Protocol):
    """What a sample needs of a machine."""

    @property
    def accelerator(self) -> str: ...
    @property
    def marks(self) -> Mapping[str, Mark]: ...
    def memory(self) -> Memory: ...
    def stop(self) -> Any: ...


class Boot(Protocol):
    """What starts a machine: :func:`unibeam_nb.machine.boot`, or a test's replay."""

    def __call__(self, store: Store, image: Image, runner: str, options: BootOptions, *,
                 name: str | None = None) -> Running: ...


def run_experiment(plan: Plan, images: Mapping[str, Image], store: Store, journal_path: Path, *,
                   boot: Boot = boot_machine, lock: Path = LOCK_PATH,
                   now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Experiment:
    """Run ``plan`` with ``images`` (one per arm, by ``str(arm)``) and journal it at ``journal_path``.

    A journal that is there already is continued when it has the same plan, images and host, and refused
    otherwise (BenchError). A boot that fails becomes a sample that says so, and the experiment goes on;
    after three failures in a row an arm is given up. Raises ToolMissing before anything is measured, and
    Cancelled when the user stopped it, with a journal that can be continued.
    """
    plan = resolve(plan, _check_images(plan, images))
    here = host.fingerprint()
    versions = host.tool_versions(arm.runner for arm in plan.arms)
    with step(f"Measuring {plan.source}"), measuring(lock):
        header = _header(plan, images, here, versions, journal_path.stem, _iso(now()))
        with _open(journal_path, header) as journal:
            done = list(load_experiment(journal_path).samples)
            missing = missing_slots(plan, done)
            if missing:
                others = [m.name for m in running_machines(store) if m.alive]
                for concern in checks.before(checks.read_state(others), plan):
                    note(str(concern))
                    journal.note(_iso(now()), str(concern))
            _run_slots(plan, missing, images, journal, done, here.id, store, boot, now)
    for concern in checks.after(done, plan, here.cores):
        note(str(concern))
    return load_experiment(journal_path)


def missing_slots(plan: Plan, samples: Sequence[Sample]) -> list[Slot]:
    """The slots of the plan for which no sample exists yet, in order."""
    there = {(s.arm, s.block) for s in samples}
    return [slot for slot in schedule(plan) if (str(slot.arm), slot.block) not in there]


def given_up(samples: Sequence[Sample], arm: str) -> bool:
    """Whether the last three boots of ``arm`` all failed."""
    last = [s.ok for s in sorted(samples, key=lambda s: s.order) if s.arm == arm][-GIVE_UP_AFTER:]
    return len(last) == GIVE_UP_AFTER and not any(last)


def _run_slots(plan: Plan, missing: Sequence[Slot], images: Mapping[str, Image], journal: Journal,
               done: list[Sample], host_id: str, store: Store, boot: Boot, now: Callable[[], datetime]) -> None:
    """Boot every missing slot; ``done`` grows with the samples."""
    total = plan.blocks + plan.warmup
    began = time.monotonic()
    tried = 0
    try:
        for position, slot in enumerate(missing):
            arm = str(slot.arm)
            if given_up(done, arm):
                continue
            left = time_left(time.monotonic() - began, tried, len(missing) - position)
            progress(position / len(missing), f"block {slot.block + 1} of {total}, {arm}{left}")
            sample = _measure(plan, slot, images[arm], host_id, store, boot, _iso(now()))
            journal.append(sample)
            done.append(sample)
            tried += 1
            if not sample.ok:
                _tell_failure(journal, done, sample, _iso(now()))
        progress(1.0, f"{tried} boots")
    except (KeyboardInterrupt, Cancelled):
        whole = len(schedule(plan))
        journal.note(_iso(now()), f"Stopped by the user after {len(done)} of {whole} boots.")
        raise Cancelled(f"Stopped after {len(done)} of {whole} boots; they are all kept.",
                        f"Run the same experiment into {journal.path.name} again to go on with it.") from None


def _tell_failure(journal: Journal, done: Sequence[Sample], sample: Sample, date: str) -> None:
    note(f"Boot {sample.order} ({sample.arm}) failed: {sample.error.splitlines()[0]}")
    if given_up(done, sample.arm):
        text = f"{sample.arm} was given up after {GIVE_UP_AFTER} failed boots in a row."
        note(text)
        journal.note(date, text)


def _measure(plan: Plan, slot: Slot, image: Image, host_id: str, store: Store, boot: Boot, started: str) -> Sample:
    """One boot, from nothing to a sample; the machine is gone when this returns or raises."""
    virtual = slot.arm.runner == "qemu"
    about: dict[str, Any] = {
        "arm": str(slot.arm), "block": slot.block, "order": slot.order, "warmup": slot.warmup, "started": started,
        "shipped_bytes": image.shipped_bytes, "unpacked_bytes": image.unpacked_bytes, "parts": image.parts,
        "image_sha256": image.sha256, "release_sha256": image.release_sha256, "host": host_id,
        "mem_mb": plan.mem_mb if virtual else None, "vcpus": plan.vcpus if virtual else _cores(),
        "load1": round(os.getloadavg()[0], 2)}
    options = BootOptions(mem_mb=plan.mem_mb, vcpus=plan.vcpus, accelerator=plan.accelerator, probe=plan.probe,
                          until=plan.until, deadline=plan.deadline)
    try:
        machine = boot(store, image, slot.arm.runner, options, name=f"bench-{plan.source}")
    except (Cancelled, ToolMissing, UsageError):
        raise
    except UnibeamError as error:
        return Sample(ok=False, error=_told(error), **about)
    about["accelerator"] = machine.accelerator
    marks: dict[str, float] = {"spawn": 0.0}
    memory: Memory | None = None
    told = ""
    try:
        marks |= {mark: value.at for mark, value in machine.marks.items()}
        memory = settled_memory(machine.memory)
    except (Cancelled, ToolMissing, UsageError):
        raise
    except UnibeamError as error:
        told = _told(error)
    finally:
        _stop(machine)
    if not told and plan.until not in marks:
        told = f"The machine never reached the mark {plan.until}."
    return Sample(ok=not told, marks=marks, memory=memory, error=told, **about)


def _stop(machine: Running) -> None:
    """Stop a machine; one that does not end is told and not counted against its boot."""
    try:
        machine.stop()
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


def _told(error: UnibeamError) -> str:
    return "\n".join((error.message, *error.details))


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def time_left(elapsed: float, done: int, left: int) -> str:
    """``, about 3 min left``, from the seconds that the boots so far took; nothing before two are done."""
    seconds = round(elapsed / done * left) if done >= 2 else 0
    if seconds < 1:
        return ""
    return f", about {seconds} s left" if seconds < 100 else f", about {seconds / 60:.0f} min left"


def _check_images(plan: Plan, images: Mapping[str, Image]) -> tuple[int, ...]:
    """The ports that the images serve. Raises BenchError where an arm has none, or not the same release."""
    absent = [str(arm) for arm in plan.arms if str(arm) not in images]
    if absent:
        raise BenchError(f"There is no image for the arm {absent[0]}.", "Build one for every arm of the plan.")
    chosen = [images[str(arm)] for arm in plan.arms]
    if len({image.origin or image.release_sha256 for image in chosen}) > 1:
        raise BenchError("The arms do not run the same release.",
                         "Build all images from one release; otherwise the comparison means nothing.")
    return chosen[0].ports


def _header(plan: Plan, images: Mapping[str, Image], here: host.Host, versions: Mapping[str, str], name: str,
            date: str) -> dict[str, Any]:
    """The first line of the journal."""
    about = {}
    for arm in map(str, plan.arms):
        image = images[arm]
        about[arm] = {key: to_json(getattr(image, key)) for key in (
            "name", "target", "flavour", "sha256", "release_sha256", "shipped_bytes", "unpacked_bytes", "parts",
            "kernel", "tools")} | {"erts": image.launch.erts}
    return {"name": name, "date": date, "plan": to_json(plan), "host": here.facts(), "host_id": here.id,
            "tools": dict(versions), "images": about}


def _open(path: Path, header: Mapping[str, Any]) -> Journal:
    """A new journal, or the one that is there if it belongs to this very experiment."""
    if not path.exists() or path.stat().st_size == 0:
        path.unlink(missing_ok=True)
        return Journal.create(path, header)
    there = load_experiment(path)
    if from_json(Plan, there.header["plan"]) != from_json(Plan, to_json(header["plan"])):
        raise BenchError(f"{path.name} belongs to an experiment with another plan.",
                         "Choose another name, or use the same arms, blocks, seed and limits to continue it.")
    if there.header["host_id"] != header["host_id"]:
        raise BenchError(f"{path.name} was begun on another host, or before this one changed.",
                         "Samples of two hosts do not mix: choose another name.")
    if _hashes(there.header) != _hashes(header):
        raise BenchError(f"{path.name} was begun with other images.",
                         "The code, the kernel or the tools have changed since: choose another name.")
    return Journal.resume(path)


def _hashes(header: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    return sorted((arm, str(image["sha256"])) for arm, image in header["images"].items())
