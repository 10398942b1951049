"""Real boots become a journal, frames, charts and a report."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest

from unibeam_nb.analysis.frames import measured_frame, samples_frame, stages_frame
from unibeam_nb.analysis.report import save_charts, write_report
from unibeam_nb.analysis.stats import compare
from unibeam_nb.arms import Arm
from unibeam_nb.bench import Plan, load_experiment, make_plan, run_experiment
from unibeam_nb.errors import Cancelled
from unibeam_nb.image import build_image
from unibeam_nb.machine import machines
from unibeam_nb.model import Image
from unibeam_nb.progress import StepEvent, listening
from unibeam_nb.release import release_from_cell
from unibeam_nb.store import Store

HELLO = """
-module(hello_bench).
-export([start/0]).

start() ->
    Port = list_to_integer(os:getenv("PORT", "8080")),
    {ok, Listen} = gen_tcp:listen(Port, [binary, {packet, http_bin}, {active, false}, {reuseaddr, true}]),
    spawn(fun() -> accept(Listen) end),
    ok.

accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    _ = gen_tcp:recv(Socket, 0),
    gen_tcp:send(Socket, <<"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\nConnection: close\\r\\n\\r\\nhello\\n">>),
    gen_tcp:close(Socket),
    accept(Listen).
"""

CRASH = """
-module(crash_bench).
-export([start/0]).
start() -> exit(no_luck_today).
"""


def images_of(store: Store, name: str, text: str, arms: tuple[str, ...],
              ports: tuple[int, ...] = ()) -> tuple[Plan, dict[str, Image]]:
    release = release_from_cell(store, name, text, ports=ports)
    plan = make_plan(name, tuple(map(Arm.parse, arms)), blocks=2, warmup=1)
    return plan, {str(arm): build_image(store, release, arm.target, arm.flavour) for arm in plan.arms}


@pytest.mark.serial
def test_one_release_is_measured_in_every_arm_and_drawn(store: Store, tmp_path: Path) -> None:
    arms = ("linux@qemu", "oci+scratch@podman", "oci+scratch@crun", "release@process")
    plan, images = images_of(store, "hello_bench", HELLO, arms, (8080,))
    exp = run_experiment(plan, images, store, tmp_path / "hello.jsonl")
    frame = samples_frame(exp)
    assert frame["ok"].all(), frame["error"].tolist()
    assert len(frame) == 12
    assert (frame["seconds"] > 0.02).all()
    assert (frame["payload_bytes"] > 5_000_000).all()
    assert (frame["beam_bytes"].between(5_000_000, 100_000_000)).all()
    assert set(frame[frame["arm"] == "linux@qemu"]["accelerator"]) <= {"kvm", "tcg"}
    assert set(frame[frame["arm"] != "linux@qemu"]["accelerator"]) == {"native"}
    assert len({s.release_sha256 for s in exp.samples}) == 1
    whole = stages_frame(exp).groupby(["arm", "order"])["seconds"].sum()
    for row in measured_frame(exp).itertuples():
        assert whole[row.arm, row.order] == pytest.approx(row.seconds)
    stages = set(stages_frame(exp).query("arm == 'linux@qemu'")["stage"])
    assert {"vmm", "init", "beam", "app", "http"} <= stages
    assert compare(exp, "linux@qemu", "release@process").ratio.value > 1
    assert all(path.stat().st_size > 5000 for path in save_charts(exp, tmp_path / "charts"))
    assert "too few for a 95 % interval" in write_report(exp, tmp_path / "r.html").read_text()
    assert [m for m in machines(store) if m.alive and m.name.startswith("bench-hello_bench")] == []


@pytest.mark.serial
def test_a_real_experiment_is_stopped_in_the_middle_of_a_boot_and_continued(store: Store, tmp_path: Path) -> None:
    plan, images = images_of(store, "hello_bench", HELLO, ("release@process", "oci+scratch@crun"), (8080,))
    path, stop, boots = tmp_path / "stopped.jsonl", threading.Event(), []

    def listener(event: StepEvent) -> None:
        if event.kind == "begin" and event.title.startswith("Booting"):
            boots.append(event)
            if len(boots) == 3:
                stop.set()

    with listening(listener, cancelled=stop), pytest.raises(Cancelled, match="Stopped after 2 of 6 boots"):
        run_experiment(plan, images, store, path)
    assert [m for m in machines(store) if m.alive and m.name.startswith("bench-hello_bench")] == []
    kept = load_experiment(path)
    assert len(kept.samples) == 2
    whole = run_experiment(plan, images, store, path)
    assert whole.samples[:2] == kept.samples
    assert [s.ok for s in whole.samples] == [True] * 6


@pytest.mark.serial
def test_a_release_that_crashes_is_recorded_and_given_up(store: Store, tmp_path: Path) -> None:
    plan, images = images_of(store, "crash_bench", CRASH, ("release@process",))
    exp = run_experiment(dataclasses.replace(plan, deadline=30, blocks=5), images, store, tmp_path / "crash.jsonl")
    assert [s.ok for s in exp.samples] == [False] * 3
    assert "no_luck_today" in exp.samples[0].error
    assert any("given up" in line for line in exp.notes)
