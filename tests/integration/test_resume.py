"""Real copies of real machines: what they share, what they never share, and when a snapshot is refused."""

from __future__ import annotations

import ast
import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from unibeam_nb.errors import BootFailed, MachineError, UsageError
from unibeam_nb.held import remove_tree
from unibeam_nb.lab import Lab
from unibeam_nb.machine import Machine, clean, machines
from unibeam_nb.store import Store

WITNESS = r"""
-module(witness).
-export([start/0, before_snapshot/0, after_resume/0]).

start() ->
    %% OpenSSL's generator is in use before the snapshot: this is the state that copies would share.
    _ = crypto:strong_rand_bytes(8),
    Port = list_to_integer(os:getenv("PORT", "8080")),
    {ok, Listen} = gen_tcp:listen(Port, [binary, {active, false}, {reuseaddr, true}]),
    Loop = spawn(fun() -> accept(Listen) end),
    gen_tcp:controlling_process(Listen, Loop).

before_snapshot() ->
    persistent_term:put(hooks, [before]),
    misbehave(os:getenv("MISBEHAVE"), "before").

after_resume() ->
    persistent_term:put(hooks, ['after' | persistent_term:get(hooks)]),
    misbehave(os:getenv("MISBEHAVE"), "after").

misbehave(When, When) -> error(no_vault);
misbehave(_, _) -> ok.

accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    _ = gen_tcp:recv(Socket, 0, 5000),
    Body = iolist_to_binary(body()),
    gen_tcp:send(Socket, ["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ",
                          integer_to_list(byte_size(Body)), "\r\n\r\n", Body]),
    gen_tcp:close(Socket),
    accept(Listen).

%% A dictionary as Python writes it.
body() ->
    {ok, File} = file:open("/dev/urandom", [read, raw, binary, device]),
    {ok, Kernel} = file:read(File, 16),
    ok = file:close(File),
    {ok, Host} = inet:gethostname(),
    {ok, Name} = file:read_file("/proc/sys/kernel/hostname"),
    Cookie = case is_alive() of true -> erlang:get_cookie(); false -> none end,
    Values = [{crypto, binary:encode_hex(crypto:strong_rand_bytes(16))}, {kernel, binary:encode_hex(Kernel)},
              {rand, integer_to_list(fresh())}, {host, Host}, {name, string:trim(Name)},
              {node, atom_to_list(node())}, {cookie, atom_to_list(Cookie)},
              {hooks, io_lib:format("~p", [persistent_term:get(hooks, [])])},
              {erlang_ms, integer_to_list(erlang:system_time(millisecond))},
              {os_ms, integer_to_list(os:system_time(millisecond))}],
    ["{", [io_lib:format("'~s': \"~s\", ", [Key, Value]) || {Key, Value} <- Values], "}"].

fresh() ->
    Self = self(),
    spawn(fun() -> Self ! {random, rand:uniform(1 bsl 58)} end),
    receive {random, Number} -> Number end.
"""


