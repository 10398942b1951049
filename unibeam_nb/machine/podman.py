"""Runner ``podman``: an oci image as people run one, in an engine of our own that shares nothing with the user's."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from unibeam_nb import process, tools
from unibeam_nb.arms import BRIDGE
from unibeam_nb.errors import MachineError
from unibeam_nb.machine import memory, podman_arguments, proc, ways
from unibeam_nb.machine.options import Seat, Start
from unibeam_nb.machine.podman_arguments import (
    BRIDGE_NAME,
    CONFIGURATION,
    CONMON_PIDFILE,
    HOST,
    PIDFILE,
    POLICY,
    Places,
    bridged,
)
from unibeam_nb.machine.proc import PROC, ProcessId
from unibeam_nb.machine.qemu_arguments import CONSOLE
from unibeam_nb.machine.registry import Record
from unibeam_nb.machine.ways import Way, container_name
from unibeam_nb.model import IMAGE_ROOT, IMAGE_STATE, NONCE_VARIABLE, Image
from unibeam_nb.private import private
from unibeam_nb.progress import shielded, step
from unibeam_nb.store import Store, digest, write_atomically

ATTEMPTS = 3
"""How often podman is asked to remove a container."""


def places(store: Store) -> Places:
    """Where our podman keeps things, made if they are not there.

    What ends with the host's boot lies under /tmp: podman wants that path short, and the same in every
    session of the user. Raises MachineError when somebody else owns it.
    """
    home = private(store.cache) / "podman"
    found = Places(home / "root", run_directory(home), home / "containers.conf", home / "policy.json",
                   home / "networks")
    for directory in (found.root, found.run / "run", found.run / "tmp", found.networks):
        private(directory)
    configuration = CONFIGURATION.replace("{networks}", str(found.networks))
    for path, text in ((found.configuration, configuration), (found.policy, POLICY)):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text)
    return found


def run_directory(home: Path) -> Path:
    """A short path for what ends with the host's boot and belongs to the engine that lives in ``home``.

    Raises MachineError where no engine could work: a comma or a colon ends a word in overlay's mount options.
    """
    if odd := sorted({",", ":"} & set(str(home))):
        signs = " and ".join(map(repr, odd))
        raise MachineError(f"No container engine can keep images in {home}: its path has {signs} in it.",
                           "Set UNIBEAM_HOME to another folder, or use a runner such as crun.")
    name = f"unibeam-{os.geteuid()}-{digest(str(home))[:8]}"
    # Not below TMPDIR, which may be another one tomorrow: podman notes the path, and works with no other afterwards.
    path = Path("/tmp") / name  # nosec B108 # refused below unless private
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise MachineError(f"{path} is not a private directory of yours.", f"Look at it, then remove it: rm -r {path}")
    return path


def command(store: Store, way: Way, words: tuple[str, ...]) -> tuple[str, ...]:
    """podman's command line for one way to run it."""
    own = podman_arguments.base(tools.find("podman"), places(store))
    cover = [ways.COVER] if way.cover else []
    if os.geteuid() == 0:
        # As root podman mounts its storage in whatever mount namespace it finds, and leaves it mounted.
        return (*ways.private_mounts(cover), *own, *words)
    # Without root podman makes the user namespace itself, with all the ids it needs.
    return (*own, *(("unshare", *ways.in_shell(cover), *own) if cover else ()), *words)


def _environment(store: Store) -> dict[str, str]:
    return {"CONTAINERS_CONF": str(places(store).configuration)}


def load(store: Store, image: Image) -> str:
    """Make podman know an image; returns the name by which it does. Loading happens once per image."""
    name, own = f"localhost/unibeam:{image.sha256[:32]}", places(store)
    env, way = _environment(store), Way()
    with FileLock(str(own.root.parent / ".lock")):
        known = process.run(command(store, way, ("image", "exists", name)), env=env, timeout=60, check=False)
        if known.code != 0:
            with step(f"Loading the image {image.name} into podman"):
                layout = image.file("layout").resolve()
                done = process.run(command(store, way, podman_arguments.pull(layout.name, own.policy)), env=env,
                                   cwd=layout.parent)
                process.run(command(store, way, ("tag", done.stdout.split()[-1], name)), env=env, timeout=60)
    return name


def prepare(seat: Seat) -> Start:
    """Load the image, find out how containers work here, and the command line of this machine."""
    program, launch, env = tools.find("podman"), seat.image.launch, _environment(seat.store)
    tools.find("crun")
    reference = load(seat.store, seat.image)

    def attempt(way: Way) -> str | None:
        trial = ways.trial_name(seat.id)
        words = podman_arguments.run(reference, trial, owner(seat.store), (launch.argv()[0], "+V"), launch.env(),
                                     cgroups=way.cgroups, mem_mb=64)
        try:
            done = process.run(command(seat.store, way, words), env=env, timeout=60, check=False)
        finally:
            with shielded():
                process.run(command(seat.store, way, podman_arguments.remove(trial)), env=env, timeout=60, check=False)
                ways.remove_cgroup(trial)
        return None if done.code == 0 else (done.stderr.strip() or f"exit status {done.code}").splitlines()[-1]

    way = ways.settle(seat.store, program, ways.candidates(copies=False), attempt)
    words = podman_arguments.run(
        reference, container_name(seat.id), owner(seat.store), launch.argv(IMAGE_ROOT, IMAGE_STATE),
        seat.fixed, directory=seat.directory, cgroups=way.cgroups, mem_mb=seat.options.mem_mb,
        network=_network(seat, way), variables=variables(seat), shell=seat.options.shell)
    return Start(command(seat.store, way, words), CONSOLE, tuple(env.items()))


