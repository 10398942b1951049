"""An experiment over the workers of a dask cluster, one measured machine at a time on each.

A worker takes part when it was started with the resource ``bench=1`` (``dask worker ... --resources bench=1``). Every
block is measured on one worker, so that a comparison within a block is one within a host; every sample says which host
it was taken on, and what follows never compares two hosts unless told to. Workers on one host take turns, by the
host's own lock. The journal is written here, by the one process that deals out the work: a slot is in it once,
whatever becomes of the workers. When one dies, what is missing of its block is measured by another.
"""

from __future__ import annotations

import importlib
import itertools
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unibeam_nb.bench import checks, host, worker
from unibeam_nb.bench.journal import Experiment, load_experiment
from unibeam_nb.bench.lock import LOCK_PATH
from unibeam_nb.bench.opening import common_ports, make_header, open_journal
from unibeam_nb.bench.plan import Plan, resolve
from unibeam_nb.bench.run import Run, iso, utc_now
from unibeam_nb.bench.schedule import Slot
from unibeam_nb.bench.stopping import Bounds
from unibeam_nb.bench.worker import Home, Introduction
from unibeam_nb.errors import BenchError, Cancelled, UnibeamError, UsageError
from unibeam_nb.model import Image
from unibeam_nb.progress import checkpoint, note, progress, step

if TYPE_CHECKING:
    from unibeam_nb.store import Store

RESOURCE = "bench"
"""What a worker must have one of to be measured on."""

POLL_SECONDS = 0.5
"""How often the list of workers is looked at."""

PATIENCE = 60.0
"""Seconds without any worker after which an experiment stops; one that was killed may be coming back."""


