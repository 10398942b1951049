"""Real machines in all four runners: booted, answered, measured, stopped, and failing as people make them fail."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from unibeam_nb.errors import BootFailed, Cancelled, MachineError, PortInUse
from unibeam_nb.image import build_image
from unibeam_nb.image.uml import uml_kernel
from unibeam_nb.machine import BootOptions, Machine, boot, clean, find_machine, machines, proc, prove_accelerator
from unibeam_nb.machine.accelerator import boot_tiny
from unibeam_nb.machine.podman import places
from unibeam_nb.machine.ports import any_free
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.runners import runner_of
from unibeam_nb.model import Image, Probe
from unibeam_nb.progress import StepEvent, listening
from unibeam_nb.release import release_from_cell
from unibeam_nb.store import Store

HELLO = r"""
-module(hello).
-export([start/0]).

start() ->
    misbehave(os:getenv("MISBEHAVE")),
    Port = list_to_integer(os:getenv("PORT", "8080")),
    {ok, Listen} = gen_tcp:listen(Port, [binary, {active, false}, {reuseaddr, true}]),
    io:format("listening\e[31m in red\e[0m~n"),
    Loop = spawn(fun() -> accept(Listen) end),
    gen_tcp:controlling_process(Listen, Loop).

misbehave("halt") -> io:format("hello: cannot find my configuration~n"), erlang:halt(3);
misbehave("crash") -> error(no_configuration);
misbehave("hang") -> timer:sleep(infinity);
misbehave("eat") -> eat([]);
misbehave(_) -> ok.

eat(Eaten) -> eat([binary:copy(<<0:1048576>>, 256) | Eaten]).

accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    _ = gen_tcp:recv(Socket, 0, 5000),
    Body = os:getenv("GREETING", "hello"),
    gen_tcp:send(Socket, ["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ",
                          integer_to_list(length(Body)), "\r\n\r\n", Body]),
    gen_tcp:close(Socket),
    accept(Listen).
