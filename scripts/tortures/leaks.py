"""What may not be there any more: looked for everywhere that unibeam leaves things while it works."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.jsonable import from_json
from unibeam_nb.machine.snapshot import MANIFEST, RAM, STATE
from unibeam_nb.machine.snapshot_facts import Manifest
from unibeam_nb.store import Store, digest_file, digest_tree

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")

NOT_ENTRIES = ("tmp", "podman", "docker", "hosts", "snapshots", "apt", "kernels", "sources", "erts", "erts-sources",
               "bases", "libraries")
"""Directories of the cache that the store does not fill entry by entry, and those that all cases share."""

LINGERS = ("machine/ring.py", "dockerd", "containerd")
"""Who keeps consoles short, and a docker daemon of our own, which the next machine finds again."""


@dataclass(frozen=True)
class Traces:
    """What is there besides files, at one moment."""

    processes: frozenset[str]
    mounts: frozenset[str]
    links: frozenset[str]
    cgroups: frozenset[str]


def look() -> Traces:
    """Everything of this process's namespaces; control groups have none here, and are told by our name."""
    return Traces(frozenset(_processes()), frozenset(_mounts()),
                  frozenset(path.name for path in Path("/sys/class/net").iterdir()), frozenset(_cgroups()))


def _processes() -> list[str]:
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found.append(f"{entry.name} {words[:160]}")
    return found


def _mounts() -> list[str]:
    return [" ".join(line.split()[3:5]) for line in (PROC / "self/mountinfo").read_text().splitlines()]


def _cgroups() -> list[str]:
    return [str(path) for pattern in ("unibeam-*", "*/unibeam-*") for path in CGROUPS.glob(pattern)
            if not _others(path)]


def _others(cgroup: Path) -> bool:
    """Whether a control group has processes of other PID namespaces, so that it is not of this case: version 2 tells
    them as 0, version 1 not at all, but counts them."""
    with contextlib.suppress(OSError):
        if any("0" in procs.read_text().split() for procs in cgroup.rglob("cgroup.procs")):
            return True
        return any(int(count.read_text()) > len(count.with_name("tasks").read_text().split())
                   for count in (CGROUPS / "pids" / cgroup.name).rglob("pids.current"))
    return False


def left(before: Traces, store: Store, temporary: Path, *, lingers: bool = False) -> list[str]:
    """One line for each thing that is there and was not ``before``, or lies in ``store`` or ``temporary`` and should
    not. :data:`LINGERS` may where nobody has cleaned up (``lingers``)."""
    now = look()
    lines = [f"{kind}: {thing}" for kind in ("processes", "mounts", "links", "cgroups")
             for thing in sorted(getattr(now, kind) - getattr(before, kind))
             if not (lingers and any(word in thing for word in LINGERS))]
    machines = store.state / "machines"
    if machines.is_dir():
        lines += [f"machine: {path.name}" for path in machines.iterdir() if path.is_dir()]
    if (store.cache / "tmp").is_dir():
        lines += [f"half-made: {path}" for path in (store.cache / "tmp").iterdir()]
    for root in (store.state, store.cache):
        lines += [f"unfinished file: {path}" for path in root.rglob(".*.part")]
    lines += [f"temporary: {path}" for path in temporary.iterdir() if not stays(path)]
    for root in (store.state, temporary):
        lines += [f"socket: {path}" for path in root.rglob("*") if path.is_socket()]
    return lines


def stays(path: Path) -> bool:
    """An engine's own state goes with the host's boot, like its images with the cache; the place for building is
    empty."""
    if path.name.startswith("unibeam-build"):
        return not any(path.iterdir())
    return path.name.startswith(f"unibeam-{os.geteuid()}-")


def entries(cache: Path) -> dict[str, str]:
    """The digest of every entry of a cache, by kind and key."""
    found = {}
    for kind in sorted(cache.iterdir()) if cache.is_dir() else ():
        if kind.is_dir() and kind.name not in NOT_ENTRIES:
            for entry in sorted(kind.iterdir()):
                if entry.is_dir():
                    found[f"{kind.name}/{entry.name}"] = digest_tree(entry)
    return found


def damaged(cache: Path, whole: dict[str, str]) -> list[str]:
    """One line for each entry of ``cache`` that is not what it is where nobody interrupted its making (``whole``);
    snapshots, no two of which are equal, are held against their own manifest."""
    lines = [f"entry: {name} differs from a whole one" for name, found in entries(cache).items()
             if name in whole and whole[name] != found]
    snapshots = cache / "snapshots"
    for entry in sorted(snapshots.iterdir()) if snapshots.is_dir() else ():
        if entry.is_dir():
            try:
                manifest = from_json(Manifest, json.loads((entry / MANIFEST).read_text()))
                good = digest_file(entry / RAM) == manifest.ram.sha256 and \
                    digest_file(entry / STATE) == manifest.state.sha256
            except (OSError, ValueError) as error:
                good = False
                lines.append(f"snapshot: {entry.name}: {error}")
            if not good:
                lines.append(f"snapshot: {entry.name} is not what its manifest says")
    return lines