def variables(seat: Seat) -> Path:
    """The file of what this boot adds to the program's environment, private like its directory: the nonce, the
    channel's secret and the user's own variables stand on no command line. It is docker's too."""
    path = seat.directory / podman_arguments.VARIABLES
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(podman_arguments.listed(seat.given))
    return path


def _network(seat: Seat, way: Way) -> tuple[str, ...]:
    """The words for this machine's network; the bridge is made on first use, and goes with :func:`clean`."""
    if BRIDGE not in seat.arm.options:
        return HOST
    with FileLock(str(places(seat.store).root.parent / ".lock")):
        env = _environment(seat.store)
        known = process.run(command(seat.store, way, ("network", "exists", BRIDGE_NAME)), env=env, check=False)
        if known.code != 0:
            process.run(command(seat.store, way, podman_arguments.make_bridge(BRIDGE_NAME)), env=env, timeout=60)
    return bridged(BRIDGE_NAME, seat.forwarded)


def started(seat: Seat, alive: Callable[[], bool]) -> float | None:
    """The engine goes straight on to the program."""
    return None


def payload(record: Record, directory: Path) -> list[ProcessId]:
    """The processes in the container. Its first one must carry this boot's nonce, so that a stale pid file
    never names somebody else's process."""
    first = _from_file(directory / PIDFILE, "environ", f"{NONCE_VARIABLE}={record.nonce}")
    return [first, *proc.descendants(first)] if first else []


def runtime(record: Record, directory: Path) -> list[ProcessId]:
    """podman's own process, which stays in the foreground, and the container's monitor."""
    monitor = _from_file(directory / CONMON_PIDFILE, "cmdline", container_name(record.id))
    own = [record.process, *proc.descendants(record.process)] if record.process and record.process.alive else []
    inside = payload(record, directory)
    return [process for process in dict.fromkeys((*own, monitor)) if process and process not in inside]


def _from_file(path: Path, where: str, wanted: str) -> ProcessId | None:
    """The process whose pid stands in a file, if ``wanted`` is one of the words in its ``/proc/PID/<where>``."""
    try:
        process = proc.identify(int(path.read_text()))
        words = (PROC / str(process.pid) / where).read_bytes().split(b"\0") if process else []
    except (OSError, ValueError):
        return None
    return process if wanted.encode() in words else None


def measure(record: Record, directory: Path) -> tuple[int, int]:
    """Bytes of the container's processes, and of podman's foreground process and conmon."""
    return memory.pss(payload(record, directory)), memory.pss(runtime(record, directory))


def halt(store: Store, record: Record, directory: Path, reap: Callable[[], object]) -> bool:
    """End the container and what runs it, and let podman forget it."""
    around = runtime(record, directory)
    proc.end(payload(record, directory)[:1], reap=reap)
    proc.wait(around, 2.0, reap)
    way = ways.remembered(store, tools.find("podman")) or Way()
    why = _remove(store, way, container_name(record.id))
    gone = proc.end(around, reap=reap)
    ways.remove_cgroup(container_name(record.id))
    if why:
        raise MachineError(f"podman cannot remove the container of {record.name}.",
                           "Run 'unibeam clean' to try again.", why)
    return gone


def _remove(store: Store, way: Way, name: str) -> list[str]:
    """Remove a container; what podman says where it cannot, or nothing. One that ends by itself while podman kills it
    is no longer what podman expects ("container state improper"), and goes the next time."""
    for _ in range(ATTEMPTS):
        done = process.run(command(store, way, podman_arguments.remove(name)), env=_environment(store), timeout=60,
                           check=False)
        if done.code == 0:
            return []
        time.sleep(0.1)
    return done.stderr.splitlines()[-3:] or [f"It ended with exit status {done.code}."]


def owner(store: Store) -> str:
    """The label by which a container is known as this store's."""
    return digest(str(store.state.absolute()))[:16]


def clean(store: Store) -> list[str]:
    """Remove the containers of this store that no machine owns any more. Call this only while no machine of this store
    runs on podman. Images stay, they are a cache; so does podman's own state under /tmp, which ends with
    the host's boot and which another store with the same cache may be using."""
    if not (store.cache / "podman" / "root").is_dir() or not tools.locate("podman"):
        return []
    way, env = ways.remembered(store, tools.find("podman")) or Way(), _environment(store)
    listed = process.run(command(store, way, podman_arguments.owned(owner(store))), env=env, timeout=60, check=False)
    for name in listed.stdout.split():
        if why := _remove(store, way, name):
            raise MachineError(f"podman cannot remove the container {name}.", "Run 'unibeam clean' to try again.", why)
        ways.remove_cgroup(name)
    if any(places(store).networks.glob(f"{BRIDGE_NAME}.*")):
        process.run(command(store, way, ("network", "rm", BRIDGE_NAME)), env=env, timeout=60, check=False)
    return [f"Removed the container {name}, which no machine owned." for name in listed.stdout.split()]