def connect(address: str) -> Any:
    """A client of the scheduler at ``address``. Raises UsageError where there is none, or dask is not installed."""
    try:
        return _dask().Client(address, timeout=3, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise UsageError(f"No scheduler answers at {address} ({str(error).splitlines()[0]}).",
                         "Start 'dask scheduler', then workers: 'dask worker ADDRESS --resources bench=1'") from None


def _dask() -> Any:
    """The package, which is an optional extra. Raises UsageError where it is not installed."""
    try:
        return importlib.import_module("distributed")
    except ImportError:
        raise UsageError("dask.distributed is not installed.", "Install it: pip install 'unibeam-nb[dask]'") from None


@contextmanager
def home_of(store: Store) -> Iterator[Home]:
    """The store as workers know it: a file in it that only those find who see the same directory."""
    token = store.directory("cluster") / secrets.token_hex(8)
    home = Home(store.cache, store.state, token, secrets.token_hex(16))
    token.write_text(home.secret, encoding="utf-8")
    try:
        yield home
    finally:
        token.unlink(missing_ok=True)


def introductions(client: Any, home: Home, plan: Plan, addresses: Sequence[str]) -> dict[str, Introduction]:
    """What the workers at these addresses say of themselves; those that went away meanwhile are left out."""
    if not addresses:
        return {}
    told = client.run(worker.introduce, home, plan.arms, workers=list(addresses), on_error="return")
    return {address: found for address, found in told.items() if isinstance(found, Introduction)}


def benches(client: Any) -> list[str]:
    """The addresses of the workers that have the resource."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return sorted(address for address, about in workers.items() if about.get("resources", {}).get(RESOURCE, 0) >= 1)


def run_over(client: Any, plan: Plan, images: Mapping[str, Image], store: Store, journal_path: Path, *,
             lock: Path = LOCK_PATH, now: Callable[[], datetime] = utc_now, bounds: Bounds | None = None,
             left_out: Mapping[str, str] = {}) -> Experiment:
    """:func:`~unibeam_nb.bench.run.run_experiment` over the workers of a dask cluster."""
    plan = resolve(plan, common_ports(plan, images))
    with step(f"Measuring {plan.source} on a cluster"), home_of(store) as home:
        known = introductions(client, home, plan, benches(client))
        if not known:
            raise BenchError("No worker of the cluster has the resource bench.",
                             "Start workers with: dask worker ADDRESS --resources bench=1")
        _refuse_unable(known)
        here = host.fingerprint()
        versions = dict(pair for one in known.values() for pair in one.versions.items())
        header = make_header(plan, images, here, versions, journal_path.stem, iso(now()), left_out)
        header["hosts"] = {one.host_id: one.facts for one in known.values()}
        with open_journal(journal_path, header) as journal:
            run = Run(plan, journal, list(load_experiment(journal_path).samples), now, bounds)
            if len(header["hosts"]) > plan.warmup > 0:
                run.tell(f"{len(header['hosts'])} hosts share {plan.warmup} warm-up blocks: some begin cold.")
            fleet = Fleet(client, run, images, home, lock, frozenset(header["hosts"]))
            fleet.admit(known)
            try:
                fleet.measure()
            except (KeyboardInterrupt, Cancelled):
                raise run.stopped() from None
            finally:
                fleet.dismiss()
    for concern in checks.after(run.done, plan, here.cores):
        note(str(concern))
    return load_experiment(journal_path)


def _refuse_unable(known: Mapping[str, Introduction]) -> None:
    """Every worker must be able to run every arm: otherwise its blocks would have gaps."""
    lines = [f"{address}: {arm}: {why}" for address, one in known.items() for arm, why in one.cannot.items()]
    if lines:
        raise BenchError("Not every worker can run every arm.", "Install what is missing there, or leave the arms out.",
                         lines)


@dataclass
class Lane:
    """A worker with the slots of its block that are still to be measured; ``future`` is the one under way."""

    host_id: str
    slots: deque[Slot] = field(default_factory=deque)
    slot: Slot | None = None
    future: Any = None


@dataclass
class Fleet:
    """The workers of one experiment, and who measures what. ``hosts`` are those that the journal's header knows: a
    worker of another one that comes later is not let in."""

    client: Any
    run: Run
    images: Mapping[str, Image]
    home: Home
    lock: Path
    hosts: frozenset[str]
    lanes: dict[str, Lane] = field(default_factory=dict)
    queue: deque[list[Slot]] = field(default_factory=deque)
    refused: set[str] = field(default_factory=set)

    def admit(self, known: Mapping[str, Introduction]) -> None:
        """Let workers take part; one that does not see our store is sent the images first."""
        for address, one in known.items():
            if not one.shares:
                self._send_images(address)
            self.lanes[address] = Lane(one.host_id)

    def _send_images(self, address: str) -> None:
        distinct = {(image.target, image.key): image for image in self.images.values()}
        for image in distinct.values():
            with step(f"Sending {image.kind} to {address}"):
                packed = self.client.scatter(worker.pack(image), workers=[address], hash=False)
                self.client.submit(worker.receive, self.home, image, packed, workers=[address], pure=False).result()

    def measure(self) -> None:
        """Measure every slot until the experiment ends."""
        while wanted := self.run.wanted():
            blocks = itertools.groupby(wanted, key=lambda slot: slot.block)
            self.queue = deque(list(slots) for _, slots in blocks)
            idle = 0.0
            while self.queue or any(lane.slots or lane.slot for lane in self.lanes.values()):
                self._check_workers()
                self._deal()
                idle = 0.0 if self._collect() or self.lanes else idle + POLL_SECONDS
                if idle > PATIENCE:
                    raise BenchError("The cluster has no worker left to measure on.",
                                     "All samples so far are kept: start workers, and the same experiment again.")
                progress(self.run.taken / self.run.plan.boots, self._where())
            self.run.look()

    def dismiss(self) -> None:
        """Ask nothing more of any worker. A boot that is under way there ends by itself and is not recorded."""
        for lane in self.lanes.values():
            if lane.future is not None:
                lane.future.cancel()

    def _deal(self) -> None:
        """Give every idle worker its next slot, and a block where it has none."""
        for address, lane in self.lanes.items():
            if lane.future is not None:
                continue
            while lane.slot is None and (lane.slots or self.queue):
                if not lane.slots:
                    lane.slots = deque(self.queue.popleft())
                slot = lane.slots.popleft()
                if not self.run.failures.given_up(slot.case.name, slot.kind):
                    lane.slot = slot
            if lane.slot is not None:
                lane.future = self.client.submit(
                    worker.measure, self.home, self.run.plan, lane.slot, self.images[lane.slot.case.name], self.lock,
                    workers=[address], allow_other_workers=False, resources={RESOURCE: 1}, pure=False, retries=0)

    def _collect(self) -> bool:
        """Wait a moment for samples and journal those that came; whether any did."""
        futures = [lane.future for lane in self.lanes.values() if lane.future is not None]
        if not futures:
            time.sleep(POLL_SECONDS)
            return False
        try:
            _dask().wait(futures, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED")
        except TimeoutError:
            return False
        done = [(address, lane) for address, lane in self.lanes.items() if lane.future and lane.future.done()]
        for address, lane in done:
            self._settle(address, lane)
        return bool(done)

    def _settle(self, address: str, lane: Lane) -> None:
        """Take in how a slot ended on its worker."""
        future, slot = lane.future, lane.slot
        assert slot is not None
        lane.future = lane.slot = None
        if future.status == "finished":
            self.run.add(future.result())
            return
        lane.slots.appendleft(slot)
        error = future.exception() if future.status == "error" else None
        if isinstance(error, UnibeamError):
            raise error
        # The worker, or the connection to it, went away: the next look at the list of workers tells.
        if error is not None and address in benches(self.client):
            self._lose(address, type(error).__name__)

    def _check_workers(self) -> None:
        """Let new workers in and give back what those that are gone had to do."""
        checkpoint()
        there = benches(self.client)
        for address in [a for a in self.lanes if a not in there]:
            self._lose(address, "it is gone")
        fresh = [address for address in there if address not in self.lanes and address not in self.refused]
        for address, one in introductions(self.client, self.home, self.run.plan, fresh).items():
            if one.cannot or one.host_id not in self.hosts:
                self.refused.add(address)
            else:
                self.run.tell(f"The worker {address} takes part from now on.")
                self.admit({address: one})

    def _lose(self, address: str, why: str) -> None:
        lane = self.lanes.pop(address)
        if lane.future is not None:
            lane.future.cancel()
        left = [*([lane.slot] if lane.slot else []), *lane.slots]
        self.run.tell(f"The worker {address} takes part no longer ({why}); {len(left)} of its slots go to another.")
        if left:
            self.queue.appendleft(left)

    def _where(self) -> str:
        busy = sum(lane.slot is not None for lane in self.lanes.values())
        return f"{self.run.taken} boots done, {busy} under way on {len(self.lanes)} workers"
