"""Snapshots: a machine that was taken to its ready mark once, kept for copies that go on from there.

    cache/snapshots/KEY/  ram            the guest's RAM, mapped by every copy: what one has not changed, all share
                          state          the rest of the machine, as QEMU migrates it
                          manifest.json  what both belong to, and their sha256

KEY is a digest of the image, QEMU, the processor, the accelerator and the machine (:class:`.snapshot_facts.Facts`), so
that another of these takes another snapshot. The directory is private: a RAM holds secrets. ``state`` is hashed before
each use; ``ram``, a thousand times as large, only when its inode says that somebody has touched it since.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from unibeam_nb import tools
from unibeam_nb.errors import MachineError
from unibeam_nb.jsonable import dump, from_json, loads
from unibeam_nb.machine import qmp, resume
from unibeam_nb.machine.machine import Machine
from unibeam_nb.machine.options import Seat, Snapshot
from unibeam_nb.machine.qemu_arguments import CONSOLE_SOCKET, PROGRAM
from unibeam_nb.machine.snapshot_facts import Content, Facts, Manifest, damage, facts_of, refusal
from unibeam_nb.progress import step
from unibeam_nb.store import digest, digest_file

RAM, STATE, MANIFEST = "ram", "state", "manifest.json"
OUTGOING = "state.sock"


def provide(seat: Seat, boot: Callable[[Snapshot], Machine]) -> Snapshot:
    """The snapshot for machines like ``seat``, taken if there is none yet; ``boot`` boots the machine to take it of.

    Raises MachineError when the one that is there was damaged, or belongs to something else.
    """
    here = facts_of(seat, _qemu(), _processor())
    key = digest(dump(here))[:32]

    def make(place: Path) -> None:
        place.chmod(0o700)
        with step(f"Taking a snapshot of {seat.image.name}"):
            _take(place, seat, here, boot)

    directory, _ = seat.store.build("snapshots", key, make)
    check(directory, here)
    return Snapshot(directory / RAM, directory / STATE)


def check(directory: Path, here: Facts, *, full: bool = False) -> None:
    """Raise MachineError, with the reason, when the snapshot in ``directory`` is damaged or does not belong ``here``.

    With ``full`` also the RAM is hashed, whatever its inode says.
    """
    try:
        manifest = from_json(Manifest, loads((directory / MANIFEST).read_text(encoding="utf-8")))
        why = refusal(manifest.facts, here) or _damage(directory / STATE, manifest.state, full=True) or \
            _damage(directory / RAM, manifest.ram, full=full)
    except FileNotFoundError as error:
        why = f"its file {Path(str(error.filename)).name} is missing"
    except ValueError:
        why = f"its {MANIFEST} cannot be read"
    if why is not None:
        raise MachineError(f"The snapshot cannot be used: {why}.",
                           f"Remove it, and the next boot takes a new one: rm -r {directory}")


def _damage(path: Path, expected: Content, *, full: bool) -> str | None:
    status = path.stat()
    if status.st_size != expected.bytes:
        return damage(path.name, expected, status.st_size, None)
    if full or _stamp(status) != expected.stamp:
        with step(f"Checking {path.name}"):
            return damage(path.name, expected, status.st_size, digest_file(path))
    return None


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _take(place: Path, seat: Seat, here: Facts, boot: Callable[[Snapshot], Machine]) -> None:
    ram, state = place / RAM, place / STATE
    ram.touch(mode=0o600)
    machine = boot(Snapshot(ram))
    try:
        _freeze(machine, seat.options.deadline)
        saved = _save(machine, seat.options.deadline)
    finally:
        machine.stop(grace=0)
    state.touch(mode=0o600)
    state.write_bytes(saved)
    manifest = Manifest(here, _content(ram), _content(state))
    (place / MANIFEST).write_text(dump(manifest), encoding="utf-8")


def _content(path: Path) -> Content:
    # Only what is on disk has its last time of change.
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    sha256 = digest_file(path)
    status = path.stat()
    return Content(status.st_size, sha256, _stamp(status))


def _freeze(machine: Machine, patience: float) -> None:
    """Have the guest call its hooks and stop everything but PID 1, in its own order (guest/orders.c)."""
    until, nonce = time.monotonic() + patience, machine.record.nonce
    console = qmp.connect(machine.directory, CONSOLE_SOCKET)
    if console is not None:
        with console:
            for line, mark in ((f"prepare {nonce}\n", "still"), ("freeze\n", "frozen")):
                console.sendall(line.encode("ascii"))
                if not resume.hear(console, nonce, mark, until):
                    break
            else:
                return
    raise MachineError(f"{machine.name} was not ready for a snapshot within {patience:.0f} s.",
                       "See its last lines above: did before_snapshot/0 fail, or not return?", machine.console.tail(8))


def _save(machine: Machine, patience: float) -> bytes:
    """Stop a frozen machine and return its state, all but the RAM, which is in its file already."""
    async def talk(client: Any) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            handle = os.open(machine.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                listener.bind(f"/proc/self/fd/{handle}/{OUTGOING}")
            finally:
                os.close(handle)
            listener.listen(1)
            listener.setblocking(False)
            receiving = asyncio.ensure_future(_receive(listener))
            try:
                await client.execute("stop")
                await client.execute("migrate-set-capabilities", resume.CAPABILITIES)
                await client.execute("migrate", {"uri": f"unix:{OUTGOING}"})
                await resume.moved(client)
                saved = await receiving
            finally:
                receiving.cancel()
        await client.execute("quit")
        return saved

    saved = qmp.converse(machine.directory, lambda: machine.alive, talk, patience)
    if not saved:
        raise MachineError(f"QEMU ended while {machine.name} was being saved.", "Boot it again.")
    return saved


async def _receive(listener: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    connection, _ = await loop.sock_accept(listener)
    with connection:
        connection.setblocking(False)
        pieces = []
        while piece := await loop.sock_recv(connection, 1 << 20):
            pieces.append(piece)
    return b"".join(pieces)


def _qemu() -> str:
    program = tools.find(PROGRAM)
    with tools.needing(PROGRAM):
        status = program.stat()
        return f"{tools.version(PROGRAM)} ({_program_sha256(program, status.st_size, status.st_mtime_ns)[:12]})"


@lru_cache(maxsize=4)
def _program_sha256(program: Path, _size: int, _changed: int) -> str:
    return digest_file(program)


@lru_cache(maxsize=1)
def _processor() -> str:
    """The host's processor by name, and by what it can do: a guest may see both."""
    lines = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines())
    found = {key.strip(): value.strip() for key, value in lines.items()}
    return f"{found.get('model name', 'unknown')} ({digest(found.get('flags', ''))[:8]})"
