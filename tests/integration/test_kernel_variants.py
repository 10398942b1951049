"""Kernels that `make test` has no time to compile: the smallest one, and one with every option.

    make kernels
"""

from __future__ import annotations

import dataclasses
import urllib.request

import pytest

from unibeam_nb.arms import Arm
from unibeam_nb.image import kconfig, tiny
from unibeam_nb.image.kernels import Kernel, bzimage_version
from unibeam_nb.image.linux import build_linux
from unibeam_nb.lab import Lab
from unibeam_nb.machine import BootOptions, boot
from unibeam_nb.model import Image, Probe
from unibeam_nb.store import Store

pytestmark = [pytest.mark.kernels, pytest.mark.slow, pytest.mark.timeout(7200)]

HELLO = r"""
-module(variant).
-export([start/0]).

start() ->
    {ok, Listen} = gen_tcp:listen(list_to_integer(os:getenv("PORT")),
                                  [inet6, binary, {active, false}, {reuseaddr, true}, {ipv6_v6only, false}]),
    Loop = spawn(fun() -> accept(Listen) end),
    gen_tcp:controlling_process(Listen, Loop).

accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    _ = gen_tcp:recv(Socket, 0, 5000),
    Body = integer_to_list(erlang:system_info(logical_processors_online)),
    gen_tcp:send(Socket, ["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ",
                          integer_to_list(length(Body)), "\r\n\r\n", Body]),
    gen_tcp:close(Socket),
    accept(Listen).
"""

IPV4_HELLO = HELLO.replace("variant", "small_hello").replace("inet6, ", "").replace(", {ipv6_v6only, false}", "")


@pytest.fixture(scope="module")
def every(store: Store) -> Kernel:
    return tiny.build_tiny(store, "boot", tuple(option for option in tiny.OPTIONS if option != "efi"))


def answer(store: Store, image: Image, vcpus: int = 1) -> str:
    machine = boot(store, image, "qemu", BootOptions(vcpus=vcpus, probe=Probe(8080), until="http", mem_mb=128))
    try:
        assert machine.url is not None
        with urllib.request.urlopen(machine.url, timeout=60) as reply:
            return str(reply.read().decode())
    finally:
        machine.stop()


@pytest.fixture
def variant(lab: Lab) -> Lab:
    lab.build("variant", text=HELLO, target="release", ports=(8080,))
    return lab


def test_the_smallest_kernel_has_a_megabyte_and_a_half_at_most_and_answers(lab: Lab, store: Store) -> None:
    kernel = tiny.build_tiny(store, "size")
    assert kernel.path.stat().st_size <= 1_500_000
    assert (kernel.name, kernel.version, kernel.mounts) == ("tiny-size", bzimage_version(kernel.path), ())
    settings = kconfig.fitting(tiny.settings_of("size", ()), kernel.version)
    kconfig.refuse_lost(settings, (kernel.path.parent / "config").read_text())
    build = lab.build("small_hello", text=IPV4_HELLO, target="release", ports=(8080,))
    image = lab._image(build, "linux", "", ("tiny", "small"))
    assert dict(image.files) == {"kernel": "kernel", "initramfs": "initramfs"}
    assert answer(store, image) == "1"
    assert image.shipped_bytes < lab._image(build, "oci", "scratch").shipped_bytes


def test_a_kernel_with_every_option_answers_over_ipv6_sockets_on_a_bus_with_two_processors(
        variant: Lab, every: Kernel) -> None:
    assert (every.platform, every.processors) == ("pci", None)
    image = build_linux(variant.store, variant.named("variant").release, every)
    assert image.platform == "pci"
    assert answer(variant.store, image, vcpus=2) == "2"


def test_the_same_kernel_answers_without_a_bus(variant: Lab, every: Kernel) -> None:
    kernel = dataclasses.replace(every, platform="mmio")
    assert answer(variant.store, build_linux(variant.store, variant.named("variant").release, kernel)) == "1"


@pytest.mark.parametrize("arm", ["disk+tiny@qemu", "disk+bios+tiny@qemu"])
def test_a_disk_with_a_kernel_of_its_own_is_small_and_tells_its_marks(lab: Lab, arm: str) -> None:
    lab.build("small_hello", text=IPV4_HELLO, ports=(8080,))
    machine = lab.boot("small_hello", arm=arm, http="/")
    assert list(machine.marks) == ["spawn", "vmm", "kernel", "init", "beam", "app", "http"]
    machine.stop()
    assert lab.image(lab.named("small_hello"), Arm.parse(arm)).shipped_bytes < 12_000_000
