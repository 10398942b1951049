"""What runs, on disk: one directory per machine under ``<state>/machines``, with a ``machine.json``.

Any process of the same user can list, attach to and stop a machine. A record names its process by pid and
start time, so that an entry whose process is gone is known as stale and nobody else's process is touched.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from unibeam_nb.held import remove_tree
from unibeam_nb.jsonable import dump, from_json, loads
from unibeam_nb.machine.link import LOOPBACK
from unibeam_nb.machine.options import BootOptions
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.model import Mark
from unibeam_nb.store import Store

RECORD, STATE = "machine.json", "state"


@dataclass(frozen=True)
class Record:
    """One machine as others may find it.

    ``started`` is ISO 8601 in UTC; ``ports`` are pairs (host, guest); ``beam`` is bytes as in Memory.beam;
    ``keeper`` is the process that boots it while ``ready`` is not yet true; ``way`` is what a container
    runner settled on to make containers work on this host; ``channel`` is the port on 127.0.0.1 at which the running
    program can be talked to, where it can. With ``shell`` its console takes input. ``options`` are what
    it was booted with. ``address`` is where its ports are, which are those inside where that is its own.
    """

    id: str
    name: str
    arm: str
    process: ProcessId | None
    keeper: ProcessId
    image_name: str
    image_sha256: str
    accelerator: str
    nonce: str
    started: str
    ports: tuple[tuple[int, int], ...] = ()
    url: str | None = None
    marks: tuple[Mark, ...] = ()
    beam: int | None = None
    exit_code: int | None = None
    ready: bool = False
    channel: int | None = None
    shell: bool = False
    options: BootOptions | None = None
    address: str = LOOPBACK

    @property
    def runner(self) -> str:
        return self.arm.partition("@")[2]


def root(store: Store) -> Path:
    """The directory of all machines."""
    return store.directory("machines")


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Nobody else of this user settles ports and names meanwhile."""
    with FileLock(str(root(store) / ".lock")):
        yield


def make_directory(store: Store) -> Path:
    """A new machine's directory, private to the user; its name is the machine's id."""
    while True:
        path = root(store) / secrets.token_hex(4)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            return path


def write(directory: Path, record: Record) -> None:
    """Keep a record; readers see the old or the new one, never half of it. Only the machine's
    booter writes."""
    # No fsync as write_atomically has: this is written while a boot is being timed, and means nothing after a crash.
    fresh = directory / f".{RECORD}"
    fresh.write_text(dump(record), encoding="utf-8")
    fresh.replace(directory / RECORD)


def read(directory: Path) -> Record | None:
    """The record in a machine's directory, or None where none can be read."""
    try:
        data = loads((directory / RECORD).read_text(encoding="utf-8"))
        return from_json(Record, data) if isinstance(data, dict) else None
    except (OSError, ValueError):
        return None


def directories(store: Store) -> list[Path]:
    """The directories of all machines, also of those whose record cannot be read."""
    return sorted(path for path in root(store).iterdir() if path.is_dir())


def unrecorded(store: Store) -> list[Path]:
    """The directories of machines that never got a record: whoever made one was killed, or found the disk full. To be
    asked while :func:`locked`, since otherwise somebody may be about to write it."""
    return [path for path in directories(store) if not (path / RECORD).exists()]


def records(store: Store) -> list[tuple[Record, Path]]:
    """All machines known, oldest first, with their directories."""
    found = [(record, path) for path in directories(store) if (record := read(path))]
    return sorted(found, key=lambda pair: (pair[0].started, pair[0].id))


def forget(directory: Path) -> None:
    """Remove a machine's directory with everything in it."""
    if directory.exists():
        remove_tree(directory)
