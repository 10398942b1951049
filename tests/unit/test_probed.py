"""Tables of loads, copies and least memories, from recorded journals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from unibeam_nb.analysis.probed import probed_tables, shared_cores
from unibeam_nb.analysis.report import write_report
from unibeam_nb.bench.journal import Experiment, load_experiment
from unibeam_nb.lab import Lab
from unibeam_nb.notebook.display import to_text

JOURNALS = Path(__file__).parent.parent / "fixtures" / "journals"


def recorded(kind: str) -> Experiment:
    return load_experiment(JOURNALS / f"{kind}.jsonl")


def test_a_load_is_a_row_for_every_arm() -> None:
    (table,) = probed_tables(recorded("steady"))
    assert table.head == ("arm", "n", "requests", "p50", "p90", "p99", "errors", "CPU per answer", "CPU when idle")
    assert table.rows[0] == ("release@process", "2", "8,874/s", "642 us", "2.55 ms", "6.18 ms", "0", "75 us", "0.01%")
    assert table.words == "8 connections for 2 s. The load had a core of its own, the machine the other one."


def test_load_and_machine_on_the_same_cores_are_told() -> None:
    sample = recorded("steady").measured_of("steady")[0]
    alone = dataclasses.replace(sample, values=sample.values | {"load_cores_count": 0.0, "server_cores_count": 1.0})
    assert shared_cores(alone) == "Load and machine shared the same cores: compare arms with each other only."
    many = dataclasses.replace(sample, values=sample.values | {"server_cores_count": 7.0})
    assert shared_cores(many) == "The load had a core of its own, the machine 7 others."


def test_copies_are_a_row_for_every_number_of_them() -> None:
    (table,) = probed_tables(recorded("density"))
    assert len(table.rows) == 12
    assert table.rows[2][:4] == ("linux+tiny+lean+resume@qemu", "4", "35.5 MB", "142 MB")


def test_least_memory_says_how_many_boots_it_took() -> None:
    (table,) = probed_tables(recorded("minimum"))
    assert table.head == ("arm", "least memory to http", "boots to find it")
    assert table.rows == (("linux+tiny+lean@qemu", "40 MiB", "11"), ("oci+scratch+lean@crun", "11 MiB", "11"),
                          ("oci+scratch@crun", "16 MiB", "11"))


@pytest.mark.parametrize(("kind", "telling"), [("steady", "8,874/s"), ("density", "35.5 MB"), ("minimum", "40 MiB")])
def test_they_are_shown_in_text_and_in_the_report_and_drawn(kind: str, telling: str, tmp_path: Path) -> None:
    exp = recorded(kind)
    text = to_text(exp)
    assert telling in text
    assert ("median to http" in text) == (kind == "steady")
    page = write_report(exp, tmp_path / "report.html").read_text()
    assert telling in page
    assert ("Median boot" in page) == (kind == "steady")
    chart = Lab().chart(kind, exp)
    assert " under ;" not in chart.svg
    assert chart.save(tmp_path / "chart.png").stat().st_size > 10_000
