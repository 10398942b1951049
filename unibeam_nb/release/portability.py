"""What a release does that not every kind of image can carry, and what becomes of it there. Pure.

The table below says for each kind of finding and each target whether it works, and why; the integration tests make the
calls on real machines and hold the table against what happens. A ``linux`` image behaves alike on QEMU, Xen and
Firecracker: its kernel is Linux and its only program the BEAM.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from unibeam_nb.errors import UsageError
from unibeam_nb.model import Finding

PLACES = ("linux", "osv", "xen", "oci", "oci+slim", "release")
"""Where a release may run, as ``check --target`` takes it; ``xen`` is a linux image there, ``oci`` one from scratch."""

WORKS, CARE, FAILS = "works", "with care", "fails"

_LINUX: dict[str, tuple[str, str]] = {
    "port": (CARE, "the program must be in the release, with all it needs: there is no other"),
    "os-cmd": (FAILS, "there is no shell in the image: os:cmd/1 answers with nothing"),
    "executable": (CARE, "it runs, if it needs no shell and no further programs"),
    "nif": (WORKS, "the emulator loads it as on any Linux; a lean emulator loads none"),
    "lookup": (WORKS, "inet_gethost is in the image; the name server is that of the network"),
    "distribution": (CARE, "there is no epmd: nodes find each other by a fixed port"),
    "disk": (CARE, "files live in memory and are gone when the machine ends"),
}

_OSV: Mapping[str, tuple[str, str]] = {
    "port": (FAILS, "OSv has one process: open_port/2 raises enosys, and the node lives on"),
    "os-cmd": (FAILS, "OSv has one process: os:cmd/1 raises badarg with the cause enosys"),
    "executable": (FAILS, "OSv cannot start a second program"),
    "nif": (WORKS, "the library is loaded by the dynamic linker in the image"),
    "lookup": (WORKS, "Erlang asks the name server itself, since inet_gethost cannot be started"),
    "distribution": (CARE, "there is no epmd: nodes find each other by a fixed port"),
    "disk": (CARE, "only below /tmp and the home directory, in memory, gone when the machine ends"),
}

_SCRATCH: dict[str, tuple[str, str]] = _LINUX | {
    "lookup": (WORKS, "inet_gethost is in the image; the name server is the container's"),
    "disk": (CARE, "files live in the container's own layer or memory and are gone with it"),
}

_SLIM: Mapping[str, tuple[str, str]] = _SCRATCH | {
    "port": (CARE, "the program must be in the image: Debian's essential ones are"),
    "os-cmd": (WORKS, "the image has Debian's shell"),
    "executable": (WORKS, "the image has Debian's shell and C library"),
}

_HOST: Mapping[str, tuple[str, str]] = dict.fromkeys(_LINUX, (WORKS, "the host is around it")) | {
    "distribution": _LINUX["distribution"]}  # The release brings no epmd, and whether the host runs one is not known.

BECOMES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "linux": _LINUX, "osv": _OSV, "xen": _LINUX, "oci": _SCRATCH, "oci+slim": _SLIM, "release": _HOST}


@dataclass(frozen=True)
class Verdict:
    """A finding, and what becomes of it in one place: ``works``, ``with care`` or ``fails``, and why."""

    finding: Finding
    outcome: str
    reason: str


def verdicts(findings: Iterable[Finding], place: str) -> tuple[Verdict, ...]:
    """What becomes of each finding there, failures first. Notes stand for themselves and are left out.

    Raises UsageError for a place that is none.
    """
    if place not in BECOMES:
        raise UsageError(f"{place!r} is not a target that can be checked.", f"The targets are {', '.join(PLACES)}.")
    table = BECOMES[place]
    found = [Verdict(f, *table[f.kind]) for f in findings if f.kind in table]
    return tuple(sorted(found, key=lambda v: (FAILS, CARE, WORKS).index(v.outcome)))
