"""An experiment over the workers of a real dask cluster, one of which is killed in the middle."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unibeam_nb.arms import Arm
from unibeam_nb.bench.cluster import connect, home_of
from unibeam_nb.bench.plan import make_plan
from unibeam_nb.bench.run import run_experiment
from unibeam_nb.bench.schedule import schedule
from unibeam_nb.bench.worker import pack, receive
from unibeam_nb.errors import BenchError, UsageError
from unibeam_nb.image import build_image
from unibeam_nb.lab import Lab
from unibeam_nb.machine import machines
from unibeam_nb.progress import StepEvent, listening
from unibeam_nb.release import release_from_cell
from unibeam_nb.store import Store

HELLO = "-module(hello_cluster).\n-export([start/0]).\nstart() -> ok.\n"


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two workers, each a process of its own, and a client."""
    import distributed

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, resources={"bench": 1},
                                  dashboard_address=None, worker_dashboard_address=None,
                                  silence_logs=50) as local, distributed.Client(local) as client:
        yield client


@pytest.mark.serial
def test_no_sample_is_lost_or_repeated_when_a_worker_is_killed(lab: Lab, cluster: Any, tmp_path: Path) -> None:
    source = tmp_path / "hello_cluster.erl"
    source.write_text(HELLO)
    lab.build("hello_cluster", path=source, target="release")
    victim = min(cluster.run(os.getpid).values())
    killed: list[int] = []

    def kill(event: StepEvent) -> None:
        told = re.match(r"(\d+) boots? done, (\d+) under way", event.detail or "")
        if event.kind == "progress" and told and int(told[1]) >= 2 and int(told[2]) >= 1 and not killed:
            killed.append(victim)
            os.kill(victim, signal.SIGKILL)

    with listening(kill):
        exp = lab.bench("hello_cluster", arms=("a=release@process",), against=("b=release@process",), blocks=4,
                        until="app", client=cluster, experiment=f"cluster-{os.getpid()}")
    assert killed
    assert [s.ok for s in exp.samples] == [True] * 10, [s.error for s in exp.samples]
    assert sorted((s.case, s.block, s.order) for s in exp.samples) == sorted(
        (slot.case.name, slot.block, slot.order) for slot in schedule(exp.plan))
    assert {s.host for s in exp.samples} == set(exp.header["hosts"]) == {exp.header["host_id"]}
    assert any("takes part no longer" in line for line in exp.notes)
    assert [m.name for m in machines(lab.store) if m.name.startswith("bench-hello_cluster") and m.alive] == []
    exp.path.unlink()


def test_an_image_that_is_sent_runs_in_a_store_that_lacks_it(store: Store, fresh_store: Store, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    release = release_from_cell(store, "hello_cluster", HELLO)
    image = build_image(store, release, "release")
    monkeypatch.setenv("UNIBEAM_HOME", str(tmp_path / "worker"))
    with home_of(store) as near:
        assert near.seen
        away = dataclasses.replace(near, token=tmp_path / "not-there")
        assert not away.seen
    assert not near.seen, "the token is gone with the experiment"
    there = receive(away, image, pack(image))
    assert Path(there).is_relative_to(tmp_path / "worker")
    assert Path(receive(away, image, b"not sent again")) == Path(there)
    sent = dataclasses.replace(image, path=Path(there))
    plan = make_plan("hello_cluster", (Arm.parse("release@process"),), blocks=1, warmup=0, until="app")
    exp = run_experiment(plan, {"release@process": sent}, fresh_store, tmp_path / "sent.jsonl")
    assert [s.ok for s in exp.samples] == [True], exp.samples[0].error


def test_a_cluster_that_is_not_there_and_one_without_the_resource(lab: Lab) -> None:
    import distributed

    with pytest.raises(UsageError, match=r"^No scheduler answers at tcp://127\.0\.0\.1:9 "):
        connect("tcp://127.0.0.1:9")
    lab.build("hello_cluster", text=HELLO, target="release")
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None,
                                  silence_logs=50) as local, distributed.Client(local) as client, \
            pytest.raises(BenchError) as caught:
        lab.bench("hello_cluster", arms=("release@process",), against=("a=release@process",), blocks=1, until="app",
                  client=client)
    assert caught.value.message == "No worker of the cluster has the resource bench."
