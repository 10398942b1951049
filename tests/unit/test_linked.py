"""Machines on a link of their own, on Xen and Firecracker: addresses, configurations, and what refuses them."""

from __future__ import annotations

import ipaddress
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.arms import Arm
from unibeam_nb.errors import MachineError, UsageError
from unibeam_nb.machine import available, boot, hosted, ports
from unibeam_nb.machine.available import refuse
from unibeam_nb.machine.link import NETWORK, link_of
from unibeam_nb.machine.xen_arguments import Guest, configuration, memory_mb, script
from unibeam_nb.model import Image, Launch
from unibeam_nb.store import Store

GUEST = Guest("unibeam-00c0ffee", Path("/i/kernel"), Path("/i/initramfs"), "0123456789abcdef", link_of("00c0ffee"),
              Path("/m/plug"), (), 128, 2, (("PORT", "8080"), ("WORDS", "two words")))


@given(st.integers(0, 0xFFFFFFFF))
def test_a_link_is_two_hosts_of_one_small_network_that_is_nobodys(number: int) -> None:
    link = link_of(f"{number:08x}")
    network = ipaddress.ip_network(f"{link.host}/30", strict=False)
    assert list(map(str, network.hosts())) == [link.host, link.guest]
    assert network.subnet_of(NETWORK)  # type: ignore[arg-type]
    first = int(link.mac.split(":")[0], 16)
    assert (first & 1, first & 2) == (0, 2), "a card's own address, and locally administered (IEEE 802, 8.2)"
    assert len(link.device) <= 15


def python_of(text: str) -> dict[str, object]:
    """xl's grammar of names, strings, numbers and lists is a part of Python's."""
    found: dict[str, object] = {}
    exec(text, {}, found)
    return found


@pytest.mark.parametrize(("options", "kind"), [((), "pvh"), (("pv",), "pv"), (("initramfs", "pv"), "pv")])
def test_a_domain_is_what_its_arm_says(options: tuple[str, ...], kind: str) -> None:
    import dataclasses

    found = python_of(configuration(dataclasses.replace(GUEST, options=options)))
    assert (found["type"], found["kernel"], found["ramdisk"]) == (kind, "/i/kernel", "/i/initramfs")
    assert (found["name"], found["memory"], found["vcpus"]) == ("unibeam-00c0ffee", 128, 2)
    assert found["vif"] == ["mac=02:75:00:c0:ff:ee,script=/m/plug"]
    assert {found[f"on_{end}"] for end in ("poweroff", "reboot", "crash")} == {"destroy"}


def test_a_domain_is_told_its_address_and_its_variables() -> None:
    words = str(python_of(configuration(GUEST))["extra"])
    link = link_of("00c0ffee")
    assert words.startswith("console=hvc0 quiet panic=-1 unibeam.nonce=0123456789abcdef ")
    assert f"unibeam.ip={link.guest}/30 unibeam.gw={link.host} " in words
    assert words.endswith('unibeam.env.PORT=8080 "unibeam.env.WORDS=two words"')


def test_what_xl_cannot_carry_is_refused() -> None:
    import dataclasses

    with pytest.raises(UsageError) as caught:
        configuration(dataclasses.replace(GUEST, plug=Path("/a,b/plug")))
    assert str(caught.value) == ("xl cannot be told of /a,b/plug, because of the comma.\n"
                                 "  Hint: Set UNIBEAM_HOME to a path without one.")
    with pytest.raises(UsageError, match="cannot be handed to a virtual machine"):
        configuration(dataclasses.replace(GUEST, variables=(("A", 'x"y'),)))


def test_the_script_plugs_the_card_in_once_it_is_there(tmp_path: Path) -> None:
    for program in ("ip", "xenstore-write"):
        (tmp_path / program).write_text(f'#!/bin/sh\necho {program} "$@" >> {tmp_path}/done\n')
        (tmp_path / program).chmod(0o755)
    plug = tmp_path / "plug"
    plug.write_text(script(GUEST.link))
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "vif": "vif7.0", "XENBUS_PATH": "backend/vif/7/0"}
    for order in ("online", "offline"):
        subprocess.run(["sh", plug, order, "type_if=vif"], env=env, check=True)
    host = GUEST.link.host
    assert (tmp_path / "done").read_text().splitlines() == [
        f"ip address add {host}/30 dev vif7.0", "ip link set vif7.0 up",
        "xenstore-write backend/vif/7/0/hotplug-status connected"]


