"""How an arm of a comparison is written, ``target[+option...]@runner``, and which of them there are.

The tables below are the only place that knows which words exist; help, errors and Tab completion read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from unibeam_nb.errors import UsageError

TARGETS = ("linux", "disk", "osv", "oci", "release")
"""Kinds of image; ``release`` is the bare release, which only the ``process`` runner takes."""

FLAVOURS = ("scratch", "slim", "full")
"""Flavours of the ``oci`` target: release + libraries only, a minimal Debian root below them, or one with the
distribution's whole Erlang."""

RUNNERS = ("qemu", "uml", "xen", "firecracker", "podman", "docker", "crun", "runc", "runsc", "process")

LINKED = ("xen", "firecracker")
"""The runners whose machines are on a network link of their own to this host, and answer there at an address of their
own instead of through ports of 127.0.0.1."""

INITRAMFS = "initramfs"
"""The option of a tiny linux image whose root is unpacked into memory at every boot instead of read from a disk."""

CLOUDINIT = "cloudinit"
"""The option of a linux image that reads user data when it boots, as a disk image always does."""

RESUME = "resume"
"""The option of an arm whose machines are copies of one that was up already, and the mark of such a copy."""

RESTORE = "restore"
"""The option of a container that CRIU restores at its ready mark: the rival of a resumed machine."""

PV = "pv"
"""The option of a machine on Xen that uses the hypervisor's own calls instead of the processor's virtualisation."""

BRIDGE = "bridge"
"""The option of a container that is on a bridge, with its ports published on 127.0.0.1, instead of on the host's own
network."""


@dataclass(frozen=True)
class Arm:
    """One thing being compared, written ``target[+option...]@runner``: ``oci+slim@podman``."""

    target: str
    options: tuple[str, ...]
    runner: str

    @classmethod
    def parse(cls, text: str) -> Arm:
        """Read an arm. Raises UsageError with what would have been right."""
        found = re.fullmatch(r"([a-z]+)((?:\+[a-z0-9]+)*)@([a-z]+)", text.strip())
        example = "Write target[+option...]@runner, for example linux@qemu, oci+slim@podman or release@process."
        if not found:
            raise UsageError(f"{text.strip()!r} is not an arm.", example)
        target, options, runner = found[1], tuple(found[2].split("+")[1:]), found[3]
        if target not in TARGETS:
            raise UsageError(f"{text.strip()!r} names the unknown target {target!r}.",
                             f"The targets are {', '.join(TARGETS)}.")
        if runner not in RUNNERS:
            raise UsageError(f"{text.strip()!r} names the unknown runner {runner!r}.",
                             f"The runners are {', '.join(RUNNERS)}.")
        if runner not in RUNNERS_OF[target]:
            raise UsageError(f"{runner} cannot run a {target} image.",
                             f"{target} runs on {', '.join(RUNNERS_OF[target])}.")
        known = options_of(target)
        elsewhere = [option for option in options if runner not in ONLY_ON.get(option, RUNNERS)]
        if elsewhere and elsewhere[0] in known:
            raise UsageError(f"{runner} has no option {elsewhere[0]!r}.",
                             f"It is for {', '.join(ONLY_ON[elsewhere[0]])} only.")
        for option in options:
            if option not in known:
                raise UsageError(f"{text.strip()!r} has the unknown option {option!r}.",
                                 f"Options of {target} are {', '.join(known)}." if known
                                 else f"The target {target} takes no options.")
        flavours = [option for option in options if option in FLAVOURS]
        if len(flavours) > 1:
            raise UsageError(f"{text.strip()!r} has more than one flavour.", f"Choose one of {', '.join(FLAVOURS)}.")
        if target == "oci" and not flavours:
            flavours = [FLAVOURS[0]]
        # One spelling for each arm: the flavour, then the options in the order of their table.
        ordered = (*flavours, *(option for option in OPTIONS_OF[target] if option in options))
        return cls(target, ordered, runner)

    @property
    def flavour(self) -> str:
        return next((o for o in self.options if o in FLAVOURS), "")

    @property
    def extras(self) -> tuple[str, ...]:
        """The options besides the flavour."""
        return tuple(o for o in self.options if o not in FLAVOURS)

    @property
    def linked(self) -> bool:
        """Whether the machine answers at an address of its own."""
        return self.runner in LINKED

    @property
    def own_network(self) -> bool:
        """Whether the machine has a network of its own, into which a port of the host is forwarded."""
        return self.target in ("linux", "disk", "osv") or BRIDGE in self.options

    def __str__(self) -> str:
        return "+".join((self.target, *self.options)) + "@" + self.runner


RUNNERS_OF: Mapping[str, tuple[str, ...]] = {
    "linux": ("qemu", "uml", "xen", "firecracker"), "disk": ("qemu",), "osv": ("qemu",),
    "oci": ("podman", "docker", "crun", "runc", "runsc"), "release": ("process",)}
"""Which runners take which target."""

OPTIONS_OF: Mapping[str, tuple[str, ...]] = {
    "linux": ("tiny", "small", INITRAMFS, "shake", "lean", CLOUDINIT, PV, RESUME),
    "disk": ("bios", "tiny", "small", "shake", "lean"),
    "osv": ("shake",),
    "oci": ("shake", "lean", BRIDGE, RESTORE),
    "release": ("shake", "lean")}
"""What may be written behind a target besides a flavour, in the order in which an arm spells it: ``tiny`` is the
kernel compiled for the BEAM alone, ``small`` the fewest bytes instead of the shortest boot, ``initramfs`` a root
unpacked into memory where a disk would do, ``shake`` a release without what it does not use, ``lean`` the static
emulator without a JIT, ``cloudinit`` an image that reads user data, ``bridge`` a network of the container's own,
``pv`` a paravirtualised machine on Xen, ``restore`` a container that CRIU restores."""


ONLY_ON: Mapping[str, tuple[str, ...]] = {
    "tiny": ("qemu", "firecracker"), "small": ("qemu", "firecracker"), INITRAMFS: ("qemu", "xen", "firecracker"),
    CLOUDINIT: ("qemu",), PV: ("xen",), RESUME: ("qemu",), BRIDGE: ("podman", "docker"), RESTORE: ("crun", "runc")}
"""The runners of options that not every runner of their target has."""


def options_of(target: str) -> tuple[str, ...]:
    """Every word that may follow ``+`` behind ``target``."""
    return (*(FLAVOURS if target == "oci" else ()), *OPTIONS_OF[target])


DEFAULT_ARM_OF: Mapping[str, str] = {
    runner: ("+".join((target, *FLAVOURS[:1])) if target == "oci" else target) + f"@{runner}"
    for target in reversed(TARGETS) for runner in RUNNERS_OF[target]}
"""The arm meant by ``--on RUNNER`` alone."""


def parse_arm(text: str) -> Arm:
    """An arm, or the one meant by a runner's name alone."""
    return Arm.parse(DEFAULT_ARM_OF[text] if text in RUNNERS else text)
