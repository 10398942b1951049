"""The tiny kernel, really compiled: hello, generated projects and RabbitMQ run on it.

Compiling takes minutes, so there is one kernel for all tests: the smallest form, which has the least to work with.
"""

from __future__ import annotations

import hashlib
import re
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika
import pytest

from unibeam_nb.errors import BootFailed, ImageError, UsageError
from unibeam_nb.image import kbuild, kconfig, linux_source, tiny
from unibeam_nb.image.kernels import Kernel, bzimage_version
from unibeam_nb.lab import Lab
from unibeam_nb.machine import Machine, prove_accelerator
from unibeam_nb.machine.accelerator import boot_tiny
from unibeam_nb.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

ARM = "linux+tiny+small@qemu"

HELLO = r"""
-module(tiny_hello).
-export([start/0]).

start() ->
    case os:getenv("MISBEHAVE") of
        "halt" -> io:format("tiny_hello: cannot find my configuration~n"), erlang:halt(3);
        _ -> ok
    end,
    {ok, Listen} = gen_tcp:listen(list_to_integer(os:getenv("PORT")), [binary, {active, false}, {reuseaddr, true}]),
    Loop = spawn(fun() -> accept(Listen) end),
    gen_tcp:controlling_process(Listen, Loop).

accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    _ = gen_tcp:recv(Socket, 0, 5000),
    Body = io_lib:format("~b ~b", [slept(), clock_step()]),
    gen_tcp:send(Socket, ["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ",
                          integer_to_list(iolist_size(Body)), "\r\n\r\n", Body]),
    gen_tcp:close(Socket),
    accept(Listen).

%% The shortest of some sleeps of a millisecond, in microseconds.
slept() -> lists:min([element(1, timer:tc(timer, sleep, [1])) || _ <- lists:seq(1, 10)]).

%% The smallest step of the clock, in nanoseconds.
clock_step() -> clock_step(erlang:monotonic_time(nanosecond)).
clock_step(Then) ->
    case erlang:monotonic_time(nanosecond) of
        Then -> clock_step(Then);
        Now -> Now - Then
    end.
"""


@pytest.fixture(scope="module")
def kernel(store: Store) -> Kernel:
    return tiny.build_tiny(store, "size")


@pytest.fixture(scope="module")
def tree(store: Store) -> Iterator[Path]:
    """The source, unpacked."""
    with store.scratch() as scratch:
        linux_source.unpack(linux_source.linux_source(store), scratch / "linux")
        yield scratch / "linux"


@contextmanager
def booted(lab: Lab, name: str, **options: Any) -> Iterator[Machine]:
    machine = lab.boot(name, arm=ARM, **options)
    try:
        yield machine
    finally:
        machine.stop()


def get(machine: Machine) -> str:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    assert machine.url is not None
    with urllib.request.urlopen(machine.url, context=context, timeout=60) as answer:
        return str(answer.read().decode())


def test_the_smallest_kernel_has_no_modules_and_a_megabyte_and_a_half_at_most(kernel: Kernel, store: Store) -> None:
    assert kernel.path.stat().st_size <= 1_500_000
    assert (kernel.name, kernel.platform, kernel.modules, kernel.processors) == ("tiny-size", "mmio", None, 1)
    assert kernel.version == bzimage_version(kernel.path)
    source = linux_source.linux_source(store)
    assert kernel.version.startswith(source.kernel)
    assert kernel.source == f"{source} ({kbuild.compiler()})"
    assert tiny.tiny_from_name(store, "tiny-size") == kernel
    kconfig.refuse_lost(tiny.settings_of("size", ()), (kernel.path.parent / "config").read_text())


def test_nothing_of_this_host_is_in_it(kernel: Kernel, store: Store) -> None:
    head = kernel.path.read_bytes()[:0x8000]
    told = re.search(rb"\d+\.\d+\.\d+ \(unibeam@unibeam\) #1 [^\0]*1970", head)
    assert told is not None
    assert str(store.cache).encode() not in kernel.path.read_bytes()


def test_hello_answers_on_it_and_has_a_fine_clock(lab: Lab, kernel: Kernel) -> None:
    build = lab.build("tiny_hello", text=HELLO, ports=(8080,))
    with booted(lab, "tiny_hello", http="/", mem_mb=128) as machine:
        assert [m for m in machine.marks if m != "vmm"] == ["spawn", "kernel", "init", "beam", "app", "http"]
        assert machine.arm == ARM
        slept, step = map(int, get(machine).split())
        image = lab._image(build, "linux", "", ("tiny", "small"))
        assert machine.image_sha256 == image.sha256
    # A kernel that lost its clock counts ticks of four milliseconds, and sleeps two of them at least.
    assert slept < 4000
    assert step < 1_000_000
    assert (image.kernel, image.platform, image.kind) == (kernel.version, "mmio", "linux+tiny+small")
    assert "kernel modules" not in [part.name for part in image.parts]
    assert image.shipped_bytes < lab._image(build, "oci", "scratch").shipped_bytes


