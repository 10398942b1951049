"""Containers that go on from where they were stopped, by CRIU (criu(8)) under runc or crun: the option ``+restore``.

For each machine the container is first run as any other until it is ready, then written to disk, which ends it; none of
that is timed. What is timed is the restore. A checkpoint is restored once and in the same place, so nothing in it has
to be told apart from a copy: neither random numbers nor names nor the nonce.

CRIU depends on the very kernel, so it counts only after it has kept and restored a process here that listens. A
container's standard streams go through pipes, the one kind of file outside it that a runtime hands over on restore.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from unibeam_nb import process, tools
from unibeam_nb.errors import MachineError, UnibeamError
from unibeam_nb.jsonable import dump, from_json, loads
from unibeam_nb.machine import children, proc
from unibeam_nb.machine.marks import MarkReader
from unibeam_nb.machine.options import Seat
from unibeam_nb.machine.proc import PROC, ProcessId, boot_id
from unibeam_nb.model import READY
from unibeam_nb.progress import checkpoint, step
from unibeam_nb.store import Store, write_atomically

KEPT, RESTORED = "checkpoint", "restored.pid"
"""In a machine's directory: what CRIU wrote, and the pid that the runtime tells once the container runs again."""

CONFIGURATION = "criu.conf"
"""CRIU's own configuration (criu(8)), which a bundle's annotation names: the cgroup is the runtime's to make."""

BEFORE = "before.log"
"""The console of the container before it was kept."""

PIPED = '"$@" 2>&1 </dev/null | cat >' + BEFORE

LISTENING = ("import pathlib, socket, time; door = socket.create_server(('127.0.0.1', 0)); "
             "pathlib.Path('listening').touch(); time.sleep(600)")
"""A program with what every server has and an older CRIU may not know of a newer kernel: a socket that listens."""

TRIAL = ('setsid "$1" -I -S -c "$2" </dev/null >/dev/null 2>&1 & kept=$!; '
         'until [ -e listening ]; do sleep 0.05; done; '
         '"$0" dump --tree $kept --images-dir . --manage-cgroups=ignore && '
         '"$0" restore --images-dir . --restore-detached --manage-cgroups=ignore && kill $kept')
"""Keeps and restores one process; run in a PID namespace, where its number is free again."""


@dataclass(frozen=True)
class Proof:
    """Whether CRIU restored a process on this host, and if not, why, as a sentence."""

    works: bool
    reason: str = ""


def known(store: Store) -> Proof | None:
    """What was found on this host boot with this CRIU, or None when nothing was tried yet."""
    program = tools.locate("criu")
    try:
        data = loads(_file(store).read_text(encoding="utf-8"))
        return from_json(Proof, data["proof"]) if program and data["identity"] == _identity(program) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def prove(store: Store) -> Proof:
    """Let CRIU keep and restore a tiny process, once per host boot. Raises ToolMissing without CRIU."""
    program = tools.find("criu")
    with FileLock(f"{_file(store)}.lock"):
        if (found := known(store)) is not None:
            return found
        with step("Trying out CRIU on this host"):
            found = _tried(store, program)
        write_atomically(_file(store), json.dumps({"identity": _identity(program), "proof": loads(dump(found))}))
    return found


def is_root() -> bool:
    """Whether this user may do anything on this host."""
    return os.geteuid() == 0


def _tried(store: Store, program: Path) -> Proof:
    if not is_root():
        return Proof(False, "Only root may let CRIU restore a container.")
    with store.scratch() as scratch:
        try:
            done = process.run((tools.find("unshare"), "--mount", "--propagation", "private", "--pid", "--fork",
                                "--mount-proc", "--kill-child", "sh", "-c", TRIAL, program, sys.executable, LISTENING),
                               cwd=scratch, timeout=30, check=False)
        except UnibeamError as error:
            return Proof(False, error.message)
    if done.code == 0:
        return Proof(True)
    # It goes on where it may not raise its own limits, and says so first.
    told = [line for line in (done.stderr + done.stdout).splitlines()
            if line.startswith("Error") and "rlimit: " not in line]
    why = told[0].partition("): ")[2] or told[0] if told else f"exit status {done.code}"
    return Proof(False, f"CRIU {tools.version('criu')} cannot restore a process on this kernel ({why.rstrip('.')}).")


def _file(store: Store) -> Path:
    return store.directory("hosts") / "criu.json"


def _identity(program: Path) -> list[object]:
    return [boot_id(), str(program), program.stat().st_mtime_ns, os.geteuid()]


