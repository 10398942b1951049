"""Machines that mind their program: a disk for what it writes, restarts, a release to fall back to, an end in order."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from unibeam_nb import process, tools
from unibeam_nb.errors import BootFailed, MachineError, UsageError
from unibeam_nb.lab import Lab
from unibeam_nb.machine import Machine, proc, qmp

KEEPER = """
-module(keeper).
-behaviour(application).
-export([start/2, stop/1, init/0]).

start(_, _) ->
    Before = case file:read_file("starts") of {ok, Text} -> binary_to_integer(Text); {error, enoent} -> 0 end,
    {ok, File} = file:open("starts", [write, raw]),
    ok = file:write(File, integer_to_list(Before + 1)),
    ok = file:sync(File),
    ok = file:close(File),
    {ok, spawn_link(?MODULE, init, [])}.

stop(_) ->
    ok = file:write_file("stopped", "in order"),
    io:format("the keeper has stopped~n").

init() ->
    {ok, Listen} = gen_tcp:listen(list_to_integer(os:getenv("PORT")), [binary, {active, false}, {reuseaddr, true}]),
    accept(Listen).

accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    {ok, <<"GET ", Path/binary>>} = gen_tcp:recv(Socket, 0),
    Body = answer(hd(binary:split(Path, <<" ">>))),
    ok = gen_tcp:send(Socket, [<<"HTTP/1.0 200 OK\\r\\nContent-Length: ">>, integer_to_list(byte_size(Body)),
                               <<"\\r\\n\\r\\n">>, Body]),
    ok = gen_tcp:close(Socket),
    accept(Listen).

%% Two processes that never wait, for whom all others have to: nothing else runs on this node's one scheduler.
answer(<<"/hang">>) ->
    [spawn(fun() -> process_flag(priority, max), hang() end) || _ <- [1, 2]],
    <<"hanging">>;
answer(<<"/halt">>) ->
    spawn(fun() -> timer:sleep(100), erlang:halt(3) end),
    <<"halting">>;
answer(<<"/root">>) ->
    {error, Reason} = file:write_file("/opt/release/new", <<>>),
    atom_to_binary(Reason);
answer(_) ->
    {ok, Starts} = file:read_file("starts"),
    Starts.

hang() -> hang().
"""

BROKEN = """
-module(newer).
-behaviour(application).
-export([start/2, stop/1]).

start(_, _) -> exit(the_new_one_is_broken).
stop(_) -> ok.
"""

STUCK = """
-module(stuck).
-behaviour(application).
-export([start/2, stop/1]).

start(_, _) -> receive never -> ok end.
stop(_) -> ok.
"""

DUO = {
    "rebar.config": """
{erl_opts, []}.
{relx, [{release, {duo, "1.0"}, [duo, {frail, temporary}]}, {mode, prod}]}.
""",
    "apps/frail/src/frail.app.src": """
{application, frail, [{vsn, "1"}, {registered, []}, {applications, [kernel, stdlib]}, {mod, {frail, []}}]}.
""",
    "apps/frail/src/frail.erl": """
-module(frail).
-behaviour(application).
-export([start/2, stop/1]).

start(_, _) -> {ok, spawn_link(fun() -> register(frail, self()), receive crash -> exit(on_purpose) end end)}.
stop(_) -> ok.
""",
    "apps/duo/src/duo.app.src": """
{application, duo, [{vsn, "1"}, {registered, []}, {applications, [kernel, stdlib]}, {mod, {duo, []}}]}.
""",
    "apps/duo/src/duo.erl": """
-module(duo).
-behaviour(application).
-export([start/2, stop/1]).

start(_, _) ->
    {ok, Listen} = gen_tcp:listen(list_to_integer(os:getenv("PORT")), [binary, {active, false}, {reuseaddr, true}]),
    {ok, spawn_link(fun() -> gen_tcp:controlling_process(Listen, self()), accept(Listen) end)}.

stop(_) -> ok.

accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    {ok, <<"GET ", Path/binary>>} = gen_tcp:recv(Socket, 0),
    case Path of <<"/crash", _/binary>> -> frail ! crash, timer:sleep(500); _ -> ok end,
    Body = lists:join(" ", lists:sort([atom_to_list(Name) || {Name, _, _} <- application:which_applications()])),
    ok = gen_tcp:send(Socket, ["HTTP/1.0 200 OK\\r\\n\\r\\n", Body]),
    ok = gen_tcp:close(Socket),
    accept(Listen).
""",
}
"""A release of two applications, one of which may crash."""

IN_ORDER = "the keeper has stopped"


@pytest.fixture
def built(lab: Lab) -> Lab:
    lab.build("keeper", text=KEEPER, ports=(8080,))
    return lab


@contextmanager
def booted(lab: Lab, name: str, **options: Any) -> Iterator[Machine]:
    machine = lab.boot(name, **options)
    try:
        yield machine
    finally:
        machine.stop(grace=0)


def get(machine: Machine, path: str = "") -> str:
    with urllib.request.urlopen(f"{machine.url}{path}", timeout=30) as answer:
        return str(answer.read().decode())


def answer_of_another_life(machine: Machine, restarts: int) -> str:
    """The machine's answer once its program was started again so often."""
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        try:
            if machine.restarts == restarts:
                return get(machine)
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("\n".join(machine.console.tail(30)))