def test_counted_boots_take_the_same_time_and_their_stages_are_all_of_it(lab: Lab) -> None:
    lab.build("tiny_hello", text=HELLO, ports=(8080,))
    totals = []
    for _ in range(3):
        with booted(lab, "tiny_hello", accelerator="icount", mem_mb=128) as machine:
            times = [mark.at for mark in machine.marks.values()]
            assert list(machine.marks) == ["spawn", "vmm", "kernel", "init", "beam", "app"]
            assert times == sorted(times)
            assert times[:2] == [0.0, 0.0]
            assert times[2] > 0.0
            assert machine.accelerator == "icount"
            totals.append(times[-1])
    # No timing: a host that is twice as slow counts the same instructions.
    assert (max(totals) - min(totals)) / min(totals) < 0.01


def test_a_program_that_ends_ends_its_microvm_with_its_exit_code(lab: Lab) -> None:
    lab.build("tiny_hello", text=HELLO, ports=(8080,))
    with pytest.raises(BootFailed) as caught:
        lab.boot("tiny_hello", arm=ARM, env=("MISBEHAVE=halt",), mem_mb=128)
    assert caught.value.message == "tiny_hello crashed at start with exit code 3."
    assert "tiny_hello: cannot find my configuration" in caught.value.details


def test_too_little_memory_is_told_as_such(lab: Lab) -> None:
    lab.build("tiny_hello", text=HELLO, ports=(8080,))
    with pytest.raises(BootFailed) as caught:
        lab.boot("tiny_hello", arm=ARM, mem_mb=24, deadline=60.0)
    assert "24 MB" in caught.value.message


def test_more_processors_than_the_kernel_uses_are_refused(lab: Lab) -> None:
    lab.build("tiny_hello", text=HELLO, ports=(8080,))
    with pytest.raises(UsageError) as caught:
        lab.boot("tiny_hello", arm=ARM, vcpus=2)
    assert str(caught.value) == ("The kernel of tiny_hello uses 1 processor of 2.\n"
                                 "  Hint: Leave out --vcpus, or build with a kernel for more: --kernel tiny+smp.")


def test_the_accelerator_is_proved_on_the_machine_that_will_run(store: Store, kernel: Kernel) -> None:
    assert boot_tiny(store, "tcg", kernel.path, 60.0, "mmio") is None
    assert prove_accelerator(store, "auto", kernel.path, "mmio").name in ("kvm", "tcg")


def test_options_that_do_not_exist_or_that_others_decide_are_refused(tree: Path) -> None:
    settings = tiny.settings_of("size", ("CONFIG_DRM_VIRTIO_GPU=y",))
    with pytest.raises(ImageError) as caught:
        kbuild.configure(tree, settings, "6.1")
    assert caught.value.message == "The kernel's configuration does not take CONFIG_DRM_VIRTIO_GPU=y: it becomes n."
    with pytest.raises(UsageError) as refused:
        kbuild.configure(tree, tiny.settings_of("size", ("CONFIG_VIRTIO_NETT=y",)), "6.1")
    assert refused.value.message == "Linux 6.1 has no option CONFIG_VIRTIO_NETT."
    assert refused.value.hint == "Did you mean CONFIG_VIRTIO_NET?"


def test_every_option_and_all_of_them_are_ones_the_kernel_takes(tree: Path) -> None:
    for profile, extras in (("size", tiny.OPTIONS), *(("boot", (option,)) for option in tiny.OPTIONS)):
        settings = tiny.settings_of(profile, extras)
        config = kbuild.configure(tree, settings, "6.1")
        assert {f"CONFIG_{s.name}={s.value}" for s in settings if s.value != kconfig.OFF} <= set(config.split("\n"))


def test_a_generated_release_serves_https_on_it(lab: Lab, rebar3_release: Path) -> None:
    lab.build("web", path=rebar3_release, ports=(8443,))
    with booted(lab, "web", http="https:8443/") as machine:
        assert get(machine) == hashlib.sha256(b"unibeam").hexdigest().upper()


def test_rabbitmq_delivers_messages_on_it(lab: Lab, rabbitmq: Path) -> None:
    lab.build("rabbitmq", path=rabbitmq, ports=(5672,))
    with booted(lab, "rabbitmq", http="tcp:5672", mem_mb=512, deadline=300.0) as machine:
        connection = pika.BlockingConnection(pika.ConnectionParameters(
            "127.0.0.1", machine.ports[5672], heartbeat=0, socket_timeout=60, stack_timeout=120))
        channel = connection.channel()
        channel.queue_declare("work", durable=True)
        channel.confirm_delivery()
        sent = [f"message {number}".encode() for number in range(100)]
        for body in sent:
            channel.basic_publish("", "work", body, pika.BasicProperties(delivery_mode=2), mandatory=True)
        received = [channel.basic_get("work", auto_ack=True)[2] for _ in sent]
        connection.close()
    assert received == sent
