"""Experiments as other programs read them; what hyperfine itself writes is compared in tests/integration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unibeam_nb.analysis.export import FORMATS, export, hyperfine_results
from unibeam_nb.analysis.reading import boots, read_samples
from unibeam_nb.arms import Arm
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.bench.plan import Factor, make_plan
from unibeam_nb.errors import BenchError, UnibeamError, UsageError
from unibeam_nb.jsonable import to_json
from unibeam_nb.model import Sample
from unibeam_nb.notebook.commands import EXPORT

PLAN = make_plan("hello", (Arm.parse("oci+scratch@crun"), Arm.parse("release@process")), labels=("box", ""), blocks=3,
                 until="app", factors=(Factor("mem_mb", ("64", "128")),))


def boot(case: str, block: int, seconds: float, *, ok: bool = True) -> Sample:
    arm, _, size = case.partition(" mem_mb=")
    return Sample(arm, block, block, block == 0, ok, "", {"app": seconds} if ok else {},
                  factors={"mem_mb": size} if size else {})


EXP = Experiment("night", Path("night.jsonl"), {"plan": to_json(PLAN)}, (
    boot("box mem_mb=64", 0, 9.0), boot("box mem_mb=64", 2, 0.3), boot("box mem_mb=64", 1, 0.1),
    boot("box mem_mb=64", 3, 0.0, ok=False), boot("release@process", 1, 0.2)))


def test_each_case_is_a_result_without_warm_up_and_failures_in_the_order_of_taking() -> None:
    box, bare = hyperfine_results(EXP)["results"]
    assert (box["command"], box["times"], box["exit_codes"]) == ("box mem_mb=64", [0.1, 0.3], [0, 0])
    assert (box["mean"], box["median"], box["min"], box["max"]) == (0.2, 0.2, 0.1, 0.3)
    assert box["stddev"] == pytest.approx(0.1414213)
    assert box["parameters"] == {"arm": "oci+scratch@crun", "mem_mb": "64"}
    assert (bare["command"], bare["stddev"], bare["user"]) == ("release@process", None, None)


def test_a_file_is_written_where_asked_or_beside_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert export(EXP, "hyperfine") == Path("night.hyperfine.json")
    path = export(EXP, "hyperfine", tmp_path / "a.json")
    assert json.loads(path.read_text()) == hyperfine_results(EXP)


def test_what_cannot_be_exported_is_said() -> None:
    with pytest.raises(UsageError) as caught:
        export(EXP, "excel")
    assert caught.value.message == "There is no format 'excel' to export."
    assert caught.value.hint == f"The formats are {', '.join(FORMATS)}."
    empty = Experiment("night", Path("night.jsonl"), EXP.header, ())
    with pytest.raises(BenchError, match="No boot of night succeeded, so there is nothing to export"):
        export(empty, "hyperfine")


def test_the_command_offers_every_format() -> None:
    assert EXPORT.options[0].choices == tuple(FORMATS)


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_exported_is_read_again(form: str, tmp_path: Path) -> None:
    frame = boots(read_samples(export(EXP, form, tmp_path / f"night{FORMATS[form].suffix}")))
    assert frame.groupby("row")["seconds"].apply(sorted).to_dict() == \
        {"box mem_mb=64": [0.1, 0.3], "release@process": [0.2]}


@pytest.mark.parametrize(("name", "text", "message"), [
    ("a.csv", "x,y\n1,2\n", "a.csv holds no samples."), ("a.json", "[]", "a.json holds no samples."),
    ("a.json", "{", "a.json holds no samples."), ("a.parquet", "nothing", "a.parquet holds no samples."),
    ("a.csv", "", "a.csv holds no samples."), ("a.xlsx", "", "a.xlsx is no file of samples.")])
def test_a_file_of_another_kind_is_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UnibeamError) as caught:
        read_samples(tmp_path / name)
    assert caught.value.message == message


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot be read: No such file"):
        read_samples(tmp_path / "a.csv")
    with pytest.raises(BenchError, match="There is no experiment"):
        read_samples(tmp_path / "a.html")