def obstacle(store: Store, runtime: str) -> str | None:
    """Why ``runtime`` cannot restore a container here, as one sentence, or None. The first time CRIU is tried out."""
    if tools.locate("criu") is None:
        return f"criu is not on this host: {tools.install_command('criu')}"
    if runtime == "crun":
        told = process.run((tools.find("crun"), "--version"), timeout=30, check=False).stdout
        if "+CRIU" not in told:
            return "This crun was built without CRIU: use runc."
    found = prove(store)
    return None if found.works else found.reason


def keep(seat: Seat, words: Callable[[tuple[str, ...]], tuple[str, ...]], program: Path, name: str,
         flags: tuple[str, ...]) -> None:
    """Run the container of ``seat`` until it is ready and write it to disk, in the seat's directory.

    ``words`` makes a command of the runtime's into a whole command line, ``program`` is the runtime, ``flags`` what it
    wants to be told besides.
    """
    (seat.directory / CONFIGURATION).write_text("manage-cgroups ignore\n")
    with step(f"Keeping {seat.name} at its ready mark"):
        child = process.spawn(("sh", "-c", PIPED, "sh", *words(("run", name))), cwd=seat.directory)
        children.adopt(child)
        shell = proc.identify(child.pid)
        try:
            _until_ready(seat, lambda: child.poll() is None)
            inside = _first_inside(shell, program)
            done = process.run(("nsenter", f"--mount=/proc/{inside.pid}/ns/mnt", "sh", "-c", 'cd "$0" && exec "$@"',
                                seat.directory, program, "--root", "runtime", *checkpoint_words(name, flags)),
                               timeout=60, check=False)
            if done.code != 0:
                raise MachineError(f"{seat.name} cannot be kept by CRIU.", "Does it hold files or connections outside "
                                   "its container? Leave out +restore.", _told(seat, done.stderr))
        finally:
            if shell is not None:
                proc.end(proc.descendants(shell)[-1:], lambda: [shell, *proc.descendants(shell)],
                         reap=lambda: children.reap(child.pid), grace=0.2 if child.poll() is None else 0.0)


def checkpoint_words(name: str, flags: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What asks a runtime to write a container to disk and end it."""
    return ("checkpoint", "--image-path", KEPT, "--work-path", KEPT, "--ext-unix-sk", *flags, name)


def restore_words(name: str, flags: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What asks a runtime to go on with it."""
    return ("restore", "--image-path", KEPT, "--work-path", KEPT, "--ext-unix-sk", *flags, "--bundle", ".",
            "--pid-file", RESTORED, name)


def restored(directory: Path, alive: Callable[[], bool], patience: float = 60.0) -> float | None:
    """Wait for the container to run again: the host's monotonic clock then, or None when it will not."""
    ends = time.monotonic() + patience
    while not (directory / RESTORED).exists():
        if not alive() or time.monotonic() > ends:
            return None
        checkpoint()
        time.sleep(0.001)
    return time.monotonic()


def _until_ready(seat: Seat, alive: Callable[[], bool]) -> None:
    reader, log, read = MarkReader(seat.nonce, time.monotonic()), seat.directory / BEFORE, 0
    ends = time.monotonic() + seat.options.deadline
    while not any(mark in reader.marks for mark in READY):
        data = log.read_bytes()[read:] if log.exists() else b""
        read += len(data)
        for _ in reader.feed(data, time.monotonic()):
            pass
        if not alive() or time.monotonic() > ends:
            raise MachineError(f"{seat.name} did not get ready to be kept.", "Boot it without +restore to see why.",
                               _told(seat, ""))
        checkpoint()
        time.sleep(0.005)


def _first_inside(shell: ProcessId | None, program: Path) -> ProcessId:
    """The runtime's own process below the shell, in whose mount namespace the container's root is mounted."""
    for one in proc.descendants(shell) if shell else []:
        words = proc.command_line(one)
        if words and Path(words[0]).name == program.name and (PROC / str(one.pid)).exists():
            return one
    raise MachineError("The container to be kept is gone.", "Boot it without +restore to see why.")


def _told(seat: Seat, errors: str) -> list[str]:
    log = seat.directory / BEFORE
    console = log.read_text(errors="replace").splitlines() if log.exists() else []
    own = sorted((seat.directory / KEPT).glob("*.log"))
    criu = [line for path in own for line in path.read_text(errors="replace").splitlines() if "Error" in line]
    return [*errors.splitlines()[-2:], *criu[-3:], *console[-3:]]
