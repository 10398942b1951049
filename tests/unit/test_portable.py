"""An experiment that travels: inside its report, as a table, and in a journal of an older version."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from unibeam_nb.analysis import charts
from unibeam_nb.analysis.chart import EXPORTS
from unibeam_nb.analysis.export import FORMATS, export
from unibeam_nb.analysis.report import write_report
from unibeam_nb.bench.journal import Experiment, load_experiment
from unibeam_nb.bench.portable import link_attributes
from unibeam_nb.errors import BenchError, UsageError
from unibeam_nb.lab import Lab
from unibeam_nb.store import Store

OLD = Path(__file__).resolve().parents[1] / "data" / "hello-version1.jsonl"
"""Ten arms measured by the first version of the toolkit, of 110 boots."""


def test_a_journal_of_the_first_version_is_read_and_charted() -> None:
    assert json.loads(OLD.read_text().split("\n", 1)[0])["version"] == 1
    exp = Experiment.open(str(OLD))
    assert (len(exp.samples), len(exp.arms), len(exp.measured)) == (110, 10, 100)
    assert {s.kind for s in exp.samples} == {"boot"}
    for name in charts.possible(exp):
        charts.CHARTS[name][0](exp)
        assert charts.CHARTS[name][1](exp).endswith(".")


def test_a_torn_last_line_of_an_old_journal_is_left_out(tmp_path: Path) -> None:
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(OLD.read_bytes()[:-20])
    assert len(load_experiment(torn).samples) == len(load_experiment(OLD).samples) - 1


def test_a_report_is_read_back_whole(tmp_path: Path) -> None:
    exp = load_experiment(OLD)
    report = write_report(exp, tmp_path / "sent.html")
    back = Experiment.open(report)
    assert (back.name, back.samples, back.notes, back.plan) == (exp.name, exp.samples, exp.notes, exp.plan)
    assert charts.chart_boot(back).get_title(loc="left") == charts.chart_boot(exp).get_title(loc="left")
    again = write_report(back, tmp_path / "again.html")
    assert again.read_bytes() == report.read_bytes(), "a report of a report is the same"


def test_a_report_is_read_in_a_process_that_knows_nothing_of_the_machine_it_came_from(tmp_path: Path) -> None:
    report = write_report(load_experiment(OLD), tmp_path / "sent.html")
    lab = Lab(Store(tmp_path / "cache", tmp_path / "state"))
    chart = lab.chart("ratio", str(report), baseline="release@process")
    assert "slower than release@process" in chart.alt
    code = (f"from unibeam_nb import Experiment; print(len(Experiment.open({str(report)!r}).samples));"
            "import sys; sys.exit('unibeam_nb.machine' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "110\n"


def test_a_report_that_was_changed_is_refused(tmp_path: Path) -> None:
    exp = load_experiment(OLD)
    report = write_report(exp, tmp_path / "sent.html")
    text = report.read_text(encoding="utf-8")
    better = exp.to_journal().replace(b'"http": 5.', b'"http": 1.')
    assert better != exp.to_journal()
    forged = base64.b64encode(gzip.compress(better)).decode()
    start = text.index("base64,") + 7
    report.write_text(text[:start] + forged + text[text.index('"', start):], encoding="utf-8")
    with pytest.raises(BenchError) as caught:
        load_experiment(report)
    assert str(caught.value) == (
        "The experiment inside sent.html was changed after it was written: its sha256 does not match.\n"
        "  Hint: Ask for the report again, as a file that no program has rewritten.")
    report.write_text(text[:start] + text[start + 4000:], encoding="utf-8")
    with pytest.raises(BenchError, match="does not match"):
        load_experiment(report)


def test_a_page_without_an_experiment_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><p>Hello")
    with pytest.raises(BenchError) as caught:
        load_experiment(page)
    assert caught.value.message == "page.html is not a report with an experiment inside."


def test_the_link_names_a_plain_file() -> None:
    assert link_attributes(b"x", '../"evil').startswith('download="..__evil.jsonl.gz" data-unibeam-sha256="2d711642b7')


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_sample_is_in_an_exported_table(tmp_path: Path, suffix: str) -> None:
    exp = load_experiment(OLD)
    path = export(exp, None, tmp_path / f"out{suffix}")
    frame = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    assert len(frame) == len(exp.samples)
    assert frame["arm"].tolist() == [s.arm for s in exp.samples]
    assert frame["mark_http_s"].tolist() == pytest.approx([s.marks["http"] for s in exp.samples])
    assert frame["warmup"].sum() == 10
    again = export(exp, suffix[1:], tmp_path / f"again{suffix}")
    assert again.read_bytes() == path.read_bytes()


def test_a_parquet_file_tells_where_it_comes_from(tmp_path: Path) -> None:
    from pyarrow import parquet

    exp = load_experiment(OLD)
    about = parquet.read_schema(export(exp, None, tmp_path / "out.parquet")).metadata
    assert json.loads(about[b"unibeam.header"])["host_id"] == exp.header["host_id"]


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        export(load_experiment(OLD), None, tmp_path / "out.xls")
    assert str(caught.value) == (
        "out.xls does not say in which format to export.\n"
        "  Hint: Add --format with one of hyperfine, csv, parquet; a file that ends in .csv or .parquet says it.")
    assert tuple(FORMATS) == EXPORTS


def lab_with(tmp_path: Path, **journals: Experiment) -> Lab:
    store = Store(tmp_path / "cache", tmp_path / "state")
    for name, exp in journals.items():
        named = dataclasses.replace(exp, name=name, header=exp.header | {"name": name})
        (store.directory("experiments") / f"{name}.jsonl").write_bytes(named.to_journal())
    return Lab(store)


def slower(exp: Experiment, factor: float) -> Experiment:
    return dataclasses.replace(exp, samples=tuple(
        dataclasses.replace(s, marks={mark: at * factor for mark, at in s.marks.items()}) for s in exp.samples))


def test_two_experiments_are_compared_over_what_both_have(tmp_path: Path) -> None:
    exp = load_experiment(OLD)
    lab = lab_with(tmp_path, before=exp, after=slower(exp, 0.5))
    chart = lab.compare("before", "after")
    lines = chart.alt.splitlines()
    assert lines[0].startswith("linux@qemu in after is 2.00x faster than in before (95 % 1.")
    assert "n=10 against 10." in lines[0]
    assert len(lines) == 11
    assert lines[-1].startswith("The two were measured at different times")
    assert not any("FORCED" in t.get_text() for t in chart.figure.axes[0].texts)
    same = lab.compare("before", "before")
    assert "linux@qemu in before (second) and in before (first): no difference shown at n=10 against 10" in same.alt


def test_experiments_of_two_hosts_or_accelerators_are_refused_unless_forced(tmp_path: Path) -> None:
    exp = load_experiment(OLD)
    elsewhere = dataclasses.replace(exp, samples=tuple(dataclasses.replace(s, host="other") for s in exp.samples))
    under_kvm = dataclasses.replace(exp, samples=tuple(
        dataclasses.replace(s, accelerator="kvm") if s.accelerator == "tcg" else s for s in exp.samples))
    lab = lab_with(tmp_path, before=exp, elsewhere=elsewhere, kvm=under_kvm)
    for name, said in (("elsewhere", "before and elsewhere were measured on different hosts."),
                       ("kvm", "linux+tiny+lean+resume@qemu ran under tcg in before and under kvm in kvm.")):
        with pytest.raises(BenchError) as caught:
            lab.compare("before", name)
        assert caught.value.message == said
        assert caught.value.hint == ("Measure both in one experiment on one host, or use --force to compare them all "
                                     "the same.")
        chart = lab.compare("before", name, force=True)
        assert chart.alt.startswith(f"FORCED, NOT A FAIR COMPARISON: {said}")
        written = [t.get_text() for t in chart.figure.axes[0].texts]
        assert "NOT A FAIR COMPARISON" in written
        assert any(said in text.replace("\n", " ") for text in written)


def test_experiments_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    exp = load_experiment(OLD)
    lab = lab_with(tmp_path, before=exp, after=exp)
    with pytest.raises(BenchError) as caught:
        lab.compare("before", "after", measure="requests")
    assert caught.value.message == "before and after have no arm with a requests per second in common."


def test_the_shell_compares_and_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    from unibeam_nb.cli import main

    monkeypatch.chdir(tmp_path)
    shutil.copy(OLD, "old.jsonl")
    assert main(["export", "old.jsonl", "-o", "old.csv"]) == 0
    assert main(["compare", "old.jsonl", "old.jsonl", "-o", "forest.svg"]) == 0
    assert Path("old.csv").read_text().count("\n") == 111
    assert Path("forest.svg").read_text().startswith("<?xml")
    assert "no difference shown at n=10 against 10" in capsys.readouterr().out