"""

CONTAINERS = ("podman", "docker", "crun", "runc")
TARGETS = {"qemu": ("linux", ""), "uml": ("linux", ""), **dict.fromkeys(CONTAINERS, ("oci", "scratch")),
           "process": ("release", "")}
RUNNERS = tuple(TARGETS)

IN_HOST_KERNEL = ["spawn", "beam", "app", "http"]
MARKS = {**dict.fromkeys(RUNNERS, IN_HOST_KERNEL),
         "qemu": ["spawn", "vmm", "kernel", "init", "beam", "app", "http"],
         "uml": ["spawn", "kernel", "init", "beam", "app", "http"]}

ANSWERED = BootOptions(probe=Probe(8080), until="http")


@pytest.fixture
def place(store: Store, fresh_store: Store) -> Store:
    """A store with a registry of its own, and the cache that all tests share."""
    return Store(store.cache, fresh_store.state)


def image_of(store: Store, runner: str) -> Image:
    release = release_from_cell(store, "hello", HELLO, ports=(8080,))
    target, flavour = TARGETS[runner]
    return build_image(store, release, target, flavour, kernel=uml_kernel() if runner == "uml" else None)


@contextmanager
def booted(place: Store, runner: str, options: BootOptions = ANSWERED, **named: str) -> Iterator[Machine]:
    machine = boot(place, image_of(place, runner), runner, options, **named)
    try:
        yield machine
    finally:
        machine.stop()


def get(machine: Machine) -> str:
    assert machine.url is not None
    with urllib.request.urlopen(machine.url, timeout=30) as answer:
        return str(answer.read().decode())


def family(machine: Machine) -> list[ProcessId]:
    """Every process on this host that has to do with the machine."""
    directory = machine.console.path.parent
    own = machine.record.process
    assert own is not None
    named = [p for entry in Path("/proc").iterdir() if entry.name.isdecimal() and (p := _mentions(entry, machine.id))]
    return [*{own, *proc.descendants(own), *runner_of(machine.record).payload(machine.record, directory), *named}]


def _mentions(entry: Path, text: str) -> ProcessId | None:
    try:
        return proc.identify(int(entry.name)) if text.encode() in (entry / "cmdline").read_bytes() else None
    except OSError:
        return None


def assert_nothing_is_left(place: Store, family: list[ProcessId]) -> None:
    assert [process for process in family if process.alive] == []
    assert machines(place) == []
    assert [path.name for path in (place.state / "machines").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_machine_boots_answers_is_measured_and_leaves_nothing(place: Store, runner: str) -> None:
    with booted(place, runner) as machine:
        assert get(machine) == "hello"
        assert list(machine.marks) == MARKS[runner]
        # The answer may arrive a moment before the line that says that every application is started.
        times = [mark.at for name, mark in machine.marks.items() if name != "http"]
        assert times == sorted(times)
        assert times[-2] < machine.marks["http"].at
        assert times[0] == 0.0
        assert "listening in red" in machine.console.lines()
        memory = machine.memory()
        assert memory.beam is not None
        assert 5_000_000 < memory.beam < memory.payload < 240_000_000
        assert (memory.overhead == 0) is (runner == "process")
        assert memory.overhead < 400_000_000
        assert machine.accelerator == ("native" if runner != "qemu" else prove_accelerator(place).name)
        whole = family(machine)
        assert len(whole) >= 1
        assert machine.exit_code is None
        mounts = Path("/proc/mounts").read_text()
        assert machine.id not in mounts
        machine.stop()
    assert not machine.alive
    assert "listening in red" in machine.console.text()
    assert_nothing_is_left(place, whole)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/unibeam-{machine.id}"))


@pytest.mark.parametrize("runner", RUNNERS)
def test_every_port_listens_on_the_loopback_address_of_this_host(place: Store, runner: str) -> None:
    wanted = any_free()
    options = dataclasses.replace(ANSWERED, ports=((wanted, 8080),))
    with booted(place, runner, options) as machine:
        assert machine.ports == {8080: wanted}
        assert machine.url == f"http://127.0.0.1:{wanted}/"
        assert get(machine) == "hello"


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_users_variables_reach_the_program(place: Store, runner: str) -> None:
    """Also where the machine asks the network for its address, which only a virtual one can."""
    options = dataclasses.replace(ANSWERED, env=(("GREETING", "hello world"),), dhcp=runner == "qemu")
    with booted(place, runner, options) as machine:
        assert get(machine) == "hello world"


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_program_that_halts_at_start_is_reported_with_its_own_words(place: Store, runner: str) -> None:
    with pytest.raises(BootFailed) as caught:
        boot(place, image_of(place, runner), runner, BootOptions(env=(("MISBEHAVE", "halt"),)))
    assert caught.value.message == "hello crashed at start with exit code 3."
    assert "hello: cannot find my configuration" in caught.value.details
    assert_nothing_is_left(place, [])


@pytest.mark.parametrize("runner", ["qemu", "process"])
def test_a_program_that_crashes_at_start_is_reported_with_its_reason(place: Store, runner: str) -> None:
    with pytest.raises(BootFailed) as caught:
        boot(place, image_of(place, runner), runner, BootOptions(env=(("MISBEHAVE", "crash"),)))
    assert caught.value.message.startswith("hello crashed at start with exit code ")
    assert any("no_configuration" in line for line in caught.value.details)
    assert_nothing_is_left(place, [])


def test_a_program_that_hangs_is_ended_at_its_deadline(place: Store) -> None:
    began = time.monotonic()
    with pytest.raises(BootFailed) as caught:
        boot(place, image_of(place, "process"), "process", BootOptions(env=(("MISBEHAVE", "hang"),), deadline=3))
    assert time.monotonic() - began < 60.0
    assert caught.value.message == "hello did not reach app within 3.00 s; the last mark seen was beam."
    assert_nothing_is_left(place, [])


def test_a_guest_that_eats_its_memory_is_reported_with_a_way_out(place: Store) -> None:
    with pytest.raises(BootFailed) as caught:
        boot(place, image_of(place, "qemu"), "qemu", BootOptions(env=(("MISBEHAVE", "eat"),)))
    assert caught.value.message == "hello ran out of memory with 256 MB."
    assert caught.value.hint == "Give it more: --mem 512."


@pytest.mark.parametrize("mem_mb", [40, 96])
def test_a_guest_with_too_little_memory_is_reported_within_its_deadline(place: Store, mem_mb: int) -> None:
    """What cannot do is refused before the boot, what turns out not to do is told afterwards."""
    with pytest.raises(MachineError) as caught:
        boot(place, image_of(place, "qemu"), "qemu", BootOptions(mem_mb=mem_mb, deadline=60))
    assert f"{mem_mb} MB" in caught.value.message
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Give it more: --mem ")
    assert_nothing_is_left(place, [])


@pytest.mark.parametrize("runner", CONTAINERS)
def test_a_container_that_eats_its_memory_is_killed_and_reported(place: Store, runner: str) -> None:
    from unibeam_nb import tools
    from unibeam_nb.machine import ways

    with booted(place, runner):
        way = ways.Way() if runner == "docker" else ways.remembered(place, tools.find(runner))
    if way is None or not way.cgroups:
        pytest.skip(f"{runner} cannot use cgroups on this host, so it cannot limit memory")
    with pytest.raises(BootFailed) as caught:
        boot(place, image_of(place, runner), runner, BootOptions(mem_mb=64, env=(("MISBEHAVE", "eat"),)))
    assert "64 MB" in caught.value.message


def test_a_file_that_is_no_kernel_is_reported_with_qemus_words(place: Store, tmp_path: Path) -> None:
    image = image_of(place, "qemu")
    (tmp_path / "initramfs").symlink_to(image.file("initramfs"))
    (tmp_path / "kernel").write_bytes(b"this is not a kernel" * 5000)
    with pytest.raises(BootFailed) as caught:
        boot(place, dataclasses.replace(image, path=tmp_path), "qemu", BootOptions(accelerator="tcg", deadline=20))
    assert caught.value.message == "QEMU could not start hello (exit status 1)."
    assert any("kernel" in line for line in caught.value.details)
    assert not any("waiting" in line for line in caught.value.details)


def test_a_kernel_that_says_nothing_is_reported_as_the_wrong_one(place: Store, tmp_path: Path) -> None:
    # A boot-protocol header (Documentation/x86/boot.rst) over code that only loops: it loads, runs, and is silent.
    kernel = bytearray(64 << 10)
    kernel[0x1f1], kernel[0x1fe:0x200], kernel[0x200:0x202] = 4, b"\x55\xaa", b"\xeb\x66"
    kernel[0x202:0x206], kernel[0x206:0x208] = b"HdrS", b"\x0c\x02"
    kernel[0x211], kernel[0x22c:0x230] = 1, (0x7fffffff).to_bytes(4, "little")
    kernel[0x268:0x26a] = b"\xeb\xfe"
    image = image_of(place, "qemu")
    (tmp_path / "initramfs").symlink_to(image.file("initramfs"))
    (tmp_path / "kernel").write_bytes(kernel)
    with pytest.raises(BootFailed) as caught:
        boot(place, dataclasses.replace(image, path=tmp_path), "qemu", BootOptions(accelerator="tcg", deadline=6))
    assert caught.value.message == "The kernel of hello printed nothing within 6.00 s."
    assert caught.value.hint is not None
    assert "wrong kernel" in caught.value.hint
    assert_nothing_is_left(place, [])


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_port_in_use_is_refused_before_anything_starts(place: Store, runner: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortInUse) as caught:
            boot(place, image_of(place, runner), runner, BootOptions(ports=((port, 8080),)))
    assert caught.value.message.startswith(f"Port {port} on 127.0.0.1 is in use by ")
    assert f"(pid {os.getpid()})" in caught.value.message
    assert_nothing_is_left(place, [])


def test_two_machines_share_the_host_without_sharing_a_port(place: Store) -> None:
    with booted(place, "process") as first, booted(place, "process") as second:
        assert (first.name, second.name) == ("hello", "hello-2")
        assert first.ports[8080] != second.ports[8080]
        assert get(first) == get(second) == "hello"
        with pytest.raises(MachineError, match=r"^A machine called hello is running already\."):
            boot(place, image_of(place, "process"), "process", name="hello")


def test_a_program_that_ends_by_itself_is_known_to_have_ended(place: Store) -> None:
    with booted(place, "process") as machine:
        assert machine.record.process is not None
        proc.send(machine.record.process, signal.SIGTERM)
        ends = time.monotonic() + 10
        while machine.alive:
            assert time.monotonic() < ends
            time.sleep(0.02)
        assert machine.exit_code == 0
        assert [m.alive for m in machines(place)] == [False]


BOOT_AND_LEAVE = """
    import json, os, signal, sys, time
    from pathlib import Path
    from unibeam_nb.machine import BootOptions, boot
    from unibeam_nb.jsonable import from_json
    from unibeam_nb.model import Image, Probe
    from unibeam_nb.store import Store
    cache, state, image, runner = sys.argv[1:]
    machine = boot(Store(Path(cache), Path(state)), from_json(Image, json.loads(image)), runner,
                   BootOptions(probe=Probe(8080), until="http"))
    print(machine.id, flush=True)
    time.sleep(600)
