"""What the host's ``/proc`` tells about processes (proc_pid_stat(5), proc_pid_smaps(5)), and how to end them.

A process is named by its pid together with its start time in clock ticks since the host booted: a pid alone
may by now belong to somebody else, and killing that would be a crime.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.progress import hurried

PROC = Path("/proc")

GRACE = 1.6
"""Seconds between asking and killing. An emulator asked by SIGTERM shuts down in order, which takes it one second."""

HURRIED = 0.2
"""The same where the user stopped the boot and waits: what has not come up has nothing to lose."""

STANDS = 0.5
"""Seconds within which a process that is told to stop does, unless a disk keeps it waiting."""


@dataclass(frozen=True)
class ProcessId:
    """A process that cannot be mistaken for another one. ``host`` is the host's boot id."""

    pid: int
    ticks: int
    host: str = ""

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; one that ended and was not waited for does not."""
        return self.host in ("", boot_id()) and _ticks(self.pid) == self.ticks


def boot_id() -> str:
    """The host kernel's name for its current boot (random(4))."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> ProcessId | None:
    """The process with this pid, or None when there is none that runs."""
    ticks = _ticks(pid)
    return None if ticks is None else ProcessId(pid, ticks, boot_id())


def _stat(task: int | str) -> list[str]:
    """The fields of /proc/TASK/stat from the third on (the second may contain anything, in parentheses); TASK is a pid,
    or ``PID/task/TID``."""
    try:
        return (PROC / str(task) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _runs(fields: list[str]) -> bool:
    """Whether they are of a process that has not ended: its main thread may have, a while before the others."""
    return bool(fields) and (fields[0] not in "ZXx" or int(fields[17]) > 1)


def _ticks(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[19]) if _runs(fields) else None


def descendants(parent: ProcessId) -> list[ProcessId]:
    """All running processes below ``parent``, itself not included.

    None when ``parent`` is gone: whatever has its pid by then, and everything below that, belongs to somebody
    else. None below init either, since that is everything on the host.
    """
    if parent.pid <= 1 or not parent.alive:
        return []
    children: dict[int, list[ProcessId]] = {}
    for entry in PROC.iterdir():
        # Parent and start time come from one reading, so that a pid that changes hands meanwhile is not mistaken.
        if entry.name.isdecimal() and _runs(fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(ProcessId(int(entry.name), int(fields[19]), parent.host))
    found: list[ProcessId] = []
    queue = [parent.pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += [process.pid for process in below]
    return sorted(found, key=lambda process: process.pid) if parent.alive else []


def cpu_seconds(processes: Iterable[ProcessId]) -> float:
    """The processor time in seconds that the living threads of these processes have had so far, to the nanosecond
    (``/proc/PID/task/TID/schedstat``, the kernel's scheduler/sched-stats.rst)."""
    total = 0
    for process in processes:
        if process.alive:
            for task in _listed(PROC / str(process.pid) / "task"):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def threads(process: ProcessId) -> list[int]:
    """The ids of a process's threads; none when it is gone."""
    return [int(task.name) for task in _listed(PROC / str(process.pid) / "task")] if process.alive else []


def _listed(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def untouchable() -> set[int]:
    """The pids that are never signalled, whatever a record says: init, this process, and all above it."""
    found, pid = {0, 1}, os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        fields = _stat(pid)
        pid = int(fields[1]) if fields else 0
    return found


def command_line(process: ProcessId) -> list[str]:
    """The words a process was started with; none when it is gone or another user's."""
    try:
        words = (PROC / str(process.pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return [word.decode(errors="replace") for word in words[:-1]] if process.alive else []


def everything() -> list[ProcessId]:
    """All processes that run."""
    found = (identify(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdecimal())
    return [process for process in found if process]


def ancestors(process: ProcessId) -> list[ProcessId]:
    """The processes above this one, the nearest first, init not included."""
    found: list[ProcessId] = []
    fields = _stat(process.pid)
    while fields and int(fields[1]) > 1 and (parent := identify(int(fields[1]))) is not None:
        found.append(parent)
        fields = _stat(parent.pid)
    return found


def with_variable(name: str, value: str) -> list[ProcessId]:
    """The running processes that were started with ``name=value`` in their environment, as far as we may look."""
    wanted = f"{name}={value}".encode()
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(identify(int(entry.name)))
    return [process for process in found if process]


def send(process: ProcessId, number: signal.Signals) -> None:
    """Send a signal to this very process, if it still runs and is ours to signal.

    The pidfd is opened first and the process looked at then: what is signalled is what was looked at, even if
    the pid changes hands in between (pidfd_open(2)).
    """
    if process.pid in untouchable():
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        handle = os.pidfd_open(process.pid)
        try:
            if process.alive:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def end(first: Iterable[ProcessId], rest: Callable[[], Iterable[ProcessId]] = tuple, *,
        grace: float | None = None, patience: float = 3.0, reap: Callable[[], object] = lambda: None) -> bool:
    """End processes: ask ``first`` with SIGTERM, after ``grace`` seconds kill them, and then ``rest()`` too.

    ``grace`` is GRACE unless given, or HURRIED where the user waits for stopped work.

    ``rest`` is asked both before and after, since a dead parent's children cannot be found any more. ``reap``
    is called while waiting, for children of our own. Returns whether all are gone ``patience`` seconds after the kill.
    """
    asked = list(first)
    others = list(rest())
    for process in asked:
        send(process, signal.SIGTERM)
    wait(asked, (HURRIED if hurried() else GRACE) if grace is None else grace, reap)
    return kill([*asked, *others], rest, patience=patience, reap=reap)


def kill(first: Iterable[ProcessId], rest: Callable[[], Iterable[ProcessId]] = tuple, *, patience: float = 3.0,
         reap: Callable[[], object] = lambda: None) -> bool:
    """Kill ``first`` and ``rest()``. Returns whether all are gone ``patience`` seconds later.

    All stand still before they are killed, and ``rest`` is asked until it finds no more: what one of them starts just
    when it is killed would have no parent any more by which it could be found, and a fork that has begun when the
    signal comes is finished first.
    """
    doomed: dict[ProcessId, None] = {}
    while found := [process for process in (*first, *rest()) if process not in doomed]:
        for process in found:
            send(process, signal.SIGSTOP)
        ends = time.monotonic() + STANDS
        while not all(map(_stands, found)) and time.monotonic() < ends:
            time.sleep(0.001)
        doomed |= dict.fromkeys(found)
    for process in doomed:
        send(process, signal.SIGKILL)
    return wait(doomed, patience, reap)


def _stands(process: ProcessId) -> bool:
    """Whether no thread of a process runs: all are stopped, or gone."""
    known = (_stat(f"{process.pid}/task/{thread}") for thread in threads(process))
    return all(not fields or fields[0] in "TtZXx" for fields in known)


def wait(processes: Iterable[ProcessId], seconds: float, reap: Callable[[], object] = lambda: None) -> bool:
    """Wait until none of the processes runs; whether that came within ``seconds``."""
    ends = time.monotonic() + seconds
    while True:
        reap()
        if not any(process.alive for process in processes):
            reap()  # What ended between the two lines above would stay a zombie.
            return True
        if time.monotonic() >= ends:
            return False
        time.sleep(0.005)
