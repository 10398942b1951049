"""Firecracker's configuration, held against its published API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unibeam_nb.errors import UsageError
from unibeam_nb.image.emit import Facts, text
from unibeam_nb.image.firecracker import MicroVm, configuration

API: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "FullVmConfiguration": ({"boot-source": "BootSource", "drives": ["Drive"],
                             "network-interfaces": ["NetworkInterface"], "machine-config": "MachineConfiguration",
                             "logger": "Logger"}, ()),
    "BootSource": ({"boot_args": str, "initrd_path": str, "kernel_image_path": str}, ("kernel_image_path",)),
    "Drive": ({"drive_id": str, "partuuid": str, "is_root_device": bool, "cache_type": ("Unsafe", "Writeback"),
               "is_read_only": bool, "path_on_host": str, "io_engine": ("Sync", "Async"), "socket": str},
              ("drive_id", "is_root_device")),
    "NetworkInterface": ({"guest_mac": str, "host_dev_name": str, "iface_id": str}, ("host_dev_name", "iface_id")),
    "MachineConfiguration": ({"smt": bool, "mem_size_mib": int, "track_dirty_pages": bool, "vcpu_count": range(1, 33),
                              "huge_pages": ("None", "Transparent", "2M")}, ("mem_size_mib", "vcpu_count")),
    "Logger": ({"level": ("Error", "Warning", "Info", "Debug", "Trace", "Off"), "log_path": str, "show_level": bool,
                "show_log_origin": bool, "module": str}, ())}
"""Names, types and required names of ``src/firecracker/swagger/firecracker.yaml``, Firecracker 1.17, as far as
a machine of ours could use them. Firecracker refuses every name that it does not know."""


def faults(value: Any, kind: Any, at: str = "") -> list[str]:
    """What in ``value`` is not as the API has it."""
    if isinstance(kind, list):
        return [fault for index, item in enumerate(value) for fault in faults(item, kind[0], f"{at}[{index}]")]
    if isinstance(kind, str):
        fields, required = API[kind]
        return [*(f"{at}.{name} is missing" for name in required if name not in value),
                *(f"{at}.{name} is unknown" for name in value if name not in fields),
                *(fault for name in value if name in fields
                  for fault in faults(value[name], fields[name], f"{at}.{name}"))]
    if isinstance(kind, type):
        return [] if type(value) is kind else [f"{at} is no {kind.__name__}"]
    return [] if value in kind else [f"{at} is none of {kind}"]


IN_MEMORY = MicroVm(Path("/i/vmlinux"), Path("/i/initramfs"), None, ("console=ttyS0",), "tap0", "02:00:00:00:00:01")
ON_A_DISK = MicroVm(Path("/i/vmlinux"), None, Path("/i/root"), ("console=ttyS0",), "tap0", "02:00:00:00:00:01", 64, 2,
                    Path("/m/vmm.log"))


@pytest.mark.parametrize("machine", [IN_MEMORY, ON_A_DISK])
def test_a_configuration_is_what_the_api_says(machine: MicroVm) -> None:
    assert faults(json.loads(configuration(machine)), "FullVmConfiguration") == []


@pytest.mark.parametrize("facts", [
    Facts("hello", "linux", {"kernel": Path("/i/kernel"), "initramfs": Path("/i/initramfs")}, "6.1"),
    Facts("hello", "linux", {"kernel": Path("/i/kernel"), "root": Path("/i/root")}, "6.1", "mmio")])
def test_what_is_emitted_is_too(facts: Facts) -> None:
    assert faults(json.loads(text("firecracker", facts)), "FullVmConfiguration") == []


def test_the_check_finds_what_is_wrong() -> None:
    whole = json.loads(configuration(IN_MEMORY))
    whole["machine-config"] |= {"vcpu_count": 33, "mem_size_mib": "256", "ht_enabled": False}
    del whole["boot-source"]["kernel_image_path"]
    assert faults(whole, "FullVmConfiguration") == [
        ".boot-source.kernel_image_path is missing", ".machine-config.ht_enabled is unknown",
        f".machine-config.vcpu_count is none of {range(1, 33)}", ".machine-config.mem_size_mib is no int"]


def test_a_root_on_a_disk_is_a_read_only_drive_and_else_there_is_none() -> None:
    disk, memory = json.loads(configuration(ON_A_DISK)), json.loads(configuration(IN_MEMORY))
    assert disk["drives"] == [{"drive_id": "root", "path_on_host": "/i/root", "is_root_device": True,
                               "is_read_only": True}]
    assert "initrd_path" not in disk["boot-source"]
    assert disk["boot-source"]["boot_args"] == "console=ttyS0 rootfstype=erofs init=/init"
    assert (memory["drives"], memory["boot-source"]["initrd_path"]) == ([], "/i/initramfs")


def test_more_processors_than_firecracker_knows_are_refused() -> None:
    import dataclasses

    with pytest.raises(UsageError) as caught:
        configuration(dataclasses.replace(IN_MEMORY, vcpus=33))
    assert str(caught.value) == ("Firecracker gives a machine at most 32 processors, not 33.\n"
                                 "  Hint: Ask for fewer: --vcpus 32.")
