"""Machines become samples: the loop that measures every slot in turn and writes down what it saw.

What is in the journal is never measured again, so an experiment that was stopped, or whose process was killed, goes on
where it was. Samples are taken in ``sampling.py``; here is decided which, and when it is enough.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from unibeam_nb.bench import checks, host
from unibeam_nb.bench.hoststate import read_state
from unibeam_nb.bench.journal import Experiment, Journal, load_experiment
from unibeam_nb.bench.lock import LOCK_PATH, measuring
from unibeam_nb.bench.measures import prepare, take
from unibeam_nb.bench.opening import common_ports, make_header, open_journal
from unibeam_nb.bench.plan import Plan, resolve
from unibeam_nb.bench.sampling import MEASURED, Boot, Setting
from unibeam_nb.bench.schedule import GIVE_UP_AFTER, Failures, Slot, missing_slots
from unibeam_nb.bench.stopping import Bounds, Look, blocks_wanted, taken_looks
from unibeam_nb.errors import Cancelled, UnibeamError, UsageError
from unibeam_nb.machine import boot as boot_machine
from unibeam_nb.machine import machines as running_machines
from unibeam_nb.model import TRY, Image, Sample
from unibeam_nb.progress import note, progress, step

if TYPE_CHECKING:
    from unibeam_nb.store import Store

CLOCK_JUMP = 2.0
"""Seconds by which the wall clock may run ahead of, or behind, the monotonic one between two samples before it is
told: more than a time server corrects at once."""


def utc_now() -> datetime:
    """The wall clock, which dates samples and times nothing."""
    return datetime.now(UTC)


def run_experiment(plan: Plan, images: Mapping[str, Image], store: Store, journal_path: Path, *,
                   boot: Boot = boot_machine, lock: Path = LOCK_PATH, now: Callable[[], datetime] = utc_now,
                   wait: bool = True, bounds: Bounds | None = None,
                   left_out: Mapping[str, str] = {}) -> Experiment:
    """Run ``plan`` with ``images`` (one per case, by its name) and journal it at ``journal_path``.

    A journal that is there already is continued when it has the same plan, images and host, and refused
    otherwise (BenchError). A boot that fails becomes a sample that says so, and the experiment goes on;
    after three failures in a row a case is given up. Where somebody else measures on this host, waits, or raises
    BenchError unless ``wait``. ``bounds`` is what a stop rule reckons with, ``left_out`` are arms that cannot run here
    and why. Raises ToolMissing before anything is measured, and Cancelled when the user stopped it, with a journal
    that can be continued.
    """
    plan = resolve(plan, common_ports(plan, images))
    if plan.stop is not None and bounds is None:
        raise UsageError("A stop rule needs to know how intervals are reckoned.",
                         "Run the plan with Lab.bench, or give bounds.")
    here = host.fingerprint()
    versions = host.tool_versions(arm.runner for arm in plan.arms)
    with step(f"Measuring {plan.source}"), measuring(lock, wait=wait):
        header = make_header(plan, images, here, versions, journal_path.stem, iso(now()), left_out)
        sweep(store)
        with open_journal(journal_path, header) as journal:
            run = Run(plan, journal, list(load_experiment(journal_path).samples), now, bounds)
            if run.wanted():
                run.tell_concerns(store)
            setting = Setting(plan, images, here.id, store, boot, run.done, run.keep)
            prepare(setting, run.wanted())
            run.measure(lambda slot: take(setting, slot, iso(now())))
    for concern in checks.after(run.done, plan, here.cores):
        note(str(concern))
    return load_experiment(journal_path)


@dataclass
class Run:
    """An experiment under way: its journal, and what is known from the samples so far (``done`` grows)."""

    plan: Plan
    journal: Journal
    done: list[Sample]
    now: Callable[[], datetime]
    bounds: Bounds | None = None
    looks: list[Look] = field(default_factory=list)
    failures: Failures = field(init=False)

    def __post_init__(self) -> None:
        self.failures = Failures(self.done)
        self.look(tell=False)

    def wanted(self) -> list[Slot]:
        """The slots to measure next, in order; empty when the experiment has ended."""
        end = self.plan.warmup + blocks_wanted(self.plan, self.looks)
        return [slot for slot in missing_slots(self.plan, self.done)
                if slot.block < end and not self.failures.given_up(slot.case.name, slot.kind)]

    def measure(self, take_slot: Callable[[Slot], Sample]) -> None:
        """Take and journal the sample of every slot until the experiment ends. Raises Cancelled when stopped."""
        began, tried, watch = time.monotonic(), 0, ClockWatch(self.now)
        try:
            while wanted := self.wanted():
                for position, slot in enumerate(wanted):
                    if self.failures.given_up(slot.case.name, slot.kind):
                        continue
                    left = time_left(time.monotonic() - began, tried, len(wanted) - position)
                    progress(self.taken / self.plan.boots, self.where(slot) + left)
                    self.add(take_slot(slot))
                    tried += 1
                    if jumped := watch.jumped():
                        self.tell(jumped)
                self.look()
            progress(1.0, f"{tried} boots")
        except (KeyboardInterrupt, Cancelled):
            raise self.stopped() from None

    @property
    def taken(self) -> int:
        """How many slots have their sample."""
        return sum(sample.kind != TRY for sample in self.done)

    def where(self, slot: Slot) -> str:
        """How far the experiment has come, for a progress display."""
        most = "at most " if self.plan.stop else ""
        return f"block {slot.block + 1} of {most}{self.plan.blocks + self.plan.warmup}, {slot.case.name}"

    def keep(self, sample: Sample) -> None:
        """Journal one sample."""
        self.journal.append(sample)
        self.done.append(sample)

    def add(self, sample: Sample) -> None:
        """Journal a slot's sample, and tell of a failure."""
        self.keep(sample)
        self.failures.add(sample)
        if not sample.ok:
            note(f"Boot {sample.order} ({sample.case}) failed: {sample.error.splitlines()[0]}")
            if self.failures.given_up(sample.case, sample.kind):
                self.tell(f"{sample.case} was given up after {GIVE_UP_AFTER} failed boots in a row.")

    def tell(self, text: str) -> None:
        """Leave a line for the user, and for whoever reads the journal."""
        note(text)
        self.journal.note(iso(self.now()), text)

    def tell_concerns(self, store: Store) -> None:
        """Say what speaks against measuring on this host now."""
        others = [m.name for m in running_machines(store) if m.alive]
        for concern in checks.before(read_state(others), self.plan):
            self.tell(str(concern))

    def stopped(self) -> Cancelled:
        """Note that the user stopped the experiment; what to raise."""
        most = "at most " if self.plan.stop else ""
        text = f"after {self.taken} of {most}{self.plan.boots} boots"
        self.journal.note(iso(self.now()), f"Stopped by the user {text}.")
        return Cancelled(f"Stopped {text}; they are all kept.",
                         f"Run the same experiment into {self.journal.path.name} again to go on with it.")

    def look(self, *, tell: bool = True) -> None:
        """Ask the stop rule, where it is time for it, and tell what it saw."""
        if self.bounds is None:
            return
        fresh = taken_looks(self.plan, self.done, self.bounds, self.looks)
        self.looks += fresh
        for look in fresh if tell else ():
            self.tell(str(look))


