"""Talking to real machines: on the bare host, in a container, in a virtual machine; and who may not."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import psutil
import pytest

from unibeam_nb.errors import CompileError, EvaluationFailed, MachineError
from unibeam_nb.lab import Lab
from unibeam_nb.machine import Machine, door
from unibeam_nb.store import Store
from unibeam_nb.talk.channel import channel_to
from unibeam_nb.talk.etf import decode, encode

COUNTER = """\
-module(counter).
-behaviour(gen_server).
-export([start/0, init/1, handle_call/3, handle_cast/2, spin/0]).
start() -> spawn(fun counter:spin/0), gen_server:start({local, counter}, counter, 0, []).
init(N) -> {ok, N}.
handle_call(next, _From, N) -> {reply, STEP, STEP}.
handle_cast(_, N) -> {noreply, N}.
spin() -> receive stop -> ok after 3600000 -> spin() end.
"""
FIRST, SECOND = (COUNTER.replace("STEP", f"N + {step}") for step in (1, 10))

REFUSED = ("error", b"refused")

ELIXIR = """\
defmodule Shop do
  defstruct price: 3
  def start, do: Agent.start(fn -> 41 end, name: Shop)
end
"""


@pytest.fixture
def home(store: Store, fresh_store: Store) -> Iterator[Lab]:
    """A lab with names and machines of its own, over the cache that all tests share."""
    lab = Lab(Store(store.cache, fresh_store.state))
    yield lab
    lab.clean()


@contextlib.contextmanager
def booted(lab: Lab, arm: str, **options: object) -> Iterator[Machine]:
    target = arm.partition("@")[0]
    lab.build("counter", text=FIRST, target="release" if target == "release" else target.split("+")[0],
              flavour="scratch" if target.startswith("oci") else "")
    machine = lab.boot("counter", arm=arm, deadline=240, **options)  # type: ignore[arg-type]
    try:
        yield machine
    finally:
        machine.stop()


def everything_on_disk(machine: Machine) -> bytes:
    """All that is kept of a machine, but for the one file that may hold its secret, and the one from which a runtime
    (config.json) or an engine (variables) takes the program's environment."""
    return b"".join(path.read_bytes() for path in sorted(machine.directory.iterdir())
                    if path.is_file() and path.name not in (door.SECRET_FILE, "config.json", "variables"))


def command_lines() -> str:
    lines = []
    for found in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            lines.append(" ".join(found.cmdline()))
    return "\n".join(lines)


@pytest.mark.parametrize("arm", ["release@process", "release+shake@process", "oci+scratch@crun", "oci+scratch@podman",
                                 "linux+tiny@qemu", "linux@qemu"])
def test_a_machine_computes_reloads_and_shows_itself(home: Lab, arm: str) -> None:
    with booted(home, arm, channel=True) as machine:
        found = home.eval("counter", "io:format(\"~ts~n\", [\"grüß\"]), X = gen_server:call(counter, next), "
                                     "{X, self(), #{a => <<1>>}}.")
        assert (found.value[0], found.value[2], found.output) == (1, {"a": b"\x01"}, "grüß\n")
        assert found.text.startswith("{1,<0.")
        assert home.eval("counter", "X + 1.").value == 2
        with pytest.raises(EvaluationFailed) as caught:
            home.eval("counter", "\n lists:map(fun(Q) -> Q / 0 end, [X]).")
        assert (caught.value.kind, caught.value.reason) == ("error", "badarith")
        assert "(expression:2)" in caught.value.stack[0]

        # State stays, the next call runs the new code; the process in the loop of its own still runs the old one.
        done = home.reload("counter", SECOND)
        assert (done.replaced, done.new) == (("counter",), ())
        assert [(p.module, p.at) for p in done.old] == [("counter", "counter:spin/0")]
        assert home.eval("counter", "gen_server:call(counter, next).").value == 11
        with pytest.raises(MachineError) as busy:
            home.reload("counter", FIRST)
        assert busy.value.message == "Some processes still run code from before the last reload."
        assert home.reload("counter", FIRST, kill=True).old == ()

        top = home.top("counter", by="reductions", seconds=0.1)
        assert "counter" in {p.name for p in home.top("counter", count=200, seconds=0).processes}
        assert top.processes[0].used >= top.processes[-1].used
        assert top.count >= len(top.processes) == 15

        secret = door.secret_of(machine.directory)
        assert secret is not None
        assert secret.encode() not in everything_on_disk(machine)
        assert secret not in command_lines()
        assert home.eval("counter", "os:getenv(\"UNIBEAM_CHANNEL\").").value is False
        if arm.endswith("@qemu"):
            assert secret not in home.eval("counter", "{ok, L} = file:read_file(\"/proc/cmdline\"), L.").text


def test_a_copy_has_a_secret_of_its_own(home: Lab) -> None:
    with booted(home, "linux+tiny+resume@qemu", channel=True) as one, \
            booted(home, "linux+tiny+resume@qemu", channel=True, machine_name="other") as other:
        secrets = [door.secret_of(machine.directory) for machine in (one, other)]
        assert secrets[0] != secrets[1]
        assert home.eval(one.id, "X = 1.").value == home.eval(other.id, "X = 1.").value == 1
        assert heard(one, (secrets[1] or "").encode()) == REFUSED


