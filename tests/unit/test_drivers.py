"""A kernel without the driver of the platform asked for is refused, in words, when something is built for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from unibeam_nb.errors import ImageError
from unibeam_nb.image.drivers import NETWORK, SWITCHES, missing, refuse_foreign
from unibeam_nb.image.emit import CONFIGURATIONS, DRIVERS
from unibeam_nb.image.kernels import Kernel

OPTIONS = Path(__file__).resolve().parents[2] / "unibeam_nb" / "image" / "kernel_options"


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """One as it lies in the store: a file with its configuration beside it."""
    (tmp_path / "config").write_text("CONFIG_VIRTIO_NET=y\n# CONFIG_XEN_NETDEV_FRONTEND is not set\n"
                                     "CONFIG_ENA_ETHERNET=m\n")
    return Kernel("tiny", "6.1", tmp_path / "kernel", None, "0" * 64, "here")


def with_modules(place: Path, *modules: str, builtin: str = "") -> Kernel:
    """One as a package has it: modules in a directory of their own."""
    (place / "kernel").mkdir(parents=True)
    (place / "modules.builtin").write_text(builtin)
    for name in modules:
        (place / "kernel" / f"{name}.ko").touch()
    return Kernel("6.1-cloud", "6.1", place / "kernel", place, "0" * 64, "Debian")


def test_what_is_not_built_in_is_missing(kernel: Kernel) -> None:
    assert missing(kernel, ("virtio_net", "xen_netfront", "ena", "virtio_rng")) == ("xen_netfront", "ena")
    assert missing(kernel, ("no_such_driver",)) == ("no_such_driver",)


def test_a_module_will_do(tmp_path: Path) -> None:
    kernel = with_modules(tmp_path / "modules", "xen-netfront", builtin="kernel/drivers/net/virtio_net.ko\n")
    assert missing(kernel, ("virtio_net", "xen_netfront", "vmxnet3")) == ("vmxnet3",)


def test_of_a_kernel_without_a_list_nothing_is_called_missing(tmp_path: Path) -> None:
    unknown = Kernel("mine", "6.1", tmp_path / "kernel", None, "0" * 64, "somewhere")
    assert missing(unknown, ("xen_netfront",)) == ()
    refuse_foreign(unknown, "xl", "xen_netfront", "")


@pytest.mark.parametrize(("platform", "driver"), [
    ("xl", "xen_netfront"), ("xen", "xen_netfront"), ("azure", "hv_netvsc"), ("vmware", "vmxnet3"), ("aws", "ena")])
def test_a_kernel_that_does_not_fit_is_refused(kernel: Kernel, platform: str, driver: str) -> None:
    with pytest.raises(ImageError) as caught:
        refuse_foreign(kernel, platform, driver, "Build with the distribution's kernel (--kernel stock).")
    assert str(caught.value) == (f"The kernel tiny has no network driver for {platform} ({driver}).\n"
                                 "  Hint: Build with the distribution's kernel (--kernel stock).")


@pytest.mark.parametrize("platform", ["libvirt", "firecracker", "gce", "proxmox"])
def test_a_kernel_that_fits_is_not(kernel: Kernel, platform: str) -> None:
    refuse_foreign(kernel, platform, DRIVERS[platform], "")


def test_every_driver_that_is_asked_for_has_a_switch_and_tiny_kernels_can_have_it() -> None:
    """Else a kernel would be refused, or let through, because of a name."""
    known = "".join(path.read_text() for path in OPTIONS.glob("*.config"))
    for driver in {*DRIVERS.values(), *NETWORK.values()}:
        assert f"{SWITCHES[driver]}=y" in known, driver
    assert set(CONFIGURATIONS) <= set(DRIVERS)