def inside(disk: Path, name: str) -> str:
    """A file on an ext4 disk, read without mounting it."""
    return process.run([tools.find("mkfs.ext4").with_name("debugfs"), "-R", f"cat {name}", disk]).stdout


def sound(disk: Path) -> bool:
    """Whether the file system needs no repair."""
    return process.run([tools.find("mkfs.ext4").with_name("e2fsck"), "-fn", disk], check=False).code == 0


def test_what_is_written_outlives_a_hung_program_and_a_machine_that_is_killed(built: Lab, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with booted(built, "keeper", data=str(disk), heart=4, restarts=2, http="/", deadline=180) as machine:
        assert (machine.data, get(machine), machine.restarts) == (disk, "1", 0)
        with pytest.raises(MachineError, match=r"^The data disk .* belongs to keeper, which is running\."):
            built.boot("keeper", data=str(disk), machine_name="thief")
        with pytest.raises(UsageError, match=r"^keeper has a data disk, which no other machine can have"):
            built.clone("keeper")
        get(machine, "hang")
        assert answer_of_another_life(machine, 1) == "2"
        assert "shown no sign of life for 4 s and is killed" in machine.console.text()
        get(machine, "halt")
        assert answer_of_another_life(machine, 2) == "3"
        process_id = machine.record.process
        assert process_id is not None
        os.kill(process_id.pid, signal.SIGKILL)
        assert proc.wait([process_id], 10.0)
        get_code = machine.exit_code
        assert get_code is None or get_code < 0
    with booted(built, "keeper", arm="uml", data=str(disk), http="/") as machine:
        assert get(machine) == "4"
        machine.stop(grace=20)
        assert (machine.exit_code, IN_ORDER in machine.console.text()) == (0, True)
    assert inside(disk, "stopped") == "in order"
    assert sound(disk)


def test_a_release_that_does_not_come_up_gives_way_to_the_one_behind_it(built: Lab, tmp_path: Path) -> None:
    built.build("newer", text=BROKEN, ports=(8080,), fallback="keeper", guard=30)
    sizes = {part.name: part.bytes for part in built.named("newer").images[0].parts}
    assert sizes["fallback release"] < 100_000 < sizes["erts"], "what both releases have is there once"
    for starts, why in (("1", "release did not come up;"), ("2", "release did not come up at an earlier boot;")):
        with booted(built, "newer", arm="uml", data=str(tmp_path / "disk"), http="/") as machine:
            assert (machine.fell_back, get(machine)) == (True, starts)
            assert why in machine.console.text()
            assert ("the_new_one_is_broken" in machine.console.text()) is (starts == "1")
            machine.stop(grace=20)
            assert IN_ORDER in machine.console.text()


def test_a_program_that_never_comes_up_is_ended_with_the_reason(lab: Lab) -> None:
    lab.build("stuck", text=STUCK)
    with pytest.raises(BootFailed) as failed:
        lab.boot("stuck", arm="uml", guard=3, restarts=1)
    said = "\n".join(failed.value.details)
    assert "has not started all its applications within 3 s and is killed" in said
    assert "the program is started again (1 of 1)" in said


@pytest.mark.parametrize("arm", ["qemu", "process", "oci+scratch@crun"])
def test_a_machine_stops_in_order_and_without_a_second_of_waiting(built: Lab, arm: str) -> None:
    taken = []
    for _ in range(3):
        with booted(built, "keeper", arm=arm, http="/") as machine:
            assert get(machine).isdecimal()
            before = time.monotonic()
            machine.stop()
            taken.append(time.monotonic() - before)
            assert IN_ORDER in machine.console.text()
            assert machine.exit_code in (0, None)
        if taken[-1] < 1:
            return
    raise AssertionError(f"it took {taken} s")


def test_an_application_that_is_temporary_may_crash_without_the_node(lab: Lab, tmp_path: Path) -> None:
    for name, text in DUO.items():
        (tmp_path / "duo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "duo" / name).write_text(text)
    lab.build("duo", path=tmp_path / "duo", ports=(8080,), target="release")
    with booted(lab, "duo", arm="process", http="/") as machine:
        assert get(machine).startswith("duo frail kernel stdlib")
        assert "frail" not in get(machine, "crash")
        assert get(machine).startswith("duo kernel stdlib")
        assert machine.alive


def test_the_power_button_stops_a_machine_in_order(built: Lab) -> None:
    with booted(built, "keeper", http="/") as machine:
        process_id = machine.record.process
        assert process_id is not None
        ends = time.monotonic() + 60
        while process_id.alive and time.monotonic() < ends:
            # Nobody listens in the first seconds of a program's life.
            qmp.converse(machine.directory, lambda: process_id.alive, lambda client: client.execute("system_powerdown"))
            proc.wait([process_id], 2.0)
        assert (process_id.alive, machine.exit_code, IN_ORDER in machine.console.text()) == (False, 0, True)


def test_a_disk_of_somebody_else_is_left_alone(built: Lab, tmp_path: Path) -> None:
    foreign = tmp_path / "photos"
    foreign.write_bytes(b"holiday" * 1000)
    with pytest.raises(UsageError, match="holds something that is not a data disk of unibeam's, and is left alone"):
        built.boot("keeper", data=str(foreign))
    assert foreign.read_bytes() == b"holiday" * 1000
