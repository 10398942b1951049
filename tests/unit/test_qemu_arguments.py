"""QEMU's command line, for both accelerators."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from unibeam_nb.errors import UsageError
from unibeam_nb.machine.qemu_arguments import Guest, arguments, kernel_command_line

GUEST = Guest(Path("/images/kernel"), Path("/images/initramfs"), "0123456789abcdef", "tcg", mem_mb=128, vcpus=2,
              ports=((18080, 8080), (18443, 8443)), variables=(("PORT", "8080"),))


def after(words: tuple[str, ...], flag: str) -> str:
    assert words.count(flag) == 1, flag
    return words[words.index(flag) + 1]


@pytest.mark.parametrize("accelerator", ["kvm", "tcg"])
def test_only_accelerator_and_processor_tell_the_command_lines_apart(accelerator: str) -> None:
    words = arguments(dataclasses.replace(GUEST, accelerator=accelerator))
    assert after(words, "-machine") == f"q35,accel={accelerator},memory-backend=ram"
    rest = [w for w in words if not w.startswith(("q35,", "max"))]
    assert rest == [w for w in arguments(GUEST) if not w.startswith(("q35,", "max"))]


@pytest.mark.parametrize(("accelerator", "cpu"), [("kvm", "max"), ("tcg", "max,erms=off,fsrm=off"),
                                                  ("icount", "max,erms=off,fsrm=off")])
def test_an_emulated_processor_does_not_boast_of_quick_string_instructions(accelerator: str, cpu: str) -> None:
    assert after(arguments(dataclasses.replace(GUEST, accelerator=accelerator)), "-cpu") == cpu


def test_the_guests_ram_has_a_name_of_its_own() -> None:
    words = arguments(GUEST)
    assert after(words, "-object") == "memory-backend-memfd,id=ram,size=128M,share=on"
    assert after(words, "-m") == "128M"
    assert after(words, "-smp") == "2"


def test_ports_are_forwarded_from_the_loopback_address_only() -> None:
    net = after(arguments(GUEST), "-netdev")
    assert net.endswith(",hostfwd=tcp:127.0.0.1:18080-:8080,hostfwd=tcp:127.0.0.1:18443-:8443")
    assert net.count("hostfwd") == 2


def test_sockets_and_logs_are_relative_to_the_machines_directory() -> None:
    words = arguments(GUEST)
    assert after(words, "-chardev") == "socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log"
    assert after(words, "-qmp") == "unix:qmp.sock,server=on,wait=on"


def test_the_guest_is_paused_alone_and_gone_when_it_panics() -> None:
    words = arguments(GUEST)
    assert {"-S", "-nodefaults", "-no-user-config", "-no-reboot"} <= set(words)
    assert after(words, "-display") == "none"
    assert after(words, "-sandbox").startswith("on,")
    assert "panic=-1" in kernel_command_line(GUEST).split()


def test_what_the_kernel_is_told_stands_on_no_command_line_of_this_host() -> None:
    guest = dataclasses.replace(GUEST, variables=(("TOKEN", "hunter2"),))
    assert "unibeam.env.TOKEN=hunter2" in kernel_command_line(guest).split()
    words = arguments(guest)
    assert "-preconfig" in words
    assert not any(told in word for word in words for told in ("hunter2", GUEST.nonce, "unibeam."))


def test_the_kernel_is_told_everything_pid_1_reads() -> None:
    assert kernel_command_line(GUEST) == (
        "console=ttyS0 quiet panic=-1 unibeam.nonce=0123456789abcdef unibeam.ip=10.0.2.15/24 "
        "unibeam.hostname=beam.unibeam unibeam.env.PORT=8080")


def test_a_way_out_is_there_where_it_was_asked_for_and_nowhere_else() -> None:
    out = dataclasses.replace(GUEST, outgoing=True)
    assert " unibeam.gw=10.0.2.2 unibeam.dns=10.0.2.3 " in kernel_command_line(out)
    opened, closed = (words[words.index("-netdev") + 1] for words in (arguments(out), arguments(GUEST)))
    assert closed.replace(",restrict=on", "") == opened
    assert closed != opened


def test_a_value_with_blanks_is_quoted_as_a_whole() -> None:
    line = kernel_command_line(dataclasses.replace(GUEST, variables=(("GREETING", "hello world"),)))
    assert line.endswith(' "unibeam.env.GREETING=hello world"')


@pytest.mark.parametrize("value", ['say "hi"', "two\nlines", "grüße"])
def test_a_value_the_command_line_cannot_carry_is_refused(value: str) -> None:
    with pytest.raises(UsageError) as caught:
        kernel_command_line(dataclasses.replace(GUEST, variables=(("TEXT", value),)))
    assert caught.value.message == "The value of TEXT cannot be handed to a virtual machine."
    assert caught.value.hint == "A kernel command line carries printable ASCII without double quotes."


def test_a_command_line_longer_than_linux_reads_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^The environment makes a kernel command line of \d+ bytes\."):
        kernel_command_line(dataclasses.replace(GUEST, variables=(("LONG", "x" * 2000),)))


MICROVM = dataclasses.replace(GUEST, platform="mmio")


@pytest.mark.parametrize("accelerator", ["kvm", "tcg"])
def test_a_kernel_without_a_bus_gets_a_microvm(accelerator: str) -> None:
    words = arguments(dataclasses.replace(MICROVM, accelerator=accelerator))
    machine = after(words, "-machine").split(",")
    assert machine[0] == "microvm"
    assert {"acpi=off", "isa-serial=on", "auto-kernel-cmdline=off", f"accel={accelerator}"} <= set(machine)
    # Without these two an emulated guest finds no clock.
    assert not {"pit=off", "pic=off"} & set(machine)
    assert after(words, "-device") == "virtio-net-device,netdev=net,guest_announce=off"
    assert after(words, "-global") == "virtio-mmio.force-legacy=false"
    assert "-no-reboot" in words


def test_a_microvms_kernel_is_told_where_its_card_is_before_any_separator() -> None:
    line = kernel_command_line(dataclasses.replace(MICROVM, variables=(("WORDS", "a -- b"),)))
    assert line.index("virtio_mmio.device=512@0xfeb00e00:12") < line.index("--")
    assert {"reboot=t", "unibeam.off=reboot"} <= set(line.split())


def test_machine_types_differ_in_nothing_but_the_machine() -> None:
    own = {"-global", "virtio-mmio.force-legacy=false"}
    rest = [[w for w in arguments(guest) if not w.startswith(("q35", "microvm", "virtio-net", "console=ttyS0")) and
             w not in own] for guest in (GUEST, MICROVM)]
    assert rest[0] == rest[1]


@pytest.mark.parametrize(("change", "words"), [
    ({"platform": "mmio", "vcpus": 1, "tsc_khz": 2596146},
     "tsc_early_khz=2596146 tsc=reliable no_timer_check nolapic_timer"),
    ({"platform": "mmio", "vcpus": 2, "tsc_khz": 2596146}, "tsc_early_khz=2596146 tsc=reliable no_timer_check"),
    ({"platform": "mmio", "vcpus": 1}, "no_timer_check"),
    ({"platform": "mmio", "vcpus": 1, "tsc_khz": 2596146, "accelerator": "kvm"}, ""),
    ({"platform": "pci", "vcpus": 1, "tsc_khz": 2596146}, "")])
def test_an_emulated_microvm_is_told_about_its_clock(change: dict[str, Any], words: str) -> None:
    line = kernel_command_line(dataclasses.replace(GUEST, **change)).split()
    clock = ("tsc", "no_timer_check", "nolapic_timer")
    assert [word for word in line if word.startswith(clock)] == words.split()


ROOT = dataclasses.replace(MICROVM, initramfs=None, root=Path("/images/a,b/root"))


def test_a_root_on_a_disk_is_read_only_and_shared() -> None:
    words = arguments(ROOT)
    assert "-initrd" not in words
    assert after(words, "-blockdev") == "driver=file,node-name=root,read-only=on,locking=off,filename=/images/a,,b/root"
    assert [words[i + 1] for i, word in enumerate(words) if word == "-device"] == [
        "virtio-net-device,netdev=net,guest_announce=off", "virtio-blk-device,drive=root"]
    assert {"root=/dev/vda", "rootfstype=erofs", "ro", "init=/init", "virtio_mmio.device=512@0xfeb00c00:11"} <= set(
        kernel_command_line(ROOT).split())


def test_a_machine_with_a_bus_has_its_disk_there() -> None:
    guest = dataclasses.replace(ROOT, platform="pci")
    assert "virtio-blk-pci,drive=root" in arguments(guest)
    assert "virtio_mmio" not in kernel_command_line(guest)


def test_counting_instructions_is_emulation_with_a_clock_of_a_gigahertz() -> None:
    guest = dataclasses.replace(MICROVM, accelerator="icount", vcpus=1, tsc_khz=2596146)
    words = arguments(guest)
    assert after(words, "-icount") == "shift=0,sleep=off"
    assert ",accel=tcg," in after(words, "-machine")
    assert "tsc_early_khz=1000000" in kernel_command_line(guest).split()
    assert "-icount" not in arguments(MICROVM)
    disk = arguments(dataclasses.replace(ROOT, accelerator="icount"))
    assert ",aio=io_uring," in after(disk, "-blockdev")
    assert "virtio-mmio.ioeventfd=off" in disk


def test_user_data_are_a_disk_behind_all_others_or_a_word_of_the_command_line() -> None:
    guest = Guest(Path("k"), Path("i"), "0" * 16, "tcg", seed=Path("a,b"))
    words = arguments(guest)
    assert "driver=file,node-name=seed,read-only=on,filename=a,,b" in words
    assert words[words.index("driver=file,node-name=seed,read-only=on,filename=a,,b") + 2] == \
        "virtio-blk-pci,drive=seed"
    assert "ds=" not in kernel_command_line(guest)
    told = dataclasses.replace(guest, seed=None, user_data="http://10.0.2.2:80/x/")
    assert " ds=nocloud;s=http://10.0.2.2:80/x/ " in kernel_command_line(told)
    assert not any("seed" in word for word in arguments(told))
