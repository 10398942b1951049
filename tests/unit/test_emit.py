"""Texts for other platforms: read back by their own grammars, and right for the image they are made for."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.errors import UsageError
from unibeam_nb.image.emit import DISKS, TARGETS, Facts, text, warning

LINUX = Facts("hello", "linux", {"kernel": Path("/i/kernel"), "initramfs": Path("/i/initramfs")}, "6.1", ports=(8080,))
DISK = Facts("my_app-", "disk", {"disk": Path("/i m/disk")}, "6.1", ports=(80, 443), mem_mb=512, vcpus=2)
COMMANDS = ("gce", "azure", "vmware", "proxmox")


def python_of(configuration: str) -> dict[str, object]:
    """xl's grammar of names, strings, numbers and lists is a part of Python's."""
    found: dict[str, object] = {}
    exec(configuration, {}, found)
    return found


def test_xen_starts_a_linux_image_as_pvh_and_a_disk_by_its_firmware() -> None:
    pvh = python_of(text("xl", LINUX))
    assert (pvh["name"], pvh["type"], pvh["kernel"], pvh["ramdisk"]) == ("hello", "pvh", "/i/kernel", "/i/initramfs")
    assert str(pvh["extra"]).split() == ["console=hvc0", "quiet", "panic=5", "unibeam.ip=dhcp"]
    hvm = python_of(text("xl", DISK))
    assert (hvm["type"], hvm["bios"], hvm["memory"], hvm["vcpus"]) == ("hvm", "ovmf", 512, 2)
    assert hvm["disk"] == ["format=raw, vdev=xvda, access=ro, target=/i m/disk"]


@given(path=st.text(st.characters(codec="utf-8", exclude_characters="\n\r\\\0", exclude_categories=("Cc", "Cs"))))
def test_a_path_survives_xl_or_is_refused(path: str) -> None:
    facts = Facts("hello", "linux", {"kernel": Path("/" + path), "initramfs": Path("/i")}, "6.1")
    if '"' in path and "'" in path:
        with pytest.raises(UsageError):
            text("xl", facts)
    else:
        assert python_of(text("xl", facts))["kernel"] == str(facts.files["kernel"])


@given(path=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))))
def test_libvirt_gets_every_path_as_it_is(path: str) -> None:
    facts = Facts("hello", "disk", {"disk": Path("/" + path)}, "6.1")
    source = ElementTree.fromstring(text("libvirt", facts)).find("devices/disk/source")
    assert source is not None
    assert source.get("file") == str(facts.files["disk"])


def test_libvirt_boots_a_disk_by_uefi_and_a_linux_image_directly() -> None:
    disk = ElementTree.fromstring(text("libvirt", DISK))
    system = disk.find("os")
    assert system is not None
    assert system.get("firmware") == "efi"
    assert [(f.get("name"), f.get("enabled")) for f in system.iter("feature")] == [("secure-boot", "no")]
    assert (disk.findtext("memory"), disk.findtext("vcpu")) == ("512", "2")
    linux = ElementTree.fromstring(text("libvirt", LINUX))
    assert linux.findtext("os/kernel") == "/i/kernel"
    assert linux.findtext("os/initrd") == "/i/initramfs"
    assert linux.find("devices/disk") is None


def test_firecracker_gets_the_fields_of_its_api() -> None:
    loaded = json.loads(text("firecracker", LINUX))
    assert set(loaded) == {"boot-source", "drives", "network-interfaces", "machine-config"}
    assert set(loaded["boot-source"]) == {"kernel_image_path", "initrd_path", "boot_args"}
    assert loaded["machine-config"] == {"vcpu_count": 1, "mem_size_mib": 256, "smt": False}
    assert [set(card) for card in loaded["network-interfaces"]] == [{"iface_id", "guest_mac", "host_dev_name"}]
    assert "pci=off" in loaded["boot-source"]["boot_args"].split()


@pytest.mark.parametrize("kind", COMMANDS)
def test_commands_are_a_script_that_a_shell_can_read_and_that_wants_its_variables(kind: str) -> None:
    script = text(kind, DISK)
    subprocess.run(["sh", "-n"], input=script, text=True, check=True, timeout=30)
    run = subprocess.run(["/bin/sh"], input=script, text=True, check=False, timeout=30, capture_output=True,
                         env={"PATH": ""})
    assert run.returncode != 0
    assert "Set " in run.stderr
    assert "my-app" in script, "clouds take no underline"
    assert shlex.split(script, comments=True)


def test_the_commands_fit_the_image() -> None:
    assert "--allow=tcp:80,tcp:443" in text("gce", DISK)
    assert "'/i m/disk'" in text("gce", DISK)
    assert "--hyper-v-generation V2" in text("azure", DISK)
    assert "--attach-os-disk my-app" in text("azure", DISK)
    assert "open-port" not in text("azure", Facts("hello", "disk", DISK.files, "6.1"))
    assert "-firmware=efi -net.adapter=vmxnet3" in text("vmware", DISK)
    assert "--bios ovmf" in text("proxmox", DISK)
    assert "pre-enrolled-keys=0" in text("proxmox", DISK)


def test_a_driver_that_is_not_there_is_said() -> None:
    lacking = Facts(DISK.name, "disk", DISK.files, "6.1", lacks_network=True)
    said = "The disk image of my_app- has no network driver for azure (hv_netvsc)."
    assert warning("azure", lacking) == said
    assert f"# {said}\n" in text("azure", lacking)
    assert warning("azure", DISK) == ""


@pytest.mark.parametrize(("platform", "kind", "words"), [
    ("mmio", "xl", "cannot start under xl: it is made for a microvm."),
    ("uml", "libvirt", "cannot start under libvirt: it is made for User-mode Linux."),
    ("mmio", "libvirt", "cannot start under libvirt: it is made for a microvm."),
    ("uml", "firecracker", "cannot start under firecracker: it is made for User-mode Linux.")])
def test_a_kernel_that_a_platform_cannot_start_is_refused(platform: str, kind: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        text(kind, Facts("hello", "linux", LINUX.files, "6.1", platform, lacks_network=kind == "xl"))
    assert caught.value.message == f"The kernel 6.1 of hello {words}"
    assert caught.value.hint == "Build with the distribution's kernel: --kernel stock."


@pytest.mark.parametrize("kind", ["xl", "firecracker"])
def test_a_kernel_without_a_bus_starts_where_there_is_none(kind: str) -> None:
    assert "/i/kernel" in text(kind, Facts("hello", "linux", LINUX.files, "6.1", "mmio"))


def test_everything_has_a_target() -> None:
    assert set(DISKS) | {"xl", "libvirt", "firecracker", *COMMANDS} == set(TARGETS)


@pytest.mark.parametrize("kind", ["xl", "libvirt"])
def test_a_root_on_a_disk_is_none_that_a_kernel_alone_finds(kind: str) -> None:
    facts = Facts("hello", "linux", {"kernel": Path("/i/kernel"), "root": Path("/i/root")}, "6.1")
    with pytest.raises(UsageError) as caught:
        text(kind, facts)
    assert str(caught.value) == (
        f"The root of hello is on a disk, which a configuration for {kind} does not have.\n"
        "  Hint: Take an image whose root is unpacked into memory: --on linux+initramfs@qemu.")
