"""What keeps the runners that need a certain kind of host, ``xen`` and ``firecracker``, from working on this one.

Pure but for looking: nothing is started here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb import tools

CAPABILITIES = Path("/proc/xen/capabilities")
"""Holds ``control_d`` in the domain that may start others (drivers/xen/xenfs/super.c of Linux)."""

XEN_DEVICE = Path("/dev/xen/privcmd")
KVM_DEVICE = Path("/dev/kvm")


@dataclass(frozen=True)
class Obstacle:
    """Why a runner cannot work here, and how it could; ``install`` is the command that mends it, or where to read how,
    empty where nothing on this host would."""

    why: str
    hint: str
    install: str = ""

    def __str__(self) -> str:
        return f"{self.why} {self.hint}"


def xen() -> Obstacle | None:
    """Xen's ``xl`` works in its control domain only, and for root."""
    elsewhere = "Or take the image to a Xen host: 'unibeam emit NAME --as xl' writes what its xl takes."
    try:
        control = "control_d" in CAPABILITIES.read_text(encoding="ascii")
    except OSError:
        control = False
    if not control:
        install = _install("xen-system-amd64")
        return Obstacle("This host is not the control domain (dom0) of a Xen hypervisor.",
                        f"Install one, then start the host with it: {install}. {elsewhere}", install)
    if tools.locate("xl") is None:
        install = _install("xen-utils-common")
        return Obstacle("xl is not on this host, which is Xen's own way to start a machine.",
                        f"Install it: {install}", install)
    if not os.access(XEN_DEVICE, os.R_OK | os.W_OK):
        return Obstacle(f"{XEN_DEVICE} may not be opened, and only root may start machines with xl.",
                        "Run unibeam as root.")
    return None


def firecracker() -> Obstacle | None:
    """Firecracker needs its program, KVM, and a tap device, which only root can make. Whether KVM works is proved
    later, by a guest that boots."""
    if tools.locate("firecracker") is None:
        install = tools.install_command("firecracker")
        return Obstacle("firecracker is not on this host.", f"It is one file to put on the PATH: {install}", install)
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        missing = "may not be opened" if KVM_DEVICE.exists() else "does not exist"
        return Obstacle(f"{KVM_DEVICE} {missing}, and Firecracker runs on KVM only.",
                        "Use the runner qemu, which can emulate: --on qemu.")
    if tools.locate("ip") is None:
        install = tools.install_command("ip")
        return Obstacle("ip is not on this host, which makes the network device of a machine.",
                        f"Install it: {install}", install)
    if os.geteuid() != 0:
        return Obstacle("Only root may make the network device of a Firecracker machine.", "Run unibeam as root.")
    return None


def _install(package: str) -> str:
    return f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install --no-install-recommends {package}"