def test_the_memory_of_a_domain_is_in_the_table_of_xl() -> None:
    table = ("Name                                        ID   Mem VCPUs\tState\tTime(s)\n"
             "Domain-0                                     0  1400     1     r-----      28.1\n"
             "unibeam-00c0ffee                             1   256     1     --p---       0.0\n")
    assert memory_mb(table, "unibeam-00c0ffee") == 256
    assert memory_mb(table, "unibeam-00000000") == 0


def test_ports_stay_those_inside() -> None:
    arm = Arm.parse("linux@xen")
    assert ports.settle(((0, 8080), (443, 443)), arm, {8080: "somebody else's"}) == ((8080, 8080), (443, 443))
    with pytest.raises(UsageError) as caught:
        ports.settle(((80, 8080),), arm, {})
    assert str(caught.value) == ("xen cannot turn port 8080 into 80.\n"
                                 "  Hint: The machine answers at an address of its own: leave the host's port out.")


def test_a_host_without_xen_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "CAPABILITIES", tmp_path / "capabilities")
    sudo = "" if os.geteuid() == 0 else "sudo "
    with pytest.raises(MachineError) as caught:
        refuse("xen")
    assert str(caught.value) == (
        "This host is not the control domain (dom0) of a Xen hypervisor.\n  Hint: Install one, then start the host "
        f"with it: {sudo}apt-get install --no-install-recommends xen-system-amd64. Or take the image to a Xen host: "
        "'unibeam emit NAME --as xl' writes what its xl takes.")
    assert str(available("xen")).startswith("This host is not the control domain (dom0) of a Xen hypervisor. Install")
    (tmp_path / "capabilities").write_text("control_d\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("unibeam_nb.tools._EXTRA_PATH", ())
    with pytest.raises(MachineError, match=r"^xl is not on this host, which is Xen's own way to start a machine\."):
        refuse("xen")
    (tmp_path / "xl").touch(0o755)
    monkeypatch.setattr(hosted, "XEN_DEVICE", tmp_path / "privcmd")
    with pytest.raises(MachineError, match="only root may start machines with xl"):
        refuse("xen")
    (tmp_path / "privcmd").touch()
    refuse("xen")


def test_a_boot_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "CAPABILITIES", tmp_path / "capabilities")
    image = Image("hello", "linux", "", tmp_path, "k", "s", "r", 1, 1, (), (), Launch("erts"))
    with pytest.raises(MachineError, match=r"^This host is not the control domain"):
        boot(Store(tmp_path / "cache", tmp_path / "state"), image, "xen")
    assert not (tmp_path / "state").exists()


def test_a_host_without_firecracker_or_kvm_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("unibeam_nb.tools._EXTRA_PATH", ())
    monkeypatch.setattr(hosted, "KVM_DEVICE", tmp_path / "kvm")
    with pytest.raises(MachineError) as caught:
        refuse("firecracker")
    assert str(caught.value) == (
        "firecracker is not on this host.\n  Hint: It is one file to put on the PATH: "
        "see https://github.com/firecracker-microvm/firecracker/releases")
    (tmp_path / "firecracker").touch(0o755)
    with pytest.raises(MachineError) as caught:
        refuse("firecracker")
    assert str(caught.value) == (f"{tmp_path / 'kvm'} does not exist, and Firecracker runs on KVM only.\n"
                                 "  Hint: Use the runner qemu, which can emulate: --on qemu.")
    (tmp_path / "kvm").touch()
    with pytest.raises(MachineError, match=r"^ip is not on this host"):
        refuse("firecracker")
    (tmp_path / "ip").touch(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MachineError, match=r"^Only root may make the network device"):
        refuse("firecracker")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    refuse("firecracker")
