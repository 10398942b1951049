"""Real experiments that are killed, meet a full disk, a wrong clock or one another: every sample is there once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path

import pytest

from unibeam_nb import tools
from unibeam_nb.bench.journal import load_experiment
from unibeam_nb.bench.run import utc_now
from unibeam_nb.bench.schedule import schedule
from unibeam_nb.errors import BenchError
from unibeam_nb.lab import Lab
from unibeam_nb.machine import machines

HELLO = "-module(hello_often).\n-export([start/0]).\nstart() -> ok.\n"

PLAN = """
source = "hello_often"
until = "app"
blocks = 3
warmup = 1
seed = 3
[arms]
a = "release@process"
b = "release@process"
[factors]
vcpus = [1, 2]
"""


@pytest.fixture
def hello(lab: Lab) -> Lab:
    """A lab in which hello_often is built."""
    lab.build("hello_often", text=HELLO, target="release")
    return lab


def unibeam(lab: Lab, *words: str) -> subprocess.Popen[str]:
    """``unibeam ...`` as a process of its own, over the lab's store."""
    return subprocess.Popen([sys.executable, "-m", "unibeam_nb", *words], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=os.environ | {"UNIBEAM_HOME": str(lab.store.cache.parent)})


def wait_for_samples(path: Path, count: int) -> None:
    ends = time.monotonic() + 300
    while time.monotonic() < ends:
        if path.exists() and path.read_bytes().count(b'"record": "sample"') >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} never had {count} samples")


@pytest.mark.serial
def test_a_killed_experiment_goes_on_with_no_sample_lost_or_repeated(hello: Lab, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    name = f"killed-{os.getpid()}"
    path = hello.store.directory("experiments") / f"{name}.jsonl"
    first = unibeam(hello, "bench", str(plan), "--experiment", name)
    wait_for_samples(path, 5)
    second = unibeam(hello, "bench", str(plan), "--experiment", f"{name}-other", "--if-busy", "refuse")
    told = second.communicate(timeout=120)[1]
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    assert second.returncode == 1
    assert "unibeam: Another measurement is under way on this host (process " in told
    assert "Hint: Wait until it has ended, or let this one wait: --if-busy wait" in told

    kept = load_experiment(path)
    assert 5 <= len(kept.samples) < kept.plan.boots == 16
    with path.open("a") as stream:
        stream.write('{"record": "sample", "arm"')  # What a power cut leaves.
    again = unibeam(hello, "bench", str(plan), "--experiment", name)
    errors = again.communicate(timeout=300)[1]
    assert again.returncode == 0, errors
    whole = load_experiment(path)
    assert whole.samples[:len(kept.samples)] == kept.samples
    assert [(s.case, s.block, s.order) for s in whole.samples] == [
        (slot.case.name, slot.block, slot.order) for slot in schedule(whole.plan)]
    assert all(s.ok for s in whole.samples), [s.error for s in whole.failed]
    assert [m.name for m in machines(hello.store) if m.name == "bench-hello_often" and m.alive] == []
    overheads = [s.values["harness_s"] for s in whole.samples]
    assert all(0 <= seconds < 5 for seconds in overheads)
    assert all(0 <= s.values["mark_lag_s"] < 1 for s in whole.samples)
    path.unlink()


FULL_DISK = """
import json, sys
from pathlib import Path
from unibeam_nb.bench.journal import load_experiment
from unibeam_nb.bench.plan import make_plan
from unibeam_nb.bench.run import run_experiment
from unibeam_nb.arms import Arm
from unibeam_nb.errors import UnibeamError
from unibeam_nb.lab import Lab

small, lock = Path(sys.argv[1]), Path(sys.argv[2])
lab = Lab()
image = lab.image(lab.named("hello_often"), Arm.parse("release@process"))
plan = make_plan("hello_often", (Arm.parse("release@process"),), blocks=8, warmup=0, until="app")
path = small / "full.jsonl"
filler = small / "filler"
filler.write_bytes(bytes(28 << 10))

def run():
    return run_experiment(plan, {"release@process": image}, lab.store, path, lock=lock)

try:
    run()
    told, before = "nothing", []
except UnibeamError as error:
    told = str(error)
    before = [s.order for s in load_experiment(path).samples]
    text = path.read_bytes()
filler.unlink()
whole = run()
print(json.dumps({"told": told, "before": before, "after": [s.order for s in whole.samples],
                  "kept": path.read_bytes().startswith(text)}))
"""


@pytest.mark.serial
def test_a_full_disk_stops_an_experiment_that_goes_on_when_there_is_space(hello: Lab, tmp_path: Path) -> None:
    """A tmpfs of 32 kB in a mount namespace of its own, most of it taken."""
    script, small = tmp_path / "full.py", tmp_path / "small"
    script.write_text(textwrap.dedent(FULL_DISK))
    small.mkdir()
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = subprocess.run(
        ["unshare", *own, "--mount", "--propagation", "private", "sh", "-c",
         'mount -t tmpfs -o size=32k none "$1" && exec "$2" "$3" "$1" "$4"', "sh", small, sys.executable, script,
         tmp_path / "lock" / "lock"], capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"UNIBEAM_HOME": str(hello.store.cache.parent)})
    if "Operation not permitted" in done.stderr and "unshare" in done.stderr:
        pytest.skip("this host lets nobody make a mount namespace")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["told"].startswith(f"The disk under {small} is full.\n  Hint: Free some space")
    assert 0 < len(found["before"]) < 8
    assert found["before"] == list(range(len(found["before"])))
    assert found["after"] == list(range(8))
    assert found["kept"], "what was written before stays as it was"