"""


@contextmanager
def another_process(place: Store, runner: str) -> Iterator[subprocess.Popen[str]]:
    from unibeam_nb.jsonable import dump

    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BOOT_AND_LEAVE), str(place.cache), str(place.state),
         dump(image_of(place, runner)), runner], stdout=subprocess.PIPE, text=True, start_new_session=True)
    with child:
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_machine_survives_an_interrupt_and_the_end_of_who_booted_it(place: Store, runner: str) -> None:
    with another_process(place, runner) as child:
        assert child.stdout is not None
        name = child.stdout.readline().strip()
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait(timeout=20) != 0
    machine = find_machine(place, name)
    try:
        assert machine.alive
        assert get(machine) == "hello"
        assert machine.memory().payload > 5_000_000
        assert list(machine.marks) == MARKS[runner]
        assert "listening in red" in machine.console.text()
        whole = family(machine)
        assert clean(place)[0] == f"Stopped hello ({machine.id}, {machine.arm})."
    finally:
        machine.stop()
    assert not machine.alive
    assert_nothing_is_left(place, whole)


def test_clean_takes_what_is_ours_and_nothing_else(place: Store, tmp_path: Path) -> None:
    other = Store(place.cache, tmp_path / "other")
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        with booted(other, "process") as theirs:
            ours = boot(place, image_of(place, "process"), "process", ANSWERED)
            assert clean(place)[0] == f"Stopped hello ({ours.id}, release@process)."
            assert not ours.alive
            assert theirs.alive
            assert get(theirs) == "hello"
            assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("runner", ["qemu", "process"])
def test_work_that_is_cancelled_leaves_no_machine(place: Store, runner: str) -> None:
    cancelled = threading.Event()
    image = image_of(place, runner)
    prove_accelerator(place)

    def stop_soon(event: StepEvent) -> None:
        if event.kind == "begin" and event.title.startswith("Booting hello"):
            threading.Timer(1.0, cancelled.set).start()

    with listening(stop_soon, cancelled=cancelled), pytest.raises(Cancelled):
        boot(place, image, runner, BootOptions(env=(("MISBEHAVE", "hang"),)))
    assert_nothing_is_left(place, [])


def test_an_interrupt_during_a_boot_leaves_no_machine(place: Store) -> None:
    image = image_of(place, "process")
    timer = threading.Timer(1.0, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        boot(place, image, "process", BootOptions(env=(("MISBEHAVE", "hang"),)))
    timer.join()
    assert_nothing_is_left(place, [])


CHATTER = """
-module(chatter).
-export([start/0]).

