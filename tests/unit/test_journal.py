"""Journals: every sample is on disk at once, a torn last line is survived, unknown versions are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unibeam_nb.arms import Arm
from unibeam_nb.bench.journal import FORMAT_VERSION, Journal, list_experiments, load_experiment
from unibeam_nb.bench.plan import make_plan
from unibeam_nb.errors import BenchError
from unibeam_nb.jsonable import to_json
from unibeam_nb.model import Memory, Part, Sample
from unibeam_nb.store import Store

PLAN = make_plan("hello", (Arm.parse("release@process"),), blocks=3, until="app")


def header(name: str = "night", date: str = "2026-01-02T03:04:05+00:00") -> dict[str, object]:
    return {"name": name, "date": date, "plan": to_json(PLAN), "host": {}, "host_id": "h", "tools": {}, "images": {}}


def sample(order: int, *, ok: bool = True) -> Sample:
    return Sample("release@process", order, order, order == 0, ok, "2026-01-02T03:04:05+00:00",
                  {"spawn": 0.0, "beam": 0.1, "app": 0.2 + order} if ok else {}, Memory(30, 2, 19) if ok else None,
                  5, 9, (Part("erts", 9),), "a" * 64, "b" * 64, "native", None, 2, "h",
                  "" if ok else "It fell.\nüber", 0.5)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "night.jsonl"
    samples = (sample(0), sample(1, ok=False), sample(2))
    with Journal.create(path, header()) as journal:
        for one in samples:
            journal.append(one)
        journal.note("2026-01-02T03:04:06+00:00", "The host was busy.")
    exp = load_experiment(path)
    assert exp.samples == samples
    assert exp.notes == ("2026-01-02T03:04:06+00:00: The host was busy.",)
    assert (exp.name, exp.plan, exp.until, exp.arms) == ("night", PLAN, "app", ("release@process",))
    assert [s.order for s in exp.measured] == [2]
    assert [s.order for s in exp.failed] == [1]
    assert repr(exp) == "<Experiment night: 1 arm, 3 of 4 boots, 1 failed>"


def test_a_sample_is_readable_before_the_journal_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "night.jsonl"
    journal = Journal.create(path, header())
    for order in range(3):
        journal.append(sample(order))
        assert len(load_experiment(path).samples) == order + 1
    journal.close()


def test_every_line_is_one_json_object(tmp_path: Path) -> None:
    path = tmp_path / "night.jsonl"
    with Journal.create(path, header()) as journal:
        journal.append(sample(1, ok=False))
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert (lines[0]["format"], lines[0]["version"]) == ("unibeam-journal", FORMAT_VERSION)
    assert lines[1]["kind"] == "boot"
    assert len(lines) == 2


def test_a_line_from_before_there_were_kinds_is_a_boot(tmp_path: Path) -> None:
    path = tmp_path / "night.jsonl"
    with Journal.create(path, header()) as journal:
        journal.append(sample(1))
    path.write_text(path.read_text(encoding="utf-8").replace('"kind": "boot"', '"kind": "sample"'), encoding="utf-8")
    assert load_experiment(path).samples == (sample(1),)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(cut=st.integers(1, 400))
def test_a_torn_last_line_costs_that_line_only_and_appending_repairs_it(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "night.jsonl"
    path.unlink(missing_ok=True)
    with Journal.create(path, header()) as journal:
        journal.append(sample(0))
        journal.append(sample(1))
    text = path.read_bytes()
    path.write_bytes(text[:-cut])
    # Only the newline is gone when one byte is cut: the sample itself is whole, and counts.
    expected = [0, 1] if cut == 1 else [0]
    assert [s.order for s in load_experiment(path).samples] == expected
    with Journal.resume(path) as journal:
        journal.append(sample(2))
    assert [s.order for s in load_experiment(path).samples] == [*expected, 2]
    assert path.read_bytes().startswith(text[:text.index(b"\n", text.index(b"\n") + 1) + 1])


def test_damage_before_the_last_line_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "night.jsonl"
    with Journal.create(path, header()) as journal:
        journal.append(sample(0))
        journal.append(sample(1))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:50], lines[2]]) + "\n")
    with pytest.raises(BenchError) as caught:
        load_experiment(path)
    assert caught.value.message == "Line 2 of night.jsonl cannot be read (not a JSON object)."
    assert caught.value.hint == "Only the last line may be incomplete: restore the file, or start anew."


def test_an_unknown_version_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    Journal.create(path, header()).close()
    path.write_text(path.read_text().replace(f'"version": {FORMAT_VERSION}', '"version": 99'))
    with pytest.raises(BenchError) as caught:
        load_experiment(path)
    assert caught.value.message == "new.jsonl has journal version 99, and this unibeam reads version 2."
    assert caught.value.hint == ("Read it with the unibeam that wrote it, or upgrade: "
                                 "pip install --upgrade unibeam-nb")


@pytest.mark.parametrize("text", ["", "hello\n", "[1]\n", '{"format": "other"}\n', "\x00\xff"])
def test_another_file_is_not_a_journal(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(BenchError) as caught:
        load_experiment(path)
    assert caught.value.message == "x.jsonl is not an experiment's journal."


def test_a_missing_journal_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchError) as caught:
        load_experiment(tmp_path / "no.jsonl")
    assert caught.value.message == f"There is no experiment at {tmp_path / 'no.jsonl'}."


def test_creating_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "night.jsonl"
    Journal.create(path, header()).close()
    before = path.read_bytes()
    with pytest.raises(BenchError, match=r"night\.jsonl is there already"):
        Journal.create(path, header())
    assert path.read_bytes() == before


def test_experiments_are_listed_oldest_first_without_strangers(fresh_store: Store) -> None:
    directory = fresh_store.directory("experiments")
    Journal.create(directory / "b.jsonl", header("b", "2026-01-01T00:00:00+00:00")).close()
    Journal.create(directory / "a.jsonl", header("a", "2026-02-01T00:00:00+00:00")).close()
    (directory / "notes.jsonl").write_text("my own notes\n")
    assert [exp.name for exp in list_experiments(fresh_store)] == ["b", "a"]