@pytest.mark.serial
def test_a_clock_that_jumps_changes_no_time(hello: Lab, tmp_path: Path) -> None:
    from unibeam_nb.arms import Arm
    from unibeam_nb.bench.plan import make_plan
    from unibeam_nb.bench.run import run_experiment

    image = hello.image(hello.named("hello_often"), Arm.parse("release@process"))
    plan = make_plan("hello_often", (Arm.parse("release@process"),), blocks=3, warmup=0, until="app")
    path = tmp_path / "clock.jsonl"

    def jumping() -> object:
        there = path.read_bytes().count(b'"record": "sample"') if path.exists() else 0
        return utc_now() - timedelta(days=1) if there >= 2 else utc_now()

    exp = run_experiment(plan, {"release@process": image}, hello.store, path, lock=tmp_path / "l" / "lock",
                         now=jumping)  # type: ignore[arg-type]
    assert [s.ok for s in exp.samples] == [True] * 3
    assert all(0 < s.marks["app"] < 60 for s in exp.samples)
    assert exp.samples[2].started < exp.samples[0].started
    (line,) = (line for line in exp.notes if "clock" in line)
    assert "The wall clock jumped back by 864" in line
    assert "Samples are timed by the monotonic clock and are not affected; their dates are." in line


@pytest.mark.serial
def test_arms_that_cannot_run_are_named_at_once_and_the_rest_runs_if_asked(
        hello: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    locate = tools.locate
    monkeypatch.setattr(tools, "locate", lambda command: None if command in ("podman", "qemu-system-x86_64")
                        else locate(command))
    arms = ("release@process", "linux@qemu", "oci+scratch@podman")
    plan = hello.plan("hello_often", arms=arms[:1], against=arms[1:], blocks=1, warmup=0, until="app")
    with pytest.raises(BenchError) as caught:
        hello.bench(plan=plan)
    assert caught.value.message == "2 of the 3 arms cannot run here."
    assert caught.value.hint == "Get what they need, or run the rest with --keep-going."
    assert [line.partition(":")[0] for line in caught.value.details] == ["linux@qemu", "oci+scratch@podman"]
    assert [absent.arm for absent in hello.preview(plan).absent] == ["linux@qemu", "oci+scratch@podman"]
    exp = hello.bench(plan=plan, keep_going=True, experiment=f"rest-{os.getpid()}")
    assert exp.arms == ("release@process",)
    assert set(exp.header["left_out"]) == {"linux@qemu", "oci+scratch@podman"}
    assert [s.ok for s in exp.samples] == [True]
    exp.path.unlink()


CHOOSY = """
-module(choosy).
-export([start/0]).
start() ->
    io:format("this node may have ~p processes~n", [erlang:system_info(process_limit)]),
    case erlang:system_info(process_limit) of 2048 -> ok; _ -> receive never -> ok end end.
"""


@pytest.mark.serial
def test_flags_are_a_factor_and_an_arm_that_never_gets_ready_leaves_failures_with_its_last_words(lab: Lab) -> None:
    lab.build("choosy", text=CHOOSY, target="release")
    exp = lab.bench("choosy", arms=("release@process",), against=("release@process",), blocks=2, warmup=0, until="app",
                    deadline=3, factors={"flags": ["default", "+P 2048"]}, experiment=f"choosy-{os.getpid()}")
    by_case = {name: [s for s in exp.samples if s.case == name] for name in exp.plan.names}
    assert [s.ok for s in by_case["release@process flags=+P 2048"]] == [True, True]
    waiting = by_case["release@process flags=default"]
    assert [s.ok for s in waiting] == [False, False], "failures, not gaps"
    assert all("this node may have" in s.error for s in waiting)
    exp.path.unlink()


LOOKS = """
source = "hello_often"
until = "app"
warmup = 0
arms = ["a=release@process", "b=release@process"]
stop = { ratio_within = 1.0, baseline = "b", at_least = 6, at_most = 8 }
"""


@pytest.mark.serial
def test_an_experiment_ends_at_the_look_at_which_its_ratio_is_known(hello: Lab) -> None:
    exp = hello.bench(toml=LOOKS, experiment=f"looks-{os.getpid()}")
    looked = [line for line in exp.notes if "Look after" in line]
    assert looked
    blocks = int(looked[-1].split("Look after ")[1].split()[0])
    assert len(exp.samples) == 2 * blocks
    assert blocks == 8 or "Enough." in looked[-1]
    assert hello.bench(plan=exp.plan, experiment=exp.name).samples == exp.samples, "it stays ended"
    exp.path.unlink()
