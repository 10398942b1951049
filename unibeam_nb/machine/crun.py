"""Runner ``crun``: an oci image's root directory under the bare runtime, without an engine around it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.machine import memory, proc, ways
from unibeam_nb.machine.cgroup import limits_swap
from unibeam_nb.machine.crun_config import config
from unibeam_nb.machine.options import Seat, Start
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.qemu_arguments import CONSOLE, HOSTNAME
from unibeam_nb.machine.registry import Record
from unibeam_nb.machine.ways import Way
from unibeam_nb.model import IMAGE_ROOT, IMAGE_STATE, NONCE_VARIABLE, Image
from unibeam_nb.store import Store

ROOT, UPPER, WORK, LOWER = "root", "upper", "work", "lower"
"""Directories of a bundle: the container's root, an overlay's layers, and a link to the image's own root.
The overlay's options go through these short names, since a path in them could hold a comma or a colon."""

OVERLAY = f"mount -t overlay -o lowerdir={LOWER},upperdir={UPPER},workdir={WORK} overlay {ROOT}"


def container_name(machine_id: str) -> str:
    """What the container of a machine is called."""
    return f"unibeam-{machine_id}"


def command(way: Way, words: tuple[str, ...]) -> tuple[str, ...]:
    """crun's command line for one way to run it, with the machine's directory as working directory."""
    manager = () if way.cgroups else ("--cgroup-manager=disabled",)
    mounts = (*((ways.COVER,) if way.cover else ()), *(() if way.copy else (OVERLAY,)))
    return (*ways.private_mounts(mounts), str(tools.find("crun")), "--root", "runtime", *manager, *words)


def fill_bundle(directory: Path, image: Image, way: Way, name: str, argv: tuple[str, ...],
                env: dict[str, str], mem_mb: int) -> None:
    """Write a bundle into ``directory``. The image's root stays as it is: writes go to an overlay or a copy."""
    rootfs = image.file("rootfs").resolve()
    for part in ("runtime", UPPER, WORK):
        (directory / part).mkdir()
    if way.copy:
        shutil.copytree(rootfs, directory / ROOT, symlinks=True)
    else:
        (directory / ROOT).mkdir()
        (directory / LOWER).symlink_to(rootfs)
    # The overlay's root takes over the mode of its upper directory.
    (directory / UPPER).chmod(0o755)
    data = config(argv, env, root=ROOT, hostname=HOSTNAME, cgroup=f"/{name}" if way.cgroups else None,
                  memory=mem_mb << 20, swap=limits_swap())
    (directory / "config.json").write_text(json.dumps(data), encoding="utf-8")


def prepare(seat: Seat) -> Start:
    """The bundle and the command line of this machine."""
    program, launch, name = tools.find("crun"), seat.image.launch, container_name(seat.id)

    def attempt(way: Way) -> str | None:
        with seat.store.scratch() as scratch:
            trial = f"{name}-trial"
            fill_bundle(scratch, seat.image, way, trial, (launch.argv()[0], "+V"), launch.env(), 64)
            done = process.run(command(way, ("run", trial)), cwd=scratch, timeout=30, check=False)
            ways.remove_cgroup(trial)
        return None if done.code == 0 else (done.stderr.strip() or f"exit status {done.code}").splitlines()[-1]

    way = ways.settle(seat.store, program, ways.candidates(copies=True), attempt)
    env = launch.env() | seat.variables | {NONCE_VARIABLE: seat.nonce}
    fill_bundle(seat.directory, seat.image, way, name, launch.argv(IMAGE_ROOT, IMAGE_STATE), env,
                seat.options.mem_mb)
    return Start(command(way, ("run", name)), CONSOLE)


def started(seat: Seat, alive: Callable[[], bool]) -> float | None:
    """The runtime goes straight on to the program."""
    return None


def payload(record: Record, directory: Path) -> list[ProcessId]:
    """The processes in the container: crun stays their parent, and adopts those whose parent ended."""
    return proc.descendants(record.process) if record.process and record.process.alive else []


def runtime(record: Record, directory: Path) -> list[ProcessId]:
    """crun, which waits for the container's end."""
    return [record.process] if record.process else []


def measure(record: Record, directory: Path) -> tuple[int, int]:
    """Bytes of the container's processes, and of crun."""
    return memory.pss(payload(record, directory)), memory.pss(runtime(record, directory))


def halt(store: Store, record: Record, directory: Path, reap: Callable[[], object]) -> bool:
    """End the container. Ending its first process makes the kernel end all others in it, crun then tidies up."""
    if record.process is None:
        return True
    proc.end(payload(record, directory)[:1], reap=reap)
    proc.wait([record.process], 2.0, reap)
    gone = proc.end([record.process], lambda: payload(record, directory), reap=reap)
    # crun tidies up itself unless it was killed; its own state lies in the machine's directory, mounts are private.
    ways.remove_cgroup(container_name(record.id))
    return gone
