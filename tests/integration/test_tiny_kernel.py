"""The tiny kernel, really compiled: hello, generated projects and RabbitMQ run on it, from a root on a disk.

Compiling takes minutes, so there is one kernel for all tests. The others, the smallest form and one with every option,
are compiled by `make kernels` (test_kernel_variants.py).
"""

from __future__ import annotations

import hashlib
import itertools
import re
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika
import pytest

from unibeam_nb import process, tools
from unibeam_nb.errors import BootFailed, ImageError, MachineError, UsageError
from unibeam_nb.image import kbuild, kconfig, linux_source, tiny
from unibeam_nb.image.kernels import Kernel
from unibeam_nb.image.linux import build_linux
from unibeam_nb.lab import Lab
from unibeam_nb.machine import Machine, prove_accelerator
from unibeam_nb.machine.accelerator import boot_tiny
from unibeam_nb.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

ARM = "linux+tiny@qemu"

HELLO = r"""
-module(tiny_hello).
-export([start/0]).

start() ->
    case os:getenv("MISBEHAVE") of
        "halt" -> io:format("tiny_hello: cannot find my configuration~n"), erlang:halt(3);
        _ -> ok
    end,
    case os:getenv("WRITE") of
        false -> ok;
        _ ->
            Outcome = fun(ok) -> ok; ({error, Reason}) -> Reason end,
            io:format("tiny_hello: home ~p, /opt/release ~p~n",
                      [Outcome(file:write_file("here", <<"x">>)), Outcome(file:write_file("/opt/release/x", <<"x">>))])
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
    return tiny.build_tiny(store)


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


def test_a_kernel_is_what_its_settings_say_and_has_no_modules(kernel: Kernel, store: Store) -> None:
    assert (kernel.name, kernel.platform, kernel.modules, kernel.processors) == ("tiny", "mmio", None, 1)
    source = linux_source.linux_source(store)
    assert kernel.version.startswith(source.kernel)
    assert kernel.source == f"{source} ({kbuild.compiler()})"
    assert tiny.tiny_from_name(store, "tiny") == kernel
    settings = kconfig.fitting(tiny.settings_of("boot", ()), source.kernel)
    kconfig.refuse_lost(settings, (kernel.path.parent / "config").read_text())


def test_nothing_of_this_host_is_in_it(kernel: Kernel, store: Store) -> None:
    whole = kernel.path.read_bytes()
    assert re.search(rb"Linux version \d+\.\d+\.\d+ \(unibeam@unibeam\) [^\0]* #1 [^\0]*1970", whole)
    assert str(store.cache).encode() not in whole


def test_it_is_entered_directly_and_holds_nothing_that_is_not_loaded(kernel: Kernel) -> None:
    whole = kernel.path.read_bytes()
    assert whole[:4] == b"\x7fELF"
    # Two gaps of 2 MiB, and symbols, would make it more than twice as large.
    assert len(whole) < 6_000_000


def test_hello_answers_on_it_and_has_a_fine_clock(lab: Lab, kernel: Kernel) -> None:
    build = lab.build("tiny_hello", text=HELLO, ports=(8080,))
    with booted(lab, "tiny_hello", http="/", mem_mb=128) as machine:
        assert [m for m in machine.marks if m != "vmm"] == ["spawn", "kernel", "init", "beam", "app", "http"]
        assert machine.arm == ARM
        slept, step = map(int, get(machine).split())
        image = lab._image(build, "linux", "", ("tiny",))
        assert machine.image_sha256 == image.sha256
    # A kernel that lost its clock counts ticks of four milliseconds, and sleeps two of them at least.
    assert slept < 4000
    assert step < 1_000_000
    assert (image.kernel, image.platform, image.kind) == (kernel.version, "mmio", "linux+tiny")
    assert dict(image.files) == {"kernel": "kernel", "root": "root"}
    assert "kernel modules" not in [part.name for part in image.parts]


def test_a_root_is_the_same_bytes_wherever_it_is_made_and_smaller_when_packed(
        lab: Lab, kernel: Kernel, fresh_store: Store) -> None:
    release = lab.build("tiny_hello", text=HELLO, ports=(8080,)).release
    plain, packed = (build_linux(lab.store, release, kernel, how) for how in (None, "lz4"))
    again = build_linux(fresh_store, release, kernel)
    assert (again.sha256, again.cached) == (plain.sha256, False)
    assert packed.file("root").stat().st_size < 0.8 * plain.file("root").stat().st_size
    tree = process.run([tools.find("dump.erofs"), "--path=/etc/hosts", plain.file("root")]).stdout
    assert "symlink" in tree


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
    # No timing: a host that is twice as slow counts the same instructions. What a guest waits for is counted too, and
    # a disk that the host has yet to read is such a thing: so the two that agree best are held to it.
    totals.sort()
    assert min((later - sooner) / sooner for sooner, later in itertools.pairwise(totals)) < 0.001


def test_a_program_that_ends_ends_its_microvm_with_its_exit_code(lab: Lab) -> None:
    lab.build("tiny_hello", text=HELLO, ports=(8080,))
    with pytest.raises(BootFailed) as caught:
        lab.boot("tiny_hello", arm=ARM, env=("MISBEHAVE=halt",), mem_mb=128)
    assert caught.value.message == "tiny_hello crashed at start with exit code 3."
    assert "tiny_hello: cannot find my configuration" in caught.value.details


def test_memory_that_cannot_do_is_refused_before_the_boot_with_a_number_that_does(lab: Lab) -> None:
    lab.build("tiny_hello", text=HELLO, ports=(8080,))
    for arm in (ARM, "linux+tiny+initramfs@qemu"):
        with pytest.raises(MachineError) as caught:
            lab.boot("tiny_hello", arm=arm, mem_mb=4)
        assert caught.value.message.startswith("tiny_hello cannot start in 4 MB: it takes ")
        enough = re.fullmatch(r"Give it more: --mem (\d+)\.", caught.value.hint or "")
        assert enough is not None
        machine = lab.boot("tiny_hello", arm=arm, mem_mb=int(enough[1]), http="/")
        machine.stop()


def test_too_little_memory_that_only_a_boot_can_tell_is_told_as_such(lab: Lab) -> None:
    lab.build("tiny_hello", text=HELLO, ports=(8080,))
    with pytest.raises(BootFailed) as caught:
        lab.boot("tiny_hello", arm=ARM, mem_mb=16, deadline=10.0)
    assert caught.value.message.startswith("tiny_hello did not reach app within 10.00 s in 16 MB; the last mark ")
    assert (caught.value.hint or "").startswith("Give it more: --mem ")


def test_a_packed_root_does_the_same_and_nothing_can_write_to_it(lab: Lab) -> None:
    lab.build("tiny_hello", text=HELLO, ports=(8080,), compression="lz4")
    with booted(lab, "tiny_hello", http="/", mem_mb=64, env=("WRITE=1",)) as machine:
        get(machine)
        assert "tiny_hello: home ok, /opt/release erofs" in "\n".join(machine.console.lines())
    lab.build("tiny_hello", text=HELLO, ports=(8080,))


def test_more_processors_than_the_kernel_uses_are_refused(lab: Lab) -> None:
    lab.build("tiny_hello", text=HELLO, ports=(8080,))
    with pytest.raises(UsageError) as caught:
        lab.boot("tiny_hello", arm=ARM, vcpus=2)
    assert str(caught.value) == ("The kernel of tiny_hello uses 1 processor of 2.\n"
                                 "  Hint: Leave out --vcpus, or build with a kernel for more: --kernel tiny+smp.")


def test_the_accelerator_is_proved_on_the_machine_that_will_run(store: Store, kernel: Kernel) -> None:
    assert boot_tiny(store, "tcg", kernel.path, 60.0, "mmio") is None
    assert prove_accelerator(store, "auto", kernel.path, "mmio").name in ("kvm", "tcg")


def test_options_that_do_not_exist_or_that_others_decide_are_refused(tree: Path, store: Store) -> None:
    version = linux_source.linux_source(store).kernel
    settings = tiny.settings_of("size", ("CONFIG_DRM_VIRTIO_GPU=y",))
    with pytest.raises(ImageError) as caught:
        kbuild.configure(tree, settings, version)
    assert caught.value.message == "The kernel's configuration does not take CONFIG_DRM_VIRTIO_GPU=y: it becomes n."
    with pytest.raises(UsageError) as refused:
        kbuild.configure(tree, tiny.settings_of("size", ("CONFIG_VIRTIO_NETT=y",)), version)
    assert refused.value.message == f"Linux {version} has no option CONFIG_VIRTIO_NETT."
    assert refused.value.hint == "Did you mean CONFIG_VIRTIO_NET?"


def test_every_option_and_all_of_them_are_ones_the_kernel_takes(tree: Path, store: Store) -> None:
    version = linux_source.linux_source(store).kernel
    for profile, extras in (("size", tiny.OPTIONS), *(("boot", (option,)) for option in tiny.OPTIONS)):
        settings = kconfig.fitting(tiny.settings_of(profile, extras), version)
        config = kbuild.configure(tree, settings, version)
        assert {f"CONFIG_{s.name}={s.value}" for s in settings if s.value != kconfig.OFF} <= set(config.split("\n"))


def test_a_generated_release_serves_https_on_it(lab: Lab, rebar3_release: Path) -> None:
    lab.build("web-tiny", path=rebar3_release, ports=(8443,))
    with booted(lab, "web-tiny", http="https:8443/") as machine:
        assert get(machine) == hashlib.sha256(b"unibeam").hexdigest().upper()


def test_rabbitmq_delivers_messages_on_it(lab: Lab, rabbitmq: Path) -> None:
    lab.build("rabbitmq-tiny", path=rabbitmq, ports=(5672,))
    with booted(lab, "rabbitmq-tiny", http="tcp:5672", mem_mb=512, deadline=300.0) as machine:
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
