"""Charts of what was measured besides boots, charts of factors, and the guard that refuses what cannot be drawn."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from unibeam_nb.analysis import charts, describe
from unibeam_nb.analysis.charts.size import squarify
from unibeam_nb.analysis.report import write_report
from unibeam_nb.arms import Arm
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.bench.plan import make_plan
from unibeam_nb.errors import BenchError
from unibeam_nb.jsonable import to_json
from unibeam_nb.model import Memory, Part, Sample

ARMS = ("linux@qemu", "release@process", "oci+scratch@crun", "oci+scratch@podman", "linux+tiny@qemu", "oci+slim@podman",
        "linux+tiny+lean@qemu", "linux+tiny+small+lean@qemu", "linux+tiny+lean+resume@qemu", "oci+slim@crun",
        "oci+scratch+lean@crun", "linux+tiny+small+lean+shaken+smaller+resume@qemu")
"""Twelve arms, the last with a name that is longer than any row's room."""

SPEED = dict(zip(ARMS, (5.0, 0.31, 0.33, 0.36, 1.9, 0.37, 1.2, 2.4, 0.16, 0.34, 0.11, 0.2), strict=True))
PARTS = [Part("linux kernel", 1_987_584), Part("erts", 4_307_160), Part("libraries", 5_909_256),
         Part("stdlib", 1_813_803), Part("kernel", 904_201), Part("init", 66_712), Part("hello", 1_341)]


def experiment(count: int, *, blocks: int = 10, fail: tuple[str, ...] = (), factors: bool = False) -> Experiment:
    """``count`` arms, each with boots, loads, searches, and 1, 4, 16 and 32 copies."""
    names = ARMS[:count]
    arms = tuple(Arm(n.split("@")[0].split("+")[0], tuple(n.split("@")[0].split("+")[1:]), n.split("@")[1])
                 for n in names)
    plan = make_plan("hello", arms, blocks=blocks, warmup=0, until="http")
    chance = random.Random(1)
    samples: list[Sample] = []
    for block in range(blocks):
        mood = chance.lognormvariate(0, 0.1)
        for arm in names:
            for size in ("64", "256") if factors else ("",):
                samples += _samples(arm, block, mood * (1.3 if size == "64" else 1), size, len(samples), chance,
                                    arm not in fail)
    images = {arm: {"target": arm.split("@")[0].split("+")[0], "flavour": "", "sha256": arm.split("@")[0],
                    "shipped_bytes": 8_716_500, "unpacked_bytes": 15_009_686, "parts": to_json(PARTS),
                    "name": "hello", "release_sha256": "r", "kernel": "6.1", "tools": [["lz4", "4.4"]],
                    "erts": "erts-13"} for arm in names}
    header = {"plan": to_json(plan), "images": images, "date": "2026-01-02T03:04:05+00:00", "name": "night",
              "host": {"cpu": "AMD EPYC", "cores": 2, "virtualised": "yes", "ram_bytes": 8 << 30, "kernel": "6.1",
                       "distribution": "Debian"}, "host_id": "h", "tools": {"unibeam": "0.1.0"}}
    return Experiment("night", Path("x"), header, tuple(samples))


def _samples(arm: str, block: int, mood: float, size: str, order: int, chance: random.Random, ok: bool) -> list[Sample]:
    end = SPEED[arm] * mood * chance.lognormvariate(0, 0.04) * (2.5 if chance.random() < 0.04 else 1)
    marks = {"spawn": 0.0, "beam": end / 2, "app": end * 0.95, "http": end}
    about: dict[str, Any] = {"accelerator": "tcg" if "qemu" in arm else "native", "host": "h",
                             "factors": {"mem_mb": size} if size else {}, "error": "" if ok else "No kernel."}
    memory = Memory(int((20e6 + 9e6 * SPEED[arm]) * chance.uniform(0.98, 1.02)), 15_000_000, 17_000_000)
    made = [Sample(arm, block, order, False, ok, "", marks, memory, **about)]
    rate = 9000 / (1 + SPEED[arm]) * chance.lognormvariate(0, 0.03)
    load = {"requests_per_s": rate, "latency_p50_s": 6 / rate, "latency_p90_s": 9 / rate, "latency_p99_s": 40 / rate,
            "errors_count": 0, "connections_count": 8, "load_s": 5.0}
    more = [("steady", load), ("minimum", {"least_bytes": float(int(16 + 9 * SPEED[arm]) << 20), "tries_count": 7})]
    for copies in (1, 4, 16, 32):
        each = (memory.total * (0.4 + 0.6 / copies)) if "resume" in arm else memory.total * chance.uniform(0.95, 1)
        more.append(("density", {"copies_count": copies, "each_bytes": each, "total_bytes": each * copies}))
    if block < 5:
        made += [Sample(arm, block, order + index, False, ok, "", {}, kind=kind, values=values if ok else {}, **about)
                 for index, (kind, values) in enumerate(more, 1)]
    return made


