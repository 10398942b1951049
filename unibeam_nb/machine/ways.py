"""How containers work on this host: tried out once per host boot and remembered, never assumed.

Hosts differ. crun refuses one whose cgroup v2 tree, mounted beside v1 controllers, owns a controller too; it works in
a private mount namespace where that tree is out of sight. Without the right to write cgroups it works with
cgroups switched off, and then without a memory limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from unibeam_nb.arms import RUNNERS_OF, Arm
from unibeam_nb.errors import MachineError
from unibeam_nb.jsonable import from_json, loads, to_json
from unibeam_nb.machine.proc import boot_id
from unibeam_nb.progress import step
from unibeam_nb.store import Store, write_atomically


def container_name(machine_id: str) -> str:
    """What the container of a machine is called."""
    return f"unibeam-{machine_id}"


def trial_name(machine_id: str) -> str:
    """What the container is called by which a way to run that of a machine is tried out."""
    return f"{container_name(machine_id)}-trial"


CGROUPS = Path("/sys/fs/cgroup")
UNIFIED = CGROUPS / "unified"


@dataclass(frozen=True)
class Way:
    """One way to run a container: with ``/sys/fs/cgroup/unified`` out of sight (``cover``), with cgroups, and with a
    copied root where an overlay cannot be mounted (``copy``)."""

    cover: bool = False
    cgroups: bool = True
    copy: bool = False


def candidates(copies: bool, unified: bool | None = None) -> list[Way]:
    """The ways worth trying, best first: first those that keep what a container is."""
    covers = (False, True) if (UNIFIED.is_dir() if unified is None else unified) else (False,)
    return [Way(cover, cgroups, copy) for copy in ((False, True) if copies else (False,))
            for cgroups in (True, False) for cover in covers]


def settle(store: Store, runtime: Path, ways: Iterable[Way], attempt: Callable[[Way], str | None]) -> Way:
    """The first way that works, remembered for this host boot and this version of ``runtime``.

    ``attempt`` runs a container that ends by itself and returns None, or why it failed.
    Raises MachineError when none works.
    """
    path = _file(store, runtime)
    with FileLock(f"{path}.lock"):
        if (known := remembered(store, runtime)) is not None:
            return known
        reasons: list[str] = []
        with step(f"Trying out how {runtime.name} works on this host"):
            for way in ways:
                reason = attempt(way)
                if reason is None:
                    write_atomically(path, json.dumps({"identity": _identity(runtime), "way": to_json(way)}))
                    return way
                reasons.append(reason)
    raise MachineError(f"{runtime.name} cannot run a container on this host.",
                       "Use another runner (--on qemu or --on process); 'unibeam doctor' says what this host can do.",
                       list(dict.fromkeys(reasons)))


def remembered(store: Store, runtime: Path) -> Way | None:
    """The way that was found to work, or None when none was tried on this host boot."""
    try:
        data = loads(_file(store, runtime).read_text(encoding="utf-8"))
        return from_json(Way, data["way"]) if data["identity"] == _identity(runtime) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def limited(store: Store, arm: Arm) -> bool:
    """Whether the memory of a machine on this arm is limited: not on the bare host, nor where cgroups do not work."""
    from unibeam_nb import tools

    if arm.runner == "docker":
        return True
    if arm.target == "oci":
        way = remembered(store, tools.find(arm.runner))
        return way is not None and way.cgroups
    return arm.runner in RUNNERS_OF["linux"]


def _file(store: Store, runtime: Path) -> Path:
    return store.directory("hosts") / f"{runtime.name}.json"


def _identity(runtime: Path) -> list[object]:
    from unibeam_nb import tools

    with tools.needing(runtime.name):
        return [boot_id(), str(runtime), runtime.stat().st_mtime_ns, os.geteuid()]


def private_mounts(commands: Iterable[str]) -> tuple[str, ...]:
    """The words that put a command into a mount namespace of its own in which ``commands`` (mount(8), umount(8)) were
    run. Everything mounted there is gone with the last process in it; nothing can be left behind.
    Without root, a user namespace in which the user is root comes first."""
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return ("unshare", *user, "--mount", "--propagation", "private", *in_shell(commands))


def in_shell(commands: Iterable[str]) -> tuple[str, ...]:
    """The words that run ``commands`` and then become the words that follow."""
    return ("sh", "-c", " && ".join([*commands, 'exec "$@"']), "sh")


COVER = f"mount -t tmpfs -o size=64k,mode=755 cover {UNIFIED}"
"""The command that puts an empty directory over the v2 tree. It is writable, since crun makes directories in it all
the same; unmounting the tree instead would leave those on the host."""


def remove_cgroup(name: str, patience: float = 5.0) -> None:
    """Remove the empty cgroup ``name`` with those below it, in every hierarchy: runtimes leave some behind when
    they fail. One that still holds processes after ``patience`` seconds stays: the kernel takes a moment to let go of
    those that have ended."""
    ends = time.monotonic() + patience
    while not _without(name) and time.monotonic() < ends:
        time.sleep(0.01)


def _without(name: str) -> bool:
    """Try to remove them; whether they are gone."""
    for top in (CGROUPS, *(path for path in CGROUPS.iterdir() if path.is_dir())) if CGROUPS.is_dir() else ():
        for directory in sorted((top / name).rglob("*"), reverse=True) if (top / name).is_dir() else ():
            if directory.is_dir():
                with contextlib.suppress(OSError):
                    directory.rmdir()
        with contextlib.suppress(OSError):
            (top / name).rmdir()
    return not (CGROUPS / name).exists() and not any(CGROUPS.glob(f"*/{name}"))
