"""Runner ``docker``: an oci image as people run one with docker, by the client in the foreground and its daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from unibeam_nb import process, tools
from unibeam_nb.arms import BRIDGE
from unibeam_nb.errors import MachineError
from unibeam_nb.image.formats.oci import tag_in
from unibeam_nb.machine import docker_arguments, dockerd, memory, proc, ways
from unibeam_nb.machine.dockerd import Engine
from unibeam_nb.machine.options import Seat, Start
from unibeam_nb.machine.podman import owner, variables
from unibeam_nb.machine.podman_arguments import HOST, bridged
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.qemu_arguments import CONSOLE
from unibeam_nb.machine.registry import Record
from unibeam_nb.machine.ways import container_name
from unibeam_nb.model import IMAGE_ROOT, IMAGE_STATE, NONCE_VARIABLE, Image
from unibeam_nb.progress import step
from unibeam_nb.store import Store

SHIM, PROXY = "containerd-shim", "docker-proxy"


def load(store: Store, engine: Engine, image: Image) -> str:
    """Make the daemon know an image; returns the name by which it does. Loading happens once per image."""
    layout = image.file("layout").resolve()
    name = tag_in(layout)
    with FileLock(str(store.directory("hosts") / "docker-images.lock")):
        known = process.run(engine.command(("image", "inspect", "--format", "{{.Id}}", name)), timeout=60, check=False)
        if known.code != 0:
            with step(f"Loading the image {image.name} into docker"), store.scratch() as scratch:
                process.run([tools.find("tar"), "--create", "--file", scratch / "image.tar",
                             "--directory", layout, "."])
                process.run(engine.command(("load", "--quiet", "--input", str(scratch / "image.tar"))))
    return name


def prepare(seat: Seat) -> Start:
    """A daemon, the image in it, and the command line of this machine."""
    engine, launch = dockerd.engine(seat.store), seat.image.launch
    words = docker_arguments.run(
        load(seat.store, engine, seat.image), container_name(seat.id), owner(seat.store),
        launch.argv(IMAGE_ROOT, IMAGE_STATE), seat.fixed, seat.options.mem_mb, _network(engine, seat), variables(seat))
    return Start(engine.command(words), CONSOLE)


def _network(engine: Engine, seat: Seat) -> tuple[str, ...]:
    """The words for this machine's network. A daemon of our own has no bridge until one is asked for."""
    if BRIDGE not in seat.arm.options:
        return HOST
    return bridged(dockerd.bridge(seat.store, engine) if engine.own else "bridge", seat.forwarded)


def started(seat: Seat, alive: Callable[[], bool]) -> float | None:
    """The daemon goes straight on to the program."""
    return None


def payload(record: Record, directory: Path) -> list[ProcessId]:
    """The processes in the container, which are children of the daemon's: found by this boot's nonce."""
    marked = proc.with_variable(NONCE_VARIABLE, record.nonce)
    return list(dict.fromkeys(one for first in marked[:1] for one in (first, *proc.descendants(first))))


def runtime(record: Record, directory: Path) -> list[ProcessId]:
    """docker's own process, which stays in the foreground, and the container's shim and proxies. The daemons, which
    all containers share, belong to none."""
    own = [record.process] if record.process and record.process.alive else []
    inside = payload(record, directory)
    shims = [one for one in proc.ancestors(inside[0]) if _called(one, SHIM)] if inside else []
    wanted = {str(host) for host, _ in record.ports}
    proxies = [one for one in proc.everything() if _called(one, PROXY) and wanted & set(proc.command_line(one))]
    return list(dict.fromkeys((*own, *shims[:1], *proxies)))


def _called(one: ProcessId, name: str) -> bool:
    words = proc.command_line(one)
    return bool(words) and Path(words[0]).name.startswith(name)


def measure(record: Record, directory: Path) -> tuple[int, int]:
    """Bytes of the container's processes, and of docker's client, shim and proxies."""
    return memory.pss(payload(record, directory)), memory.pss(runtime(record, directory))


def halt(store: Store, record: Record, directory: Path, reap: Callable[[], object]) -> bool:
    """End the container and let docker forget it."""
    client = [record.process] if record.process else []
    proc.end(payload(record, directory)[:1], reap=reap)
    proc.wait(client, 2.0, reap)
    name = container_name(record.id)
    engine = dockerd.running(store) or Engine()
    done = process.run(engine.command(docker_arguments.remove(name)), timeout=30, check=False)
    gone = proc.end(client, reap=reap)
    ways.remove_cgroup(name)
    if done.code != 0 and name in _names(engine, owner(store)):
        raise MachineError(f"docker cannot remove the container of {record.name}.",
                           "Run 'unibeam clean' to try again.", done.stderr.splitlines()[-3:])
    return gone


def _names(engine: Engine, whose: str) -> list[str]:
    return process.run(engine.command(docker_arguments.owned(whose)), timeout=60, check=False).stdout.split()


def clean(store: Store) -> list[str]:
    """Remove the containers of this store that no machine owns any more, and end the daemon of our own where no
    other store uses it. Call this only while no machine of this store runs on docker."""
    lines = []
    engine = dockerd.running(store) or Engine()
    if tools.locate("docker") and (engine.own or dockerd.answers()):
        for name in _names(engine, owner(store)):
            process.run(engine.command(docker_arguments.remove(name)), timeout=60, check=False)
            ways.remove_cgroup(name)
            lines.append(f"Removed the container {name}, which no machine owned.")
    return [*lines, "Ended the docker daemon that unibeam had started."] if dockerd.end(store) else lines