start() ->
    spawn(fun() -> chat(open_port({fd, 1, 1}, [out])) end),
    timer:sleep(50),
    ok.

chat(Port) ->
    port_command(Port, "la "),
    chat(Port).
"""


@pytest.mark.parametrize("runner", ["process", "crun", "podman"])
def test_what_a_program_prints_meanwhile_does_not_get_into_a_mark(place: Store, runner: str) -> None:
    release = release_from_cell(place, "chatter", CHATTER)
    target, flavour = TARGETS[runner]
    machine = boot(place, build_image(place, release, target, flavour), runner,
                   BootOptions(vcpus=2, deadline=30))
    machine.stop()
    assert list(machine.marks) == [mark for mark in MARKS[runner] if mark != "http"]


@pytest.mark.parametrize("runner", [runner for runner in RUNNERS if runner != "uml"])
@pytest.mark.parametrize("name", ["My Caches=New", "caches, v1:2"])
def test_the_cache_may_lie_anywhere(store_at: Callable[[Path], Store], tmp_path: Path, runner: str, name: str) -> None:
    """Each runner hands paths to another program, which has its own ideas of what a path or a name may hold."""
    odd = store_at(tmp_path / name)
    if "," in name and runner in ("podman", "docker"):
        with pytest.raises(MachineError) as raised, booted(odd, runner):
            pass
        assert str(raised.value) == (
            f"No container engine can keep images in {odd.cache / runner}: its path has ',' and ':' in it.\n"
            "  Hint: Set UNIBEAM_HOME to another folder, or use a runner such as crun.")
        return
    try:
        with booted(odd, runner) as machine:
            assert get(machine) == "hello"
    finally:
        clean(odd)


def test_podman_keeps_to_itself(place: Store) -> None:
    own = places(place)
    assert own.root.is_relative_to(place.cache)
    with booted(place, "podman") as machine:
        listed = subprocess.run(["podman", "ps", "--all", "--format", "{{.Names}}"], capture_output=True, text=True,
                                check=False)
        assert machine.id not in listed.stdout


def test_podman_works_on_where_temporary_files_lie_elsewhere_today(place: Store, tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """podman notes where it runs, and refuses to work from any other path afterwards."""
    for name in ("yesterday", "today"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv("TMPDIR", str(tmp_path / name))
        monkeypatch.setattr(tempfile, "tempdir", None)
        with booted(place, "podman") as machine:
            assert get(machine) == "hello"


def test_clean_removes_a_container_whose_machine_was_forgotten_and_spares_others(place: Store, tmp_path: Path) -> None:
    from unibeam_nb.machine import registry

    other = Store(place.cache, tmp_path / "other")
    with booted(other, "podman") as theirs, booted(place, "podman") as ours:
        whole = family(ours)
        registry.forget(ours.console.path.parent)
        assert clean(place) == [f"Removed the container unibeam-{ours.id}, which no machine owned."]
        assert proc.wait(whole, 5.0)
        assert not list(Path("/sys/fs/cgroup").glob(f"*/unibeam-{ours.id}"))
        assert theirs.alive
        assert get(theirs) == "hello"


def test_the_full_flavour_runs_the_very_same_release(place: Store) -> None:
    release = release_from_cell(place, "hello", HELLO, ports=(8080,))
    full = build_image(place, release, "oci", "full")
    machine = boot(place, full, "runc", ANSWERED)
    try:
        assert machine.arm == "oci+full@runc"
        assert get(machine) == "hello"
        inside = runner_of(machine.record).payload(machine.record, machine.directory)[0]
        assert Path(f"/proc/{inside.pid}/exe").readlink().is_relative_to("/opt/release")
    finally:
        machine.stop()
    assert_nothing_is_left(place, [])


def test_a_restored_container_goes_on_where_it_was(place: Store) -> None:
    from unibeam_nb.arms import Arm
    from unibeam_nb.machine import obstacle

    if (why := obstacle(place, Arm.parse("oci+restore@runc"))) is not None:
        pytest.skip(why)
    machine = boot(place, dataclasses.replace(image_of(place, "runc"), options=("restore",)), "runc", ANSWERED)
    try:
        assert machine.arm == "oci+scratch+restore@runc"
        assert list(machine.marks) == ["spawn", "resume", "http"]
        assert get(machine) == "hello"
        assert machine.memory().payload > 5_000_000
        whole = family(machine)
    finally:
        machine.stop()
    assert_nothing_is_left(place, whole)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/unibeam-{machine.id}"))


@pytest.mark.parametrize("runner", ["podman", "docker"])
def test_a_bridged_container_has_a_network_of_its_own_behind_a_port_of_the_host(place: Store, runner: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("a bridge is made by root")
    from unibeam_nb.machine import dockerd

    wanted = any_free()
    options = dataclasses.replace(ANSWERED, ports=((wanted, 8080),))
    machine = boot(place, dataclasses.replace(image_of(place, runner), options=("bridge",)), runner, options)
    try:
        assert machine.arm == f"oci+scratch+bridge@{runner}"
        assert machine.ports == {8080: wanted}
        assert get(machine) == "hello"
        inside = runner_of(machine.record).payload(machine.record, machine.directory)[0]
        assert Path(f"/proc/{inside.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        whole = family(machine)
    finally:
        machine.stop()
    assert_nothing_is_left(place, whole)
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout
    assert f"--dport {wanted}" not in rules
    clean(place)
    assert not Path("/sys/class/net", dockerd.device(place)).exists()


def test_a_docker_daemon_of_our_own_is_found_again_and_ended_by_clean(place: Store) -> None:
    from unibeam_nb.machine import dockerd

    with booted(place, "docker"):
        first = dockerd.running(place)
        if first is None:
            pytest.skip("a docker daemon of the host's own runs here")
        assert dockerd.engine(place) == first
        assert clean(Store(place.cache, place.state.with_name("other"))) == []  # It still runs somebody's container.
    keeper = first.process
    assert keeper is not None
    whole = [keeper, *proc.descendants(keeper)]
    assert len(whole) >= 4
    assert clean(place) == ["Ended the docker daemon that unibeam had started."]
    assert proc.wait(whole, 5.0)
    assert dockerd.running(place) is None
    assert str(place.cache) not in Path("/proc/mounts").read_text()


def test_a_network_that_hangs_is_ended_with_its_machine(
    place: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """slirp4netns ends by itself when its machine does, unless it hangs before it looks."""
    image = image_of(place, "uml")
    (tmp_path / "slirp4netns").write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 1000\n")
    (tmp_path / "slirp4netns").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(MachineError) as caught:
        boot(place, image, "uml", ANSWERED)
    assert str(caught.value) == "slirp4netns did not start.\n  Hint: Run it by hand to see why: slirp4netns --version"
    assert proc.identify(int((tmp_path / "pid").read_text())) is None
    assert list((place.state / "machines").glob("[!.]*")) == []


def test_a_docker_daemon_that_nobody_noted_is_ended_too(place: Store) -> None:
    """Whoever starts one may be killed before it has written down which process it is."""
    from unibeam_nb.machine import docker_arguments, dockerd

    if not (first := dockerd.engine(place)).own:
        pytest.skip("a docker daemon of the host's own runs here")
    record = place.cache / "docker" / dockerd.RECORD
    record.unlink()
    second = dockerd.engine(place)
    assert first.process is not None
    assert second.process is not None
    assert not first.process.alive
    record.unlink()
    assert dockerd.end(place)
    assert not second.process.alive
    assert not dockerd.end(place), "there is none any more"
    # Of one that was killed: in the next one's namespace there always is a first process.
    docker_arguments.pidfile(dockerd.places(place)).write_text("1")
    third = dockerd.engine(place)
    assert third.own
    assert dockerd.end(place)


@pytest.mark.parametrize("runner", CONTAINERS)
def test_a_containers_root_is_writable_and_the_cached_one_stays_unchanged(place: Store, runner: str) -> None:
    from unibeam_nb.store import digest_tree

    image = image_of(place, runner)
    before = digest_tree(image.file("rootfs"))
    with booted(place, runner) as machine:
        inside = runner_of(machine.record).payload(machine.record, machine.console.path.parent)[0]
        root = Path(f"/proc/{inside.pid}/root")
        if os.geteuid() != 0:
            pytest.skip("only root may look into a container's root")
        (root / "var/lib/unibeam/note").write_text("written")
        assert (root / "var/lib/unibeam/note").read_text() == "written"
    assert digest_tree(image.file("rootfs")) == before


def test_the_accelerator_is_proved_within_ten_seconds_and_once(fresh_store: Store, store: Store) -> None:
    place = Store(store.cache, fresh_store.state)
    image_of(place, "qemu")
    events: list[StepEvent] = []
    began = time.monotonic()
    with listening(events.append):
        found = prove_accelerator(place)
        assert time.monotonic() - began < 20.0
        assert prove_accelerator(place) == found
    notes = [event.title for event in events if event.kind == "note"]
    assert len(notes) == (1 if found.name == "tcg" else 0)
    if found.name == "tcg":
        with pytest.raises(MachineError, match=r"^KVM does not work on this host: "):
            prove_accelerator(place, "kvm")


def test_the_tiny_guest_of_the_proof_really_boots(store: Store) -> None:
    assert boot_tiny(store, "tcg", image_of(store, "qemu").file("kernel"), 60.0) is None


def test_a_tiny_guest_that_does_not_come_up_is_given_up_in_time(store: Store, tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"this is not a kernel" * 5000)
    reason = boot_tiny(store, "tcg", tmp_path / "kernel", 5.0)
    assert reason is not None
    assert reason.startswith("QEMU gave up (")
    assert reason.endswith(").")