def ask(machine: Machine, greeting: bytes, *, length: int | None = None) -> bytes:
    """What the machine answers to a greeting; nothing where it hangs up."""
    assert machine.channel is not None
    with (contextlib.suppress(ConnectionError),
          socket.create_connection(("127.0.0.1", machine.channel), timeout=20) as talk):
        talk.sendall((len(greeting) if length is None else length).to_bytes(4, "big") + greeting)
        return talk.recv(4096)[4:]
    return b""


def heard(machine: Machine, greeting: bytes) -> object:
    return decode(ask(machine, greeting))


def test_who_may_not_talk(home: Lab) -> None:
    with booted(home, "release@process", channel=True) as machine:
        listening = [c.laddr for c in psutil.Process(machine.pid).net_connections("tcp") if c.status == "LISTEN"]
        assert [tuple(address) for address in listening] == [("127.0.0.1", machine.channel)]
        assert heard(machine, b"0" * 64) == REFUSED
        assert heard(machine, b"") == REFUSED
        assert ask(machine, b"GET / HTTP/1.1\r\n\r\n", length=0x47455420) == b""  # a browser that was led here
        assert ask(machine, b"x" * 257) == b""  # more than a greeting may have
        call = encode(("erlang", "halt", []))
        assert heard(machine, call) == REFUSED
        # Connections that say nothing keep nobody out for long.
        idle = [socket.create_connection(("127.0.0.1", machine.channel or 0)) for _ in range(12)]
        try:
            assert home.eval("counter", "1 + 1.").value == 2
        finally:
            for connection in idle:
                connection.close()
        with channel_to(machine) as channel:
            with pytest.raises(MachineError) as caught:
                channel.call("erlang", "byte_size", [bytes(1 << 24)])
            assert caught.value.message == "That is more than a machine takes at once (16777252 bytes)."
            assert channel.call("erlang", "byte_size", [bytes((1 << 24) - 100)]) == (1 << 24) - 100
            with pytest.raises(MachineError) as caught:
                channel.call("unibeam_nothing_like_this", "start", [])
            assert caught.value.message == "counter cannot do that."
        assert home.eval("counter", "alive.").value == "alive"


def test_a_channel_is_there_only_where_it_was_asked_for(home: Lab) -> None:
    with booted(home, "release@process") as machine:
        assert [c for c in psutil.Process(machine.pid).net_connections("tcp") if c.status == "LISTEN"] == []
        assert not (machine.directory / door.SECRET_FILE).exists()
        record = json.loads((machine.directory / "machine.json").read_text())
        assert not record.get("channel")
        assert not record["options"]["channel"]
        with pytest.raises(MachineError) as caught:
            home.eval("counter", "1.")
        assert caught.value.message == "counter was booted without a channel."
        assert caught.value.hint == "Boot it with --channel: unibeam boot counter --channel"


def test_expressions_are_cut_short_and_cleaned_up(home: Lab, tmp_path: Path) -> None:
    with booted(home, "release@process", channel=True):
        home.eval("counter", "F = fun(N) -> N * 2 end, X = 1.")
        assert home.eval("counter", "F(21).").value == 42  # The code of a fun that somebody keeps stays.
        assert home.eval("counter", "X = 2, Y = X, {X, Y}.").value == (2, 2)  # Bound anew.
        with pytest.raises(CompileError) as caught:
            home.eval("counter", "\n\nfoo(X).")
        assert caught.value.details == ("3: function foo/1 undefined",)
        big = home.eval("counter", "lists:seq(1, 2000000).")
        assert len(big.text) < 12_000
        assert big.value == big.text
        assert home.eval("counter", "io:put_chars(lists:duplicate(300000, $x)).").output.endswith(" bytes more.\n")
        began = time.monotonic()
        with pytest.raises(EvaluationFailed) as late:
            home.eval("counter", "timer:sleep(60000).", deadline=0.3)
        assert late.value.message == "The expression was stopped after 0.3 s."
        assert time.monotonic() - began < 10
        home.eval("counter", "Z = 1.")
        home.forget("counter")
        with pytest.raises(CompileError):
            home.eval("counter", "Z.")
        used = {home.eval("counter", "[M || {M, _} <- code:all_loaded(), lists:prefix(\"unibeam_expression\", "
                                     "atom_to_list(M))].").text for _ in range(20)}
        assert len(used) == 1  # Nothing piles up.
        trips = median(home.eval("counter", f"{n} + 1.").round_trip for n in range(30))
        assert trips < 0.5, "reported by scripts/round_trip.py; here only that nothing waits"


def test_elixir_too(home: Lab) -> None:
    home.build("shop", text=ELIXIR, target="release")
    with contextlib.closing(_Stopping(home.boot("shop", arm="process", channel=True))):
        assert home.eval("shop", "x = Agent.get(Shop, & &1)").value == 41
        found = home.eval("shop", "IO.puts(\"grüß\")\n%Shop{price: x + 1}")
        assert (found.text, found.output) == ("%Shop{price: 42}", "grüß\n")
        with pytest.raises(EvaluationFailed) as caught:
            home.eval("shop", "raise \"sold out\"")
        assert caught.value.reason == "** (RuntimeError) sold out"
        assert home.eval("shop", "lists:sum([1, 2]).").value == 3  # A full stop: Erlang.


class _Stopping:
    def __init__(self, machine: Machine) -> None:
        self.close = machine.stop
