"""What runs on a worker of a cluster: who it is, the images it lacks, and one sample at a time.

These functions are sent by name and their arguments as pickles, so a worker needs unibeam and no more; nothing here
knows of dask. A worker uses the store of whoever sent the work where it sees the same directory, and its own
otherwise; what it lacks of an image is sent to it.
"""

from __future__ import annotations

import dataclasses
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unibeam_nb.arms import Arm
from unibeam_nb.bench import host
from unibeam_nb.bench.lock import measuring
from unibeam_nb.bench.measures import take
from unibeam_nb.bench.plan import Plan
from unibeam_nb.bench.run import iso, sweep, utc_now
from unibeam_nb.bench.sampling import Setting
from unibeam_nb.bench.schedule import Slot
from unibeam_nb.errors import UnibeamError
from unibeam_nb.machine import obstacle
from unibeam_nb.model import Image, Sample
from unibeam_nb.release.archive import unpack
from unibeam_nb.store import Store

SHIPPED = "shipped"
"""The kind of store entry that an image becomes which was sent."""


@dataclass(frozen=True)
class Home:
    """The store of whoever sends the work, and the file by which a worker knows that it sees the same one."""

    cache: Path
    state: Path
    token: Path
    secret: str

    @property
    def store(self) -> Store:
        """That store, where this process sees it; else this process's own."""
        return Store(self.cache, self.state) if self.seen else Store.default()

    @property
    def seen(self) -> bool:
        """Whether this process sees the sender's store."""
        try:
            return self.token.read_text(encoding="utf-8") == self.secret
        except OSError:
            return False


@dataclass(frozen=True)
class Introduction:
    """What a worker says of itself: its host, programs, whether it sees the sender's store, and which arms it cannot
    run, with the reason."""

    host_id: str
    facts: dict[str, Any]
    versions: dict[str, str]
    shares: bool
    cannot: dict[str, str]


def introduce(home: Home, arms: tuple[Arm, ...]) -> Introduction:
    """Who this worker is."""
    here = host.fingerprint()
    why = {str(arm): obstacle(home.store, arm) for arm in arms}
    cannot = {arm: reason for arm, reason in why.items() if reason}
    versions = host.tool_versions(arm.runner for arm in arms if str(arm) not in cannot)
    return Introduction(here.id, here.facts(), versions, home.seen, cannot)


def measure(home: Home, plan: Plan, slot: Slot, image: Image, lock: Path) -> Sample:
    """One sample, under this host's lock: workers of one host take turns. A machine that a killed worker left behind is
    stopped first."""
    store = home.store
    if not home.seen:
        image = dataclasses.replace(image, path=_shipped(store, image))
    with measuring(lock):
        sweep(store)
        setting = Setting(plan, {slot.case.name: image}, host.fingerprint().id, store)
        return take(setting, slot, iso(utc_now()))


def pack(image: Image) -> bytes:
    """The image's directory as a tar archive, to be sent."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(image.path, arcname=".", recursive=True)
    return stream.getvalue()


def receive(home: Home, image: Image, archive: bytes) -> str:
    """Keep an image that was sent in this worker's store; returns where."""

    def make(place: Path) -> None:
        packed = place.with_name("sent.tar")
        packed.write_bytes(archive)
        unpack(packed, place)

    return str(home.store.build(SHIPPED, _key(image), make)[0])


def _shipped(store: Store, image: Image) -> Path:
    entry = store.entry(SHIPPED, _key(image))
    if not entry.is_dir():
        raise UnibeamError(f"The image {image.name} has not reached this worker.", "Start the experiment again.")
    return entry


def _key(image: Image) -> str:
    return f"{image.target}-{image.key}"
