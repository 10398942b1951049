"""Lines of a journal as samples: the fast way gives what the thorough one gives, and lets nothing wrong through."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.analysis.words import host_line
from unibeam_nb.arms import Arm
from unibeam_nb.bench import checks
from unibeam_nb.bench.journal import Journal, load_experiment
from unibeam_nb.bench.plan import Factor, make_plan
from unibeam_nb.bench.records import Reader, parsed_lines, sample_record
from unibeam_nb.errors import BenchError, UnibeamError
from unibeam_nb.jsonable import dump, from_json, to_json
from unibeam_nb.model import Memory, Part, Sample

ROOT = Path(__file__).resolve().parents[2]
PLAN = make_plan("hello", (Arm.parse("release@process"), Arm.parse("oci+scratch@crun")), blocks=3, until="app",
                 factors=(Factor("mem_mb", ("64", "128")),))
IMAGES = {name: {"sha256": "a" * 64, "release_sha256": "b" * 64, "shipped_bytes": 5, "unpacked_bytes": 9,
                 "parts": to_json([Part("erts", 9)]), "arm": name.partition(" ")[0]} for name in PLAN.names}
HEADER = {"name": "night", "date": "2026-01-02T03:04:05+00:00", "plan": to_json(PLAN), "host": {}, "host_id": "h",
          "tools": {}, "images": IMAGES}
GOOD = Sample("oci+scratch@crun", 1, 3, False, True, "2026-01-02T03:04:05+00:00", {"spawn": 0.0, "app": 0.2},
              Memory(30, 2, 19), 5, 9, (Part("erts", 9),), "a" * 64, "b" * 64, "native", None, 2, "h", "", 0.5, "boot",
              {"mem_mb": "64"}, {"harness_s": 0.01})

numbers = st.floats(0, 1e6) | st.integers(0, 10 ** 12)
samples = st.builds(
    Sample, arm=st.sampled_from(["release@process", "oci+scratch@crun"]), block=st.integers(0, 5),
    order=st.integers(0, 9), warmup=st.booleans(), ok=st.booleans(), started=st.text(),
    marks=st.dictionaries(st.text(), numbers),
    memory=st.none() | st.builds(Memory, st.integers(0, 10 ** 12), st.integers(0, 9), st.none() | st.integers(0, 9)),
    shipped_bytes=st.sampled_from([5, 6]), unpacked_bytes=st.sampled_from([9, 10]),
    parts=st.sampled_from([(Part("erts", 9),), (), (Part("erts", 9), Part("init", 1))]),
    image_sha256=st.sampled_from(["a" * 64, "c"]), release_sha256=st.just("b" * 64), accelerator=st.text(),
    mem_mb=st.none() | st.integers(16, 999), vcpus=st.integers(1, 64), host=st.text(), error=st.text(),
    load1=numbers, kind=st.sampled_from(["boot", "steady"]),
    factors=st.sampled_from([{}, {"mem_mb": "64"}, {"mem_mb": "512"}]), values=st.dictionaries(st.text(), numbers))


@given(st.lists(samples, max_size=8))
def test_what_is_written_is_read_back_however_many_lines_are_alike(written: list[Sample]) -> None:
    lines = [dump(sample_record(one, IMAGES)).encode() for one in written for _ in range(2)]
    reader = Reader(IMAGES)
    read = [reader.sample(record) for record in parsed_lines(lines) if record is not None]
    assert read == [one for one in written for _ in range(2)]
    assert [hash(type(s.memory)) for s in read] == [hash(type(one.memory)) for one in written for _ in range(2)]


def test_a_sample_repeats_nothing_of_the_header() -> None:
    record = sample_record(GOOD, IMAGES)
    assert not record.keys() & {"parts", "shipped_bytes", "unpacked_bytes", "image_sha256", "release_sha256"}
    other = sample_record(dataclasses.replace(GOOD, shipped_bytes=6), IMAGES)
    assert other["shipped_bytes"] == 6


@pytest.mark.parametrize(("key", "value"), [
    ("arm", 3), ("block", "1"), ("ok", 1), ("marks", {"app": "soon"}), ("marks", {"app": None}), ("marks", [1]),
    ("memory", {"payload": "30", "overhead": 2, "beam": 19}), ("memory", {"payload": 30}), ("memory", 7),
    ("values", {"harness_s": "fast"}), ("factors", {"mem_mb": 64}), ("error", None), ("load1", "high"),
    ("parts", [{"name": 1, "bytes": 9}]), ("parts", "all")])
def test_a_wrong_line_among_good_ones_is_named(tmp_path: Path, key: str, value: Any) -> None:
    path = tmp_path / "night.jsonl"
    with Journal.create(path, HEADER) as journal:
        for _ in range(3):
            journal.append(GOOD)
    good = json.loads(path.read_text().splitlines()[1])
    with path.open("a") as stream:
        stream.write(json.dumps(good | {key: value}) + "\n" + json.dumps(good) + "\n")
    with pytest.raises(BenchError, match=r"^Line 5 of night\.jsonl cannot be read"):
        load_experiment(path)


@pytest.mark.parametrize("line", ['1, 2', '{"record": "sample"}, {}', '[]', 'null', '{"record": "other"}'])
def test_a_line_that_is_no_record_shifts_no_other(tmp_path: Path, line: str) -> None:
    path = tmp_path / "night.jsonl"
    with Journal.create(path, HEADER) as journal:
        journal.append(GOOD)
        journal.append(GOOD)
    with path.open("a") as stream:
        stream.write(line + "\n" + dump(sample_record(GOOD, IMAGES)) + "\n")
    with pytest.raises(BenchError, match=r"^Line 4 of night\.jsonl cannot be read"):
        load_experiment(path)


def test_the_journal_in_the_repository_is_read_whatever_its_version() -> None:
    exp = load_experiment(ROOT / "notebooks" / "data" / "hello.jsonl")
    assert len(exp.samples) == exp.plan.boots
    assert {s.kind for s in exp.samples} == {"boot"}
    assert all(s.parts and s.image_sha256 for s in exp.samples)


def test_a_journal_of_version_1_is_read_and_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    plan = {key: value for key, value in to_json(PLAN).items() if key not in ("labels", "factors", "stop", "kinds")}
    old = {key: value for key, value in to_json(GOOD).items() if key not in ("kind", "factors", "values")}
    lines = [{"format": "unibeam-journal", "version": 1, **HEADER, "plan": plan}, {"kind": "sample", **old},
             {"kind": "note", "date": "d", "text": "t"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    exp = load_experiment(path)
    assert exp.samples == (dataclasses.replace(GOOD, factors={}, values={}),)
    assert exp.notes == ("d: t",)
    with pytest.raises(BenchError) as caught:
        Journal.resume(path)
    assert caught.value.message == "old.jsonl was written by an older unibeam (journal version 1)."


def test_the_slow_way_and_the_fast_way_agree_on_a_sample() -> None:
    reader = Reader(IMAGES)
    record = sample_record(GOOD, IMAGES)
    slow, fast = reader.sample(dict(record)), reader.sample(dict(record))
    assert slow == fast == GOOD == from_json(Sample, to_json(GOOD))
    assert isinstance(fast.memory, Memory)
    assert fast.parts == GOOD.parts
    assert dataclasses.replace(fast, order=9).order == 9


def test_a_disk_that_is_full_costs_no_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write that fails in the middle leaves the journal as it was; a real full disk is in tests/integration."""
    import os

    path = tmp_path / "night.jsonl"
    write = os.write
    with Journal.create(path, HEADER) as journal:
        journal.append(GOOD)

        def full(handle: int, data: bytes) -> int:
            if len(data) < 100:
                raise OSError(28, "No space left on device")
            return write(handle, data[:len(data) - 50])

        monkeypatch.setattr("os.write", full)
        with pytest.raises(UnibeamError, match=r"^The disk under .* is full\."):
            journal.append(GOOD)
        monkeypatch.undo()
        assert len(load_experiment(path).samples) == 1
        journal.append(GOOD)
    assert len(load_experiment(path).samples) == 2


def test_samples_of_several_hosts_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "night.jsonl"
    with Journal.create(path, HEADER | {"hosts": {"h": {"cpu": "A"}, "i": {"cpu": "B"}}}) as journal:
        journal.append(GOOD)
        journal.append(dataclasses.replace(GOOD, order=4, host="i"))
    exp = load_experiment(path)
    assert exp.hosts == ("h", "i")
    there = exp.on_host("i")
    assert [s.order for s in there.samples] == [4]
    assert (there.header["host"]["cpu"], there.header["host_id"], there.hosts) == ("B", "i", ("i",))
    assert any("The samples come from 2 hosts." in str(c) for c in checks.after(exp.samples, exp.plan, 2))
    assert host_line(exp) == "POOLED FROM 2 HOSTS (h, i)"
    with pytest.raises(BenchError, match=r"^night has no sample of the host x\."):
        exp.on_host("x")
