"""Which drivers a kernel has: built in, or as modules beside it."""

from __future__ import annotations

from collections.abc import Iterable

from unibeam_nb.errors import ImageError
from unibeam_nb.image import kmod
from unibeam_nb.image.kernels import Kernel

CONFIG = "config"
"""The file beside a compiled kernel that holds its configuration."""

SWITCHES = {"virtio_pci": "CONFIG_VIRTIO_PCI", "virtio_net": "CONFIG_VIRTIO_NET", "ena": "CONFIG_ENA_ETHERNET",
            "gve": "CONFIG_GVE", "xen_netfront": "CONFIG_XEN_NETDEV_FRONTEND", "hv_netvsc": "CONFIG_HYPERV_NET",
            "vmxnet3": "CONFIG_VMXNET3", "virtio_rng": "CONFIG_HW_RANDOM_VIRTIO"}
"""What switches each driver on in a kernel's configuration."""

NETWORK = {"xen": "xen_netfront", "firecracker": "virtio_net"}
"""The network driver that a linux image needs on a runner besides QEMU."""

DISPENSABLE = ("virtio_rng",)
"""Drivers that a kernel of its own does without: processors have random numbers of their own."""


def refuse_foreign(kernel: Kernel, platform: str, driver: str, otherwise: str) -> None:
    """Raise ImageError for a kernel that has no network on the platform asked for; ``otherwise`` says how to go on."""
    if missing(kernel, (driver,)):
        raise ImageError(f"The kernel {kernel.name} has no network driver for {platform} ({driver}).", otherwise)


def missing(kernel: Kernel, names: Iterable[str]) -> tuple[str, ...]:
    """Those of the drivers ``names`` that the kernel has neither built in nor as a module. Of a kernel with neither a
    configuration nor modules beside it nothing is known, and nothing is called missing."""
    if kernel.modules is not None:
        return kmod.Modules(kernel.modules).missing(names)
    config = kernel.path.with_name(CONFIG)
    if not config.is_file():
        return ()
    lines = set(config.read_text(encoding="utf-8").splitlines())
    return tuple(name for name in names if name not in DISPENSABLE and f"{SWITCHES.get(name, '')}=y" not in lines)
