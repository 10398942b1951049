"""One file that a firmware boots: the same bytes each time, flawless to others' tools, and it answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from unibeam_nb import process, tools
from unibeam_nb.arms import Arm
from unibeam_nb.errors import ImageError, UsageError
from unibeam_nb.image.disk import BOOT_FILE, COMMAND_LINE, build_disk
from unibeam_nb.image.formats import fat, gpt, pe
from unibeam_nb.image.kernels import stock_kernel
from unibeam_nb.lab import Build, Lab
from unibeam_nb.store import Store

HELLO = """
-module(disk_hello).
-export([start/0]).
start() ->
    {ok, Listen} = gen_tcp:listen(8080, [binary, {packet, http_bin}, {active, false}, {reuseaddr, true}]),
    spawn(fun() -> loop(Listen) end).
loop(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    {ok, _} = gen_tcp:recv(Socket, 0),
    ok = gen_tcp:send(Socket, "HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok"),
    ok = gen_tcp:close(Socket),
    loop(Listen).
"""


@pytest.fixture
def build(lab: Lab) -> Iterator[Build]:
    yield lab.build("disk-hello", text=HELLO, ports=(8080,), target="disk")
    lab.clean()


def test_a_firmware_boots_the_disk_and_it_answers(lab: Lab, build: Build) -> None:
    machine = lab.boot("disk-hello", arm="disk@qemu", http="/", deadline=120)
    assert list(machine.marks) == ["spawn", "vmm", "kernel", "init", "beam", "app", "http"]
    assert "unibeam-init:" not in machine.console.text()
    machine.stop()


def test_a_bios_boots_it_too_and_its_tables_are_flawless(lab: Lab, build: Build) -> None:
    machine = lab.boot("disk-hello", arm="disk+bios@qemu", http="/", deadline=120)
    assert "BdsDxe" not in machine.console.text()  # What UEFI firmware says first.
    machine.stop()
    disk = lab.image(build, Arm.parse("disk+bios@qemu")).file("disk")
    assert "No problems found." in process.run([tools.find("sgdisk"), "-v", disk]).stdout
    assert [p.name for p in gpt.read(disk.read_bytes())] == ["EFI system", "BIOS boot"]


def test_the_disk_is_flawless_and_holds_what_it_should(build: Build, fresh_store: Store, store: Store) -> None:
    image = build.images[0]
    disk = image.file("disk").read_bytes()
    assert "No problems found." in process.run([tools.find("sgdisk"), "-v", image.file("disk")]).stdout
    system, = gpt.read(disk)
    executable = fat.read(disk[system.offset:system.offset + system.bytes])[BOOT_FILE]
    assert pe.section(executable, ".cmdline") == COMMAND_LINE.encode() + b"\0"
    assert pe.section(executable, ".linux") == stock_kernel(store).path.read_bytes()
    assert len(executable) == image.shipped_bytes
    inside = build.explore()
    assert inside.root.bytes == image.unpacked_bytes
    assert inside.at("linux kernel").shipped + inside.at("efi stub").shipped < image.shipped_bytes
    again = build_disk(fresh_store, build.release, stock_kernel(store))
    assert again.sha256 == image.sha256


def test_what_a_disk_cannot_carry_is_refused(lab: Lab, build: Build, store: Store) -> None:
    with pytest.raises(UsageError) as caught:
        lab.boot("disk-hello", arm="disk@qemu", env=("A=b",))
    assert str(caught.value.message) == "disk@qemu takes no --env: a disk holds its command line."
    with pytest.raises(ImageError) as kernel:
        build_disk(store, build.release, dataclasses.replace(stock_kernel(store), name="odd", path=Path("/bin/true")))
    assert str(kernel.value.message).endswith("cannot be started by a UEFI firmware (CONFIG_EFI_STUB).")