class ClockWatch:
    """Notices when the wall clock was set, or the host slept. No time of a sample is taken from it; the dates are."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._last = (now(), time.monotonic())

    def jumped(self) -> str:
        """What happened since the last call, in a sentence; empty when nothing did."""
        before, self._last = self._last, (self._now(), time.monotonic())
        ahead = (self._last[0] - before[0]).total_seconds() - (self._last[1] - before[1])
        if abs(ahead) < CLOCK_JUMP:
            return ""
        way = "forward" if ahead > 0 else "back"
        return (f"The wall clock jumped {way} by {abs(ahead):.0f} s. Samples are timed by the monotonic clock and are "
                "not affected; their dates are.")


def sweep(store: Store) -> None:
    """Stop machines that a killed measurement left behind. Whoever holds the host's lock is the only one who
    measures, so nobody can be using them."""
    for machine in running_machines(store):
        if machine.name.startswith(MEASURED) and not machine.record.keeper.alive:
            try:
                machine.stop(grace=0)
                note(f"Stopped {machine.name}, which a measurement that was killed had left running.")
            except UnibeamError as error:
                note(str(error))


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def time_left(elapsed: float, done: int, left: int) -> str:
    """``, about 3 min left``, from the seconds that the boots so far took; nothing before two are done."""
    seconds = round(elapsed / done * left) if done >= 2 else 0
    if seconds < 1:
        return ""
    return f", about {seconds} s left" if seconds < 100 else f", about {seconds / 60:.0f} min left"

