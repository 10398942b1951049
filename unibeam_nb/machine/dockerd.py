"""Which docker daemon is used: the one that runs here, or, where none does and we are root, one of our own.

Ours shares nothing with the host's docker: its images, sockets and state are in directories of ours, its mounts and
processes in namespaces of its own, and it writes neither bridges nor firewall rules. It is started on first use, found
again by any process of the same cache, and ended by ``clean``.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from unibeam_nb import process, tools
from unibeam_nb.errors import MachineError
from unibeam_nb.jsonable import dump, from_json, loads
from unibeam_nb.machine import children, docker_arguments, proc
from unibeam_nb.machine.docker_arguments import Places
from unibeam_nb.machine.podman import run_directory
from unibeam_nb.machine.podman_arguments import BRIDGE_NAME
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.private import private
from unibeam_nb.progress import checkpoint, note, step
from unibeam_nb.store import Store, digest, write_atomically

PATIENCE = 30.0
RECORD, TEMPORARY = "daemon.json", "tmp"
USUAL = Path("/var/run/docker.sock")


@dataclass(frozen=True)
class Engine:
    """A daemon that answers. ``address`` is empty for the user's own, which docker finds by itself; ``process`` is the
    one that stands for ours."""

    address: str = ""
    process: ProcessId | None = None

    def command(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """docker's command line."""
        return (str(tools.find("docker")), *(("--host", self.address) if self.address else ()), *words)

    @property
    def own(self) -> bool:
        return bool(self.address)


def obstacle() -> str | None:
    """Why there can be no daemon, or None; told without starting anything."""
    if _usual_socket() or (os.geteuid() == 0 and tools.locate("dockerd")):
        return None
    if os.geteuid() == 0:
        return f"No docker daemon runs here, and there is none to start: {tools.install_command('dockerd')}"
    return ("No docker daemon runs here that you may use, and only root may start one: "
            "sudo systemctl start docker; sudo usermod -aG docker $USER")


def _usual_socket() -> bool:
    """Whether a daemon is told of, or its socket is where it usually is and may be used."""
    return "DOCKER_HOST" in os.environ or os.access(USUAL, os.R_OK | os.W_OK)


def answers() -> bool:
    """Whether the user's own daemon answers."""
    if not _usual_socket():
        return False
    words = Engine().command(("version", "--format", "{{.Server.Version}}"))
    return process.run(words, timeout=30, check=False).code == 0


def engine(store: Store) -> Engine:
    """The daemon to use, started where it has to be. Raises MachineError, ToolMissing."""
    tools.find("docker")
    if (ours := running(store)) is not None:
        return ours
    if answers():
        return Engine()
    if (why := obstacle()) is not None or os.geteuid() != 0:
        message, _, hint = (why or "No docker daemon answers: sudo systemctl start docker").partition(": ")
        raise MachineError(message.rstrip(".") + ".", hint)
    return _start(store)


def places(store: Store) -> Places:
    """Where a daemon for this cache keeps things."""
    home = store.cache / "docker"
    return Places(home / "root", run_directory(home))


def running(store: Store) -> Engine | None:
    """Our own daemon for this cache, if it runs."""
    try:
        found = from_json(ProcessId, loads((store.cache / "docker" / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return Engine(places(store).address, found) if found.alive else None


def _start(store: Store) -> Engine:
    own, home = places(store), private(private(store.cache) / "docker")
    with FileLock(str(home / ".lock")):
        if (ours := running(store)) is not None:
            return ours
        _end_unrecorded(own)
        # Of one that was killed. Its number is that of its own PID namespace, where another process has it by now.
        docker_arguments.pidfile(own).unlink(missing_ok=True)
        configuration = home / "daemon-configuration.json"
        configuration.write_text("{}\n")
        # A daemon that has to be killed writes down what it was at (moby's and containerd's "stacks").
        temporary = _emptied(home / TEMPORARY)
        with step("Starting a docker daemon"), (home / "daemon.log").open("wb") as log:
            child = process.spawn(docker_arguments.daemon(tools.find("dockerd"), own, configuration), stdout=log,
                                  cwd=home, env={"TMPDIR": str(temporary)})
            children.adopt(child)
            found = proc.identify(child.pid)
            try:
                ours = Engine(own.address, found)
                ends = time.monotonic() + PATIENCE
                while process.run(ours.command(("version",)), timeout=30, check=False).code != 0:
                    checkpoint()
                    if child.poll() is not None or time.monotonic() > ends:
                        told = (home / "daemon.log").read_text(errors="replace").splitlines()
                        raise MachineError("The docker daemon did not start.", "Use another runner, such as podman.",
                                           told[-4:])
                    time.sleep(0.05)
                assert found is not None
                write_atomically(home / RECORD, dump(found))
            except BaseException:
                _end(found)
                raise
        note("A docker daemon of unibeam's own was started, since none runs here; 'unibeam clean' ends it.")
    return ours


def _emptied(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    return path


def bridge(store: Store, ours: Engine) -> str:
    """The bridge of our own daemon, made on first use; it goes with the daemon."""
    with FileLock(str(store.cache / "docker" / ".lock")):
        known = process.run(ours.command(("network", "inspect", BRIDGE_NAME)), timeout=30, check=False)
        if known.code != 0:
            process.run(ours.command(docker_arguments.make_bridge(BRIDGE_NAME, device(store))), timeout=30)
    return BRIDGE_NAME


def device(store: Store) -> str:
    """What the host calls that bridge: at most 15 characters, and no other store's."""
    return f"unibeam{digest(str(store.cache.absolute()))[:8]}"


def _end(keeper: ProcessId | None) -> bool:
    """End a daemon: asked first, then killed with everything in its namespaces."""
    if keeper is None:
        return True
    asked = [one for one in proc.descendants(keeper) if "--exec-root" in proc.command_line(one)
             and Path(proc.command_line(one)[0]).name == "dockerd"]
    return proc.end(asked, lambda: [keeper, *proc.descendants(keeper)], grace=5.0,
                    reap=lambda: children.reap(keeper.pid))


def _end_unrecorded(own: Places) -> bool:
    """End the daemon of a process that was killed before it could note which one it is; whether there was one, and it
    has ended."""
    ended = [_end(one) for one in proc.everything() if _keeps(proc.command_line(one), own)]
    return bool(ended) and all(ended)


def _keeps(words: list[str], own: Places) -> bool:
    """Whether a process with this command line stands for the daemon of these places: it has its namespaces made."""
    return bool(words) and Path(words[0]).name == "unshare" and str(own.root) in words and own.address in words


def end(store: Store) -> bool:
    """End our own daemon, unless containers of it still run; whether there was one and it has ended."""
    home = store.cache / "docker"
    if not home.is_dir():
        return False
    with FileLock(str(home / ".lock")):
        ours = running(store)
        if ours is None:
            return _end_unrecorded(places(store))
        left = process.run(ours.command(("ps", "--quiet")), timeout=30, check=False)
        if left.code == 0 and left.stdout.strip():
            return False
        process.run(ours.command(("network", "rm", BRIDGE_NAME)), timeout=30, check=False)
        ended = _end(ours.process)
        (home / RECORD).unlink(missing_ok=True)
        shutil.rmtree(places(store).run / "exec", ignore_errors=True)
        return ended