def texts(ax: Axes) -> list[str]:
    """All that is written on a chart."""
    legend = ax.get_legend()
    inner = [t for child in ax.child_axes for t in (*child.texts, child.xaxis.label)]
    return [ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel(), *(t.get_text() for t in (*ax.texts, *inner)),
            *(t.get_text() for t in ax.get_yticklabels()),
            *((t.get_text() for t in legend.get_texts()) if legend else ())]


@pytest.mark.parametrize("kind", list(charts.CHARTS))
@pytest.mark.parametrize("count", [2, 12])
def test_nothing_runs_out_of_the_figure_and_no_texts_overlap(kind: str, count: int) -> None:
    ax = charts.CHARTS[kind][0](experiment(count, fail=("oci+slim@crun",)))
    figure = ax.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    tight, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert width == 8
    assert tight.x0 >= -0.02
    assert tight.y0 >= -0.02
    assert tight.x1 <= width + 0.02
    assert tight.y1 <= height + 0.02
    renderer = FigureCanvasAgg(figure).get_renderer()
    legend = ax.get_legend()
    assert [t for t in texts(ax) if t.endswith("…")] == [], "an arm's own name leaves room for all that is said of it"
    pieces = [t for t in (*ax.texts, *ax.get_yticklabels(), *ax.get_xticklabels(), ax.xaxis.label,
                          *(legend.get_texts() if legend else ()), *(t for c in ax.child_axes for t in c.texts))
              if t.get_text() and t.get_visible() and ax.axison]
    boxes = [(piece.get_text(), piece.get_window_extent(renderer)) for piece in pieces]
    for index, (one, box) in enumerate(boxes):
        for other, rival in boxes[index + 1:]:
            overlap = min(box.x1, rival.x1) - max(box.x0, rival.x0), min(box.y1, rival.y1) - max(box.y0, rival.y0)
            assert min(overlap) < 1.5, f"{one!r} and {other!r} overlap"


@pytest.mark.parametrize("kind", list(charts.CHARTS))
def test_every_chart_has_units_a_footer_and_words(kind: str) -> None:
    draw, words = charts.CHARTS[kind]
    exp = experiment(3)
    written = "\n".join(texts(draw(exp))).replace("\n", " ")
    assert "hello" in written
    assert "2026-01-02; experiment night" in written
    if kind not in ("size", "treemap"):
        assert "n = " in written
        assert "AMD EPYC, 2 cores" in written
        assert "linux@qemu under tcg; the others native" in written
    assert any(unit in written for unit in ("(s)", "(ms)", "(MB", "MB unpacked", "(1/s)", "(MiB", "(no unit)",
                                            "(s, log"))
    assert words(exp).endswith(".")
    assert len(words(exp)) > 80


@pytest.mark.parametrize("kind", list(charts.CHARTS))
def test_axes_that_are_given_are_drawn_on(kind: str) -> None:
    ax = Figure(layout="constrained").add_subplot()
    assert charts.CHARTS[kind][0](experiment(2), ax) is ax


def test_factors_have_rows_of_their_own() -> None:
    exp = experiment(2, factors=True)
    for kind in ("boot", "stages", "memory", "steady", "minimum"):
        rows = [t.get_text().replace("\n", " ") for t in charts.CHARTS[kind][0](exp).get_yticklabels()]
        assert rows == ["linux@qemu mem_mb=64 (tcg: emulated)", "linux@qemu mem_mb=256 (tcg: emulated)",
                        "release@process mem_mb=64", "release@process mem_mb=256"]
    assert "linux@qemu mem_mb=256" in describe.describe_boot(exp)


@pytest.mark.parametrize(("kind", "hint"), [
    ("density", "It holds samples of: boot. Measure copies: %unibeam bench NAME --density 1,4,16"),
    ("minimum", "It holds samples of: boot. Search for it: %unibeam bench NAME --min-memory"),
    ("steady", "It holds samples of: boot. Measure under load: %unibeam bench NAME --steady")])
def test_a_chart_of_what_was_not_measured_is_refused(kind: str, hint: str) -> None:
    exp = experiment(2)
    boots = Experiment(exp.name, exp.path, exp.header, tuple(s for s in exp.samples if s.kind == "boot"))
    with pytest.raises(BenchError) as caught:
        charts.CHARTS[kind][0](boots)
    assert caught.value.message == f"The experiment night has no {kind} samples."
    assert caught.value.hint == hint
    assert charts.possible(boots) == ["boot", "ecdf", "stages", "ratio", "size", "treemap", "memory"]
    assert charts.possible(exp) == list(charts.CHARTS)


