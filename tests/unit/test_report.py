"""The report: one file that needs nothing else, escapes what it quotes, and is the same every time."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from unibeam_nb.analysis.report import save_charts, write_report
from unibeam_nb.arms import Arm
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.bench.plan import make_plan
from unibeam_nb.errors import BenchError
from unibeam_nb.jsonable import to_json
from unibeam_nb.model import Memory, Part, Sample

EVIL = '<script>alert("x")</script>'


def experiment(tmp_path: Path, blocks: int = 7) -> Experiment:
    arms = (Arm.parse("linux@qemu"), Arm.parse("release@process"))
    plan = make_plan("hello", arms, blocks=blocks, warmup=0, until="http")
    samples = []
    for block in range(blocks):
        for arm in map(str, arms):
            end = (3.0 if "qemu" in arm else 0.4) * (1 + 0.01 * (block % 3))
            failed = block == 2 and "qemu" in arm
            samples.append(Sample(
                arm, block, len(samples), False, not failed, "",
                {"spawn": 0.0, "beam": end / 2, "app": end, "http": end},
                Memory(30_000_000, 10_000_000, 19_000_000), accelerator="tcg" if "qemu" in arm else "native", host="h",
                error=f"The machine did not answer.\n{EVIL}" if failed else ""))
    image = {"name": "hello", "target": "linux", "flavour": "", "release_sha256": "r", "shipped_bytes": 8_000_000,
             "unpacked_bytes": 19_000_000, "parts": to_json([Part("linux kernel", 14_000_000), Part("erts", 5_000)]),
             "kernel": "6.1.0-cloud", "tools": [["lz4", "4.4"]], "erts": "erts-13"}
    header = {"name": "night", "plan": to_json(plan), "date": "2026-01-02T03:04:05+00:00", "host_id": "abc",
              "tools": {"unibeam": "0.1.0"},
              "images": {"linux@qemu": image | {"sha256": "a" * 64},
                         "release@process": image | {"sha256": "b" * 64, "target": "release", "kernel": ""}},
              "host": {"cpu": EVIL, "cores": 2, "ram_bytes": 8 << 30, "kernel": "6.1", "distribution": "Debian",
                       "virtualised": ""}}
    return Experiment("night", tmp_path / "night.jsonl", header, tuple(samples), ("2026: The host was busy.",))


class Tags(HTMLParser):
    """Which tags and attributes a page has, and whether what is opened is closed."""

    VOID = ("meta", "br", "hr", "img", "link", "input")

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(tmp_path: Path, exp: Experiment | None = None) -> tuple[str, Tags]:
    text = write_report(exp or experiment(tmp_path), tmp_path / "report.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return text, tags


def test_the_report_needs_nothing_else(tmp_path: Path) -> None:
    text, tags = page(tmp_path)
    names = {name for name, _ in tags.tags}
    assert not names & {"script", "link", "img", "iframe", "object"}
    policy = next(a["content"] for n, a in tags.tags if n == "meta" and a.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'"
    assert re.findall(r'(?:src|href)="(?!#)([^,"]*)', text) == ["data:application/gzip;base64"]
    assert "url(http" not in text


def test_every_possible_chart_is_inline_and_have_an_alternative_text(tmp_path: Path) -> None:
    _, tags = page(tmp_path)
    svgs = [attributes for name, attributes in tags.tags if name == "svg"]
    assert len(svgs) == 7
    assert all(a["role"] == "img" and len(a["aria-label"] or "") > 40 for a in svgs)
    assert (svgs[0]["aria-label"] or "").startswith("Median boot time of hello")


def test_ids_are_unique_on_the_page_and_every_reference_has_its_target(tmp_path: Path) -> None:
    text, tags = page(tmp_path)
    ids = [a["id"] for _, a in tags.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert used <= set(ids)
    assert used


def test_what_came_from_outside_is_escaped(tmp_path: Path) -> None:
    text, _ = page(tmp_path)
    assert EVIL not in text
    assert "&lt;script&gt;" in text


def test_the_report_says_what_matters(tmp_path: Path) -> None:
    text, _ = page(tmp_path)
    plain = re.sub(r"\s+", " ", text)
    for piece in ("linux@qemu ran under tcg: software emulation, not what production would show",
                  "linux@qemu is 7.5", "x slower than release@process", "Failed boots",
                  "The machine did not answer.", "2026: The host was busy.", "1 of 7 boots of linux@qemu failed.",
                  "a" * 64, "6.1.0-cloud", "lz4 4.4", "Medians of stages do not sum", "Experiment night, 2026-01-02"):
        assert piece in plain, piece


def test_samples_of_two_hosts_are_reported_without_a_comparison(tmp_path: Path) -> None:
    exp = experiment(tmp_path)
    mixed = dataclasses.replace(exp, samples=tuple(
        dataclasses.replace(s, host="other") if s.block > 4 else s for s in exp.samples))
    text, _ = page(tmp_path, mixed)
    assert "No comparison is made: These samples come from different hosts." in text


def test_an_experiment_without_a_good_boot_has_no_report(tmp_path: Path) -> None:
    exp = experiment(tmp_path)
    failed = dataclasses.replace(exp, samples=tuple(dataclasses.replace(s, ok=False, error="No kernel.\nx")
                                                    for s in exp.samples))
    with pytest.raises(BenchError) as caught:
        write_report(failed, tmp_path / "report.html")
    assert caught.value.message == "No boot of night succeeded, so there is nothing to report."
    assert caught.value.hint == "The first one: No kernel."
    assert not (tmp_path / "report.html").exists()


def test_report_and_charts_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    exp = experiment(tmp_path)
    write_report(exp, tmp_path / "a.html")
    write_report(exp, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    first = save_charts(exp, tmp_path / "one")
    second = save_charts(exp, tmp_path / "two" / "deep")
    assert [path.name for path in first] == [
        f"{kind}.{form}" for kind in ("boot", "ecdf", "stages", "ratio", "size", "treemap", "memory")
        for form in ("svg", "png")]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert b"<dc:date>" not in first[0].read_bytes()
    assert first[1].read_bytes().startswith(b"\x89PNG")


def test_tables_have_captions_and_scopes(tmp_path: Path) -> None:
    text, tags = page(tmp_path)
    assert text.count("<table>") == text.count("<caption>") == 7
    assert all(a.get("scope") in ("col", "row") for name, a in tags.tags if name == "th")
    assert text.count("<figure>") == text.count("<figcaption") == 7


FIELDS = ["name", "date", "host_id", "host.cpu", "host.kernel", "host.distribution", "host.virtualised", "tools.qemu",
          "images.linux@qemu.kernel", "images.linux@qemu.sha256", "images.linux@qemu.tools", "images.linux@qemu.parts",
          "plan.source", "sample.error", "sample.accelerator", "note"]


EVILS = [EVIL, "'\"><img src=x onerror=alert(1)>", "</svg></figure><h1>", "{{ 7 * 7 }}",
         f'<a data-unibeam-sha256="{"0" * 64}" href="data:application/gzip;base64,AA==">']


@pytest.mark.parametrize("evil", EVILS)
def test_a_hostile_value_in_any_field_stays_text(tmp_path: Path, evil: str) -> None:
    clean, exp = Tags(), experiment(tmp_path)
    clean.feed(write_report(exp, tmp_path / "clean.html").read_text(encoding="utf-8"))
    for number, field in enumerate(FIELDS):
        exp = hostile(exp, field, f"{number}{evil}")
    text = write_report(exp, tmp_path / "report.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert {name for name, _ in tags.tags} <= {name for name, _ in clean.tags}
    assert sum(name == "a" for name, _ in tags.tags) == 1
    assert not any(key.startswith("on") for _, attributes in tags.tags for key in attributes)
    if evil == "{{ 7 * 7 }}":
        assert "49</" not in text
    for number, field in enumerate(FIELDS):
        if field not in ("date", "images.linux@qemu.parts"):  # Ten letters of the one; names of the other are grouped.
            assert f"{number}{html.escape(evil)}".replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in text, field
    assert [s.marks for s in Experiment.open(tmp_path / "report.html").samples] == [s.marks for s in exp.samples]


def hostile(exp: Experiment, field: str, evil: str) -> Experiment:
    """The experiment with ``evil`` in one of its fields."""
    if field == "note":
        return dataclasses.replace(exp, notes=(f"2026: {evil}",))
    if field.startswith("sample."):
        return dataclasses.replace(exp, samples=tuple(
            dataclasses.replace(s, **{field.partition(".")[2]: evil}) for s in exp.samples))
    header = json.loads(json.dumps(exp.header))
    inside, *path, last = [header, *field.split(".")]
    for key in path:
        inside = inside[key]
    inside[last] = [[evil, evil]] if last == "tools" and path else \
        [{"name": evil, "bytes": 5}] if last == "parts" else evil
    return dataclasses.replace(exp, header=header, name=evil if field == "name" else exp.name)
