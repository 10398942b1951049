"""Samples as tidy frames: stages sum to the whole, sizes by part, memory by kind."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.analysis import frames
from unibeam_nb.arms import Arm
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.bench.plan import make_plan
from unibeam_nb.errors import BenchError
from unibeam_nb.jsonable import to_json
from unibeam_nb.model import Image, Launch, Memory, Part, Sample

ARMS = ("linux@qemu", "oci+scratch@podman", "oci+scratch@crun")
PARTS = {"linux": [Part("linux kernel", 14_000_000), Part("configuration", 4), Part("erts", 5_000_000),
                   Part("init", 40_000), Part("kernel", 900_000), Part("kernel modules", 200_000),
                   Part("libraries", 6_000_000), Part("stdlib", 1_700_000)],
         "oci": [Part("erts", 5_000_000), Part("kernel", 900_000), Part("libraries", 6_000_000)]}


def boot(arm: str, block: int, order: int, marks: dict[str, float], *, ok: bool = True,
         memory: Memory | None = None) -> Sample:
    return Sample(arm, block, order, block == 0, ok, "2026-01-02T03:04:05+00:00", marks, memory,
                  accelerator="tcg" if "qemu" in arm else "native", host="h", error="" if ok else "It fell.")


def experiment(*samples: Sample) -> Experiment:
    plan = make_plan("hello", tuple(map(Arm.parse, ARMS)), blocks=3, until="http")
    images = {arm: {"target": arm.split("@")[0].split("+")[0], "flavour": Arm.parse(arm).flavour,
                    "sha256": arm.split("@")[0], "shipped_bytes": 7_000_000, "unpacked_bytes": 1,
                    "parts": to_json(PARTS[arm.split("@")[0].split("+")[0]])} for arm in ARMS}
    return Experiment("night", Path("night.jsonl"), {"plan": to_json(plan), "images": images}, samples)


VM = {"spawn": 0.0, "vmm": 0.1, "kernel": 0.4, "init": 1.0, "beam": 1.5, "app": 2.5, "http": 2.6}
BOX = {"spawn": 0.0, "beam": 0.2, "app": 0.5, "http": 0.6, "exit": 0.9}
EXP = experiment(
    boot("linux@qemu", 0, 0, VM), boot("oci+scratch@podman", 0, 1, BOX),
    boot("linux@qemu", 1, 2, VM, memory=Memory(90, 40, 19)), boot("oci+scratch@podman", 1, 3, {}, ok=False),
    boot("oci+scratch@podman", 2, 4, BOX, memory=Memory(30, 2)))


def test_the_samples_frame_has_every_boot_and_its_documented_columns() -> None:
    frame = frames.samples_frame(EXP)
    assert tuple(frame.columns) == frames.SAMPLES
    assert len(frame) == 5
    assert frame["seconds"].tolist()[:3] == [2.6, 0.6, 2.6]
    assert frame["seconds"].isna().tolist() == [False, False, False, True, False]
    assert frame["memory_bytes"].tolist()[2] == 130
    assert frame[~frame["ok"]]["error"].tolist() == ["It fell."]


def test_only_good_boots_after_the_warm_up_are_measured() -> None:
    assert frames.measured_frame(EXP)["order"].tolist() == [2, 4]


def test_marks_an_arm_does_not_have_are_skipped() -> None:
    frame = frames.stages_frame(EXP)
    assert tuple(frame.columns) == frames.STAGES
    by_order = {2: frame[frame["order"] == 2], 4: frame[frame["order"] == 4]}
    assert by_order[2]["stage"].tolist() == ["vmm", "kernel", "init", "beam", "app", "http"]
    assert by_order[4]["stage"].tolist() == ["beam", "app", "http"], "exit is no stage of a boot"
    assert by_order[4]["seconds"].tolist() == pytest.approx([0.2, 0.3, 0.1])


MARKS = st.dictionaries(st.sampled_from(["vmm", "kernel", "init", "beam", "app"]), st.floats(0.001, 10), max_size=5)


@given(MARKS, st.floats(0.001, 10))
def test_stages_always_sum_to_the_whole_and_never_run_backwards(marks: dict[str, float], http: float) -> None:
    stages = frames.stages_of({"spawn": 0.0, "http": http} | marks, "http")
    assert sum(seconds for _, _, seconds in stages) == pytest.approx(http)
    assert all(seconds >= 0 for _, _, seconds in stages)
    ends = [start + seconds for _, start, seconds in stages]
    assert [start for _, start, _ in stages] == pytest.approx([0.0, *ends[:-1]])


def test_memory_is_told_by_kind() -> None:
    frame = frames.memory_frame(EXP)
    assert tuple(frame.columns) == frames.MEMORY
    assert frame[["order", "kind", "bytes"]].values.tolist() == [
        [2, "payload", 90], [2, "overhead", 40], [2, "beam", 19], [4, "payload", 30], [4, "overhead", 2]]


def test_arms_that_share_an_image_share_its_sizes() -> None:
    frame = frames.sizes_frame(EXP)
    assert tuple(frame.columns) == frames.SIZES
    assert list(dict.fromkeys(frame["image"])) == ["linux", "oci+scratch"]
    oci = frame[frame["image"] == "oci+scratch"]
    assert oci["arms"].iloc[0] == ("oci+scratch@podman", "oci+scratch@crun")
    assert oci[oci["measure"] == "shipped"]["bytes"].tolist() == [7_000_000]


def test_linux_and_the_otp_application_called_kernel_are_told_apart() -> None:
    frame = frames.sizes_frame(EXP)
    unpacked = frame[frame["measure"] == "unpacked"].set_index(["image", "part"])["bytes"]
    assert unpacked["linux", "Linux kernel"] == 14_000_000
    assert unpacked["linux", "OTP applications"] == 900_000 + 1_700_000
    assert unpacked["linux", "init and configuration"] == 40_004
    assert unpacked["oci+scratch", "OTP applications"] == 900_000
    assert unpacked["linux"].sum() == sum(part.bytes for part in PARTS["linux"])


def test_sizes_can_be_told_of_images_alone() -> None:
    image = Image("hello", "oci", "scratch", Path("x"), "k", "s", "r", 5, 11, (Part("erts", 11),), (),
                  Launch("erts-13"))
    frame = frames.sizes_frame({"oci+scratch@crun": image})
    assert frame[["image", "measure", "part", "bytes"]].values.tolist() == [
        ["oci+scratch", "unpacked", "ERTS (the BEAM)", 11], ["oci+scratch", "shipped", "all", 5]]


def test_the_typical_boot_is_the_one_with_the_median() -> None:
    frame = pd.DataFrame({"row": ["a"] * 4 + ["b"], "order": [0, 1, 2, 3, 4], "seconds": [9.0, 1.0, 3.0, 2.0, 7.0]})
    assert frames.typical(frame, "seconds", "a") == 3, "the lower of the two middle ones"
    assert frames.typical(frame[frame["order"] != 1], "seconds", "a") == 2
    assert frames.typical(frame, "seconds", "c") is None


def test_a_missing_column_is_named() -> None:
    with pytest.raises(BenchError) as caught:
        frames.typical(pd.DataFrame({"row": ["a"], "order": [1]}), "seconds", "a")
    assert caught.value.message == "The frame has no column 'seconds'."
    assert caught.value.hint == "It has row, order."


def test_emulated_arms_are_known() -> None:
    assert frames.emulated(EXP) == ("linux@qemu",)
    assert frames.accelerators(EXP.samples) == {"linux@qemu": ("tcg",), "oci+scratch@podman": ("native",)}


def test_an_empty_experiment_gives_empty_frames_with_their_columns() -> None:
    empty = experiment()
    assert tuple(frames.samples_frame(empty).columns) == frames.SAMPLES
    assert tuple(frames.stages_frame(empty).columns) == frames.STAGES
    assert tuple(frames.memory_frame(empty).columns) == frames.MEMORY


def test_the_stages_of_a_resumed_machine_sum_to_its_total() -> None:
    marks = {"spawn": 0.0, "vmm": 0.06, "resume": 0.15, "http": 0.19}
    stages = frames.stages_of(marks, "http")
    assert [name for name, _, _ in stages] == ["vmm", "resume", "http"]
    assert sum(seconds for _, _, seconds in stages) == pytest.approx(0.19)
