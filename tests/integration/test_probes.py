"""Load, density and least memory, measured of real machines and read back from their journal."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from unibeam_nb.bench import load_experiment
from unibeam_nb.bench.probes import density
from unibeam_nb.errors import BenchError, Cancelled
from unibeam_nb.lab import Lab
from unibeam_nb.machine import machines
from unibeam_nb.model import TRY
from unibeam_nb.notebook.display import to_text
from unibeam_nb.notebook.execute import execute
from unibeam_nb.notebook.parser import parse
from unibeam_nb.progress import StepEvent, listening
from unibeam_nb.store import Store

pytestmark = [pytest.mark.serial, pytest.mark.timeout(900)]

SERVER = r"""
-module(served).
-export([start/0]).

start() ->
    Port = list_to_integer(os:getenv("PORT", "8080")),
    {ok, Listen} = gen_tcp:listen(Port, [binary, {active, false}, {reuseaddr, true}, {backlog, 64}]),
    spawn(fun() -> accept(Listen) end).

accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    case gen_tcp:recv(Socket, 0) of
        {ok, _} -> gen_tcp:send(Socket, <<"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nok\n">>);
        {error, _} -> gone
    end,
    gen_tcp:close(Socket),
    accept(Listen).
"""


@pytest.fixture
def place(store: Store, fresh_store: Store) -> Lab:
    """A lab with names, machines and journals of its own, the cache that all tests share, and a server built."""
    lab = Lab(Store(store.cache, fresh_store.state))
    lab.build("served", text=SERVER, target="release", ports=(8080,))
    yield lab  # type: ignore[misc]
    assert not list(machines(lab.store))


def bench(lab: Lab, line: str) -> object:
    return execute(lab, parse(line.split()))


def test_answers_are_counted_under_load_and_an_idle_machine_is_idle(place: Lab) -> None:
    shown = bench(place, "bench served --on release@process --against oci+scratch@crun --steady 1 -n 1 --warmup 0 "
                         "--http / --experiment load")
    exp = place.experiment("load")
    assert sorted((s.kind, s.arm, s.ok) for s in exp.samples) == [
        (kind, arm, True) for kind in ("boot", "steady") for arm in ("oci+scratch@crun", "release@process")]
    for s in exp.measured_of("steady"):
        values = s.values
        assert values["errors_count"] == 0
        assert values["requests_per_s"] > 20
        assert values["requests_count"] == pytest.approx(values["requests_per_s"] * values["load_s"], rel=0.05)
        assert 0 < values["latency_p50_s"] <= values["latency_p90_s"] <= values["latency_p99_s"] < 10
        assert 0 < values["cpu_per_request_s"] < 0.01
        assert 0 <= values["idle_cpu_ratio"] < 0.2
    contained = [s for s in exp.samples if s.arm == "oci+scratch@crun"]
    assert all(1 << 20 < s.values["cgroup_current_bytes"] <= s.values["cgroup_peak_bytes"] for s in contained)
    assert "load" in to_text(shown)


def test_resumed_copies_share_their_ram_and_too_many_are_refused(place: Lab,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    bench(place, "bench served --on linux+tiny+lean+resume@qemu --against release@process --density 1,2 --mem 64 "
                 "--http / --experiment dense")
    exp = place.experiment("dense")
    assert [s.error for s in exp.failed] == []
    at = {(s.arm, s.values["copies_count"]): s for s in exp.measured_of("density")}
    assert len(at) == 4
    for (_, copies), s in at.items():
        assert s.memory is not None
        assert s.values["each_bytes"] * copies == s.values["total_bytes"] == s.memory.total
        assert s.values["host_kernel_bytes"] < 64 << 20
    alone, both = (at["linux+tiny+lean+resume@qemu", copies].memory for copies in (1, 2))
    assert alone is not None
    assert both is not None
    assert both.payload < 1.5 * alone.payload, "two copies of one snapshot share most of their RAM"
    process = [at["release@process", copies].memory for copies in (1, 2)]
    assert process[0] is not None
    assert process[1] is not None
    assert process[1].payload > 1.5 * process[0].payload
    monkeypatch.setattr(density, "SPARE", density.read_host().available - (80 << 20))
    with pytest.raises(BenchError, match=r"^9 copies of .* need about .* MB, and this host has .* for them") as caught:
        bench(place, "bench served --on release@process --against oci+scratch@crun --density 9 --http /")
    assert str(caught.value.hint).startswith("About ")


def test_ctrl_c_among_many_copies_leaves_none(place: Lab) -> None:
    stop, booted = threading.Event(), []

    def listener(event: StepEvent) -> None:
        if event.kind == "begin" and event.title.startswith("Booting bench-served-2"):
            booted.append(event)
            stop.set()

    with listening(listener, cancelled=stop), pytest.raises(Cancelled):
        bench(place, "bench served --on release@process --against oci+scratch@crun --density 4 --http / "
                     "--experiment stopped")
    assert booted
    assert load_experiment(place.store.state / "experiments" / "stopped.jsonl").samples == ()


def test_the_least_memory_of_a_container_and_a_machine_is_found_and_continued(place: Lab) -> None:
    line = ("bench served --on linux+tiny+lean@qemu --against oci+scratch+lean@crun --min-memory --mem 64 --http / "
            "--experiment least")
    stop, boots = threading.Event(), []

    def listener(event: StepEvent) -> None:
        if event.kind == "begin" and event.title.startswith("Booting"):
            boots.append(event)
            if len(boots) == 4:
                stop.set()

    with listening(listener, cancelled=stop), pytest.raises(Cancelled):
        bench(place, line)
    kept = load_experiment(_journal(place, "least")).samples
    assert kept
    assert {s.kind for s in kept} == {TRY}
    bench(place, line)
    exp = place.experiment("least")
    assert exp.samples[:len(kept)] == kept
    for s in exp.measured_of("minimum"):
        tries = [t for t in exp.measured_of(TRY) if t.arm == s.arm]
        least = s.values["least_bytes"]
        assert s.values["tries_count"] == len(tries)
        assert [t.values["reached_count"] for t in tries if t.values["limit_bytes"] == least].count(1.0) >= 3
        assert [t.values["reached_count"] for t in tries if t.values["limit_bytes"] == least - (1 << 20)].count(0) >= 2
    found = {s.arm: s.values["least_bytes"] / (1 << 20) for s in exp.measured_of("minimum")}
    assert set(found) == {"linux+tiny+lean@qemu", "oci+scratch+lean@crun"}
    assert 4 <= found["oci+scratch+lean@crun"] < 32
    assert found["oci+scratch+lean@crun"] < found["linux+tiny+lean@qemu"] < 64


def _journal(lab: Lab, name: str) -> Path:
    return lab.store.state / "experiments" / f"{name}.jsonl"