@pytest.fixture(scope="module")
def place(store_at: Callable[[Path], Store], tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Snapshots are shared by everything that uses a cache, and some of these tests damage them: so not the tests'."""
    return store_at(tmp_path_factory.mktemp("copies"))


@pytest.fixture
def home(place: Store, fresh_store: Store) -> Iterator[Lab]:
    """A lab with a registry of its own, and the cache, snapshots included, that all tests here share."""
    lab = Lab(Store(place.cache, fresh_store.state))
    lab.build("witness", text=WITNESS, ports=(8080,), applications=("crypto",))
    yield lab
    clean(lab.store)


@contextmanager
def resumed(lab: Lab, name: str = "witness", **options: object) -> Iterator[Machine]:
    machine = lab.boot(name, resume=True, **{"http": "/", **options})  # type: ignore[arg-type]
    try:
        yield machine
    finally:
        machine.stop()


def ask(machine: Machine) -> dict[str, str]:
    assert machine.url is not None
    with urllib.request.urlopen(machine.url, timeout=30) as answer:
        told = ast.literal_eval(answer.read().decode())
    assert isinstance(told, dict)
    return told


def snapshot_of(machine: Machine) -> Path:
    """The snapshot that a machine was resumed from."""
    return (machine.directory / "ram").resolve().parent


def test_two_copies_at_once_share_memory_and_nothing_else(home: Lab) -> None:
    with resumed(home) as alone:
        whole = alone.memory().payload
        with resumed(home, machine_name="other") as other:
            told = [ask(alone), ask(other)]
            shared = alone.memory().payload
            ports = [machine.ports[8080] for machine in (alone, other)]
            nonces = [machine.record.nonce for machine in (alone, other)]
    for key in ("crypto", "kernel", "rand", "host", "name"):
        assert told[0][key] != told[1][key], key
    assert ports[0] != ports[1]
    assert nonces[0] != nonces[1]
    assert all(re.fullmatch(r"beam-[0-9a-f]{12}", one["host"]) for one in told)
    assert all(one["name"] == f"{one['host']}.unibeam" for one in told)
    assert all(one["hooks"] == "['after',before]" for one in told)
    # Pages that neither has changed are in memory once.
    assert shared < 0.85 * whole


def test_ten_copies_in_a_row_are_never_called_a_boot(home: Lab) -> None:
    seen = []
    for _ in range(10):
        with resumed(home) as machine:
            assert machine.arm == "linux+resume@qemu"
            assert list(machine.marks) == ["spawn", "vmm", "resume", "http"]
            times = [mark.at for mark in machine.marks.values()]
            assert times == sorted(times)
            assert machine.memory().beam is not None
            seen.append(ask(machine))
    for key in ("crypto", "kernel", "rand", "host"):
        assert len({one[key] for one in seen}) == 10, key


def test_a_copy_knows_the_time_at_once(home: Lab) -> None:
    with resumed(home):
        pass
    time.sleep(3)
    with resumed(home) as machine:
        told, now = ask(machine), time.time()
    # A snapshot's own clock would be three seconds behind; what is allowed is what a slow guest takes to answer.
    assert abs(int(told["os_ms"]) / 1000 - now) < 2
    assert abs(int(told["erlang_ms"]) / 1000 - now) < 2


@pytest.mark.parametrize(("flags", "pattern"), [
    (("-sname", "shop", "-setcookie", "secret"), r"shop@beam-[0-9a-f]{12}"),
    (("-name", "shop@10.0.2.15", "-setcookie", "secret"), r"shop-beam-[0-9a-f]{12}@10\.0\.2\.15")])
def test_a_node_gets_a_name_and_a_cookie_of_its_own(home: Lab, flags: tuple[str, ...], pattern: str) -> None:
    home.build("node", text=WITNESS, ports=(8080,), applications=("crypto",), flags=flags)
    told = []
    for _ in range(2):
        with resumed(home, "node") as machine:
            told.append(ask(machine))
    assert all(re.fullmatch(pattern, one["node"]) for one in told), told
    assert told[0]["node"] != told[1]["node"]
    assert len({"secret", told[0]["cookie"], told[1]["cookie"]}) == 3


def test_a_failing_hook_before_the_snapshot_leaves_none(home: Lab) -> None:
    there = set((home.store.cache / "snapshots").glob("[0-9a-f]*"))
    with pytest.raises(MachineError) as caught, resumed(home, env=("MISBEHAVE=before",)):
        pass
    assert "before_snapshot/0 failed" in str(caught.value)
    assert "no_vault" in str(caught.value)
    assert set((home.store.cache / "snapshots").glob("[0-9a-f]*")) == there
    assert machines(home.store) == []


def test_a_copy_whose_own_hook_fails_is_not_left_running(home: Lab) -> None:
    with pytest.raises(BootFailed) as caught, resumed(home, env=("MISBEHAVE=after",)):
        pass
    assert "witness:after_resume/0 failed" in str(caught.value)
    assert machines(home.store) == []


@pytest.mark.parametrize("name", ["ram", "state"])
def test_a_snapshot_that_was_tampered_with_is_refused(home: Lab, name: str) -> None:
    with resumed(home, mem_mb=224) as machine:
        file = snapshot_of(machine) / name
    with file.open("r+b") as stream:
        first = stream.read(1)
        stream.seek(0)
        stream.write(bytes([first[0] ^ 1]))
    try:
        with pytest.raises(MachineError, match=f"its file {name} was changed"), resumed(home, mem_mb=224):
            pass
    finally:
        with file.open("r+b") as stream:
            stream.write(first)
    with resumed(home, mem_mb=224) as machine:
        assert ask(machine)["hooks"] == "['after',before]"


def test_a_truncated_snapshot_is_refused_and_a_new_one_taken_when_it_is_removed(home: Lab) -> None:
    with resumed(home, mem_mb=208) as machine:
        directory = snapshot_of(machine)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "ram").stat().st_mode & 0o077 == 0
    os.truncate(directory / "ram", 100 << 20)
    try:
        with pytest.raises(MachineError, match="its file ram has 105 MB"), resumed(home, mem_mb=208):
            pass
    finally:
        remove_tree(directory)
    with resumed(home, mem_mb=208) as machine:
        assert list(machine.marks) == ["spawn", "vmm", "resume", "http"]


def test_cleaning_ends_copies_and_the_cache_takes_the_snapshots_along(home: Lab, fresh_store: Store) -> None:
    lab = Lab(fresh_store)
    lab.build("witness", text=WITNESS, ports=(8080,), applications=("crypto",))
    machine = lab.boot("witness", http="/", resume=True)
    taken = snapshot_of(machine)
    assert lab.clean() == [f"Stopped witness ({machine.id}, linux+resume@qemu)."]
    assert not machine.alive
    assert taken.is_dir()
    lab.clean(cache=True)
    assert not taken.exists()


def test_only_a_virtual_machine_can_be_resumed(home: Lab) -> None:
    with pytest.raises(UsageError) as caught:
        home.boot("witness", arm="crun", resume=True)
    assert caught.value.message == "oci+scratch@crun cannot be resumed."


@pytest.mark.serial
def test_an_experiment_measures_copies_beside_boots(home: Lab) -> None:
    from unibeam_nb.analysis.frames import stages_frame

    done = home.bench("witness", arms=("linux+resume@qemu",), against=("linux@qemu",), blocks=1, warmup=0)
    assert [sample.error for sample in done.samples] == ["", ""]
    stages = stages_frame(done)
    copied = stages[stages["arm"] == "linux+resume@qemu"]
    assert list(copied["stage"]) == ["vmm", "resume", "http"]
    sample = next(s for s in done.samples if s.arm == "linux+resume@qemu")
    assert copied["seconds"].sum() == pytest.approx(sample.marks["http"])
    with pytest.raises(UsageError) as caught:
        home.bench("witness", arms=("linux+resume@qemu",), against=("linux@qemu",), blocks=1, until="app")
    assert caught.value.message == \
        "linux+resume@qemu has no mark app: its applications were started before the snapshot."