def test_an_experiment_that_has_only_just_begun_is_refused() -> None:
    exp = experiment(2)
    with pytest.raises(BenchError) as caught:
        charts.chart_boot(Experiment(exp.name, exp.path, exp.header, ()))
    assert str(caught.value) == ("The experiment night has no boot samples.\n"
                                 "  Hint: It holds no sample at all yet. Measure boots: %unibeam bench NAME -n 10")


def test_the_forest_stands_at_the_ratios() -> None:
    exp = experiment(3)
    ax = charts.chart_ratio(exp, baseline="linux@qemu")
    values = [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() == "o"]
    assert values == pytest.approx([SPEED["release@process"] / 5, SPEED["oci+scratch@crun"] / 5], rel=0.1)
    assert ax.get_xlabel() == "boot time, as a multiple of linux@qemu (no unit)"
    assert any(text.startswith("15.") and "x faster\n(95 % 1" in text for text in texts(ax)), texts(ax)
    requests = charts.chart_ratio(exp, baseline="linux@qemu", measure="requests")
    assert any("x more\n" in text for text in texts(requests)), texts(requests)
    with pytest.raises(BenchError, match="There is no measure 'speed'"):
        charts.chart_ratio(exp, measure="speed")


def test_the_lines_of_density_are_the_medians_over_the_copies() -> None:
    exp = experiment(9)
    ax = charts.chart_density(exp)
    line = next(line for line in ax.get_lines() if line.get_label().startswith("linux+tiny+lean+resume@qemu"))
    assert list(line.get_xdata()) == [1, 4, 16, 32]
    assert line.get_ydata()[0] > 2 * line.get_ydata()[-1]


def test_a_treemap_is_of_the_arm_that_was_asked_for() -> None:
    exp = experiment(3)
    assert texts(charts.chart_treemap(exp, arm="release@process"))[0].startswith("release of hello: 15.0 MB unpacked")
    with pytest.raises(BenchError, match="There is no image of osv@qemu"):
        charts.chart_treemap(exp, arm="osv@qemu")
    assert "its parts are libraries 5.9 MB, erts 4.3 MB, linux kernel 2.0 MB" in describe.describe_treemap(exp)


def test_squares_of_the_known_example() -> None:
    """The example of the paper: areas 6, 6, 4, 3, 2, 2, 1 in a rectangle of 6 by 4."""
    placed = squarify([6, 6, 4, 3, 2, 2, 1], 6, 4)
    assert [round(w * h, 6) for _, _, w, h in placed] == [6, 6, 4, 3, 2, 2, 1]
    assert placed[0] == pytest.approx((0, 0, 3, 2))
    assert placed[1] == pytest.approx((0, 2, 3, 2))
    assert placed[2] == pytest.approx((3, 0, 12 / 7, 7 / 3))
    assert placed[3] == pytest.approx((3 + 12 / 7, 0, 9 / 7, 7 / 3))


def test_a_forced_comparison_says_so_on_the_figure() -> None:
    exp = experiment(3)
    mixed = Experiment(exp.name, exp.path, exp.header, tuple(
        dataclasses.replace(s, host="other") if s.block > 4 else s for s in exp.samples))
    with pytest.raises(BenchError, match="These samples come from different hosts"):
        charts.chart_ratio(mixed)
    said = "FORCED, NOT A FAIR COMPARISON: these samples come from different hosts."
    assert any(said in text for text in texts(charts.chart_ratio(mixed, force=True)))
    assert not any("FORCED" in text for text in texts(charts.chart_ratio(exp, force=True)))


JOURNALS = Path(__file__).resolve().parents[1] / "fixtures" / "journals"


@pytest.mark.parametrize(("kind", "said"), [
    ("density", "oci+scratch@crun 23.9 MB each at 1, 20.2 MB each at 2 and 18.1 MB each at 4"),
    ("minimum", "linux+tiny+lean@qemu 40 MiB, oci+scratch+lean@crun 11 MiB and oci+scratch@crun 16 MiB"),
    ("steady", "release@process 8,874/s (range 5,669/s to 12,078/s, n=2), median latency 642 us, 99 % within 6.18 ms")])
def test_what_was_really_measured_is_drawn_and_said(kind: str, said: str, tmp_path: Path) -> None:
    exp = Experiment.open(JOURNALS / f"{kind}.jsonl")
    assert kind in charts.possible(exp)
    charts.CHARTS[kind][0](exp).figure.draw_without_rendering()
    assert said in charts.CHARTS[kind][1](exp)
    page = write_report(exp, tmp_path / "report.html").read_text(encoding="utf-8")
    assert said in page
    assert page.count("<table>") == page.count("<caption>")
