"""Charts: every mark is in its place, nothing runs out of the figure, greys can be told apart."""

from __future__ import annotations

import dataclasses
import io
import itertools
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from unibeam_nb.analysis import charts, describe
from unibeam_nb.analysis.charts import style
from unibeam_nb.arms import Arm
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.bench.plan import make_plan
from unibeam_nb.errors import BenchError
from unibeam_nb.jsonable import to_json
from unibeam_nb.model import Image, Launch, Memory, Part, Sample

TIMES = {"linux@qemu": 3.0, "oci+scratch@podman": 0.55, "oci+scratch@crun": 0.42, "oci+slim@podman": 0.56,
         "oci+slim@crun": 0.43, "release@process": 0.38, "linux+tiny+resume@firecracker": 0.3,
         "linux+tiny@firecracker": 2.0}
"""Eight arms, two of which the model does not know yet: a chart must not care."""


def experiment(count: int, *, accelerator: str = "tcg", blocks: int = 8, fail: str = "",
               scale: float = 1) -> Experiment:
    names = list(TIMES)[:count]
    arms = tuple(Arm(n.split("@")[0].split("+")[0], tuple(n.split("@")[0].split("+")[1:]), n.split("@")[1])
                 for n in names)
    plan = make_plan("hello", arms, blocks=blocks, warmup=0, until="http")
    chance = random.Random(1)
    samples = []
    for block in range(blocks):
        for arm in names:
            end = TIMES[arm] * chance.uniform(0.95, 1.05) * (scale if arm == "linux@qemu" else 1)
            marks = {"spawn": 0.0, "beam": end / 2, "app": end * 0.95, "http": end}
            if arm.startswith("linux"):
                marks |= {"vmm": end / 50, "kernel": end / 9, "init": end / 3}
            memory = Memory(90_000_000 if "linux" in arm else 30_000_000, 20_000_000, 19_000_000)
            samples.append(Sample(arm, block, len(samples), False, arm != fail, "", marks, memory,
                                  accelerator=accelerator if "linux" in arm else "native", host="h"))
    parts = [Part("linux kernel", 14_000_000), Part("base", 70_000_000), Part("libraries", 6_000_000),
             Part("erts", 5_000_000), Part("stdlib", 2_000_000), Part("init", 40_000)]
    images = {arm: {"target": arm.split("@")[0].split("+")[0], "flavour": "", "sha256": arm.split("@")[0],
                    "shipped_bytes": 40_000_000, "unpacked_bytes": 97_040_000, "parts": to_json(parts)}
              for arm in names}
    host = {"cpu": "AMD EPYC 9R14 96-Core Processor", "cores": 2, "virtualised": "KVM"}
    header = {"plan": to_json(plan), "images": images, "host": host, "date": "2026-01-02T03:04:05+00:00"}
    return Experiment("night", Path("x"), header, tuple(samples))


def texts(ax: Axes) -> list[str]:
    """All that is written on a chart."""
    legend = ax.get_legend()
    return [ax.get_title(loc="left"), ax.get_xlabel(), *(t.get_text() for t in ax.texts),
            *(t.get_text() for t in ax.get_yticklabels()),
            *((t.get_text() for t in legend.get_texts()) if legend else ())]


ALL = [charts.chart_boot, charts.chart_stages, charts.chart_size, charts.chart_memory]


@pytest.mark.parametrize("draw", ALL)
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_nothing_runs_out_of_the_figure(draw: Any, count: int) -> None:
    ax = draw(experiment(count))
    figure = ax.figure
    figure.draw_without_rendering()
    tight = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert tight.x0 >= -0.02
    assert tight.y0 >= -0.02
    assert tight.x1 <= width + 0.02
    assert tight.y1 <= height + 0.02
    assert ax.get_position().width > 0.45, "the plot keeps most of the width"


@pytest.mark.parametrize("draw", ALL)
def test_texts_do_not_overlap(draw: Any) -> None:
    ax = draw(experiment(8))
    ax.figure.draw_without_rendering()
    renderer = FigureCanvasAgg(ax.figure).get_renderer()
    legend = ax.get_legend()
    pieces = [t for t in (*ax.texts, *ax.get_yticklabels(), ax.xaxis.label, *legend.get_texts()) if t.get_text()]
    boxes = [(piece.get_text(), piece.get_window_extent(renderer)) for piece in pieces]
    for index, (one, box) in enumerate(boxes):
        for other, rival in boxes[index + 1:]:
            overlap = min(box.x1, rival.x1) - max(box.x0, rival.x0), min(box.y1, rival.y1) - max(box.y0, rival.y0)
            assert min(overlap) < 1.5, f"{one!r} and {other!r} overlap"


@pytest.mark.parametrize("draw", ALL)
def test_a_chart_says_what_it_shows_in_which_unit(draw: Any) -> None:
    ax = draw(experiment(4))
    assert "hello" in ax.get_title(loc="left")
    assert any(unit in ax.get_xlabel() for unit in ("(s)", "(ms)", "(MB"))
    assert len(ax.get_yticklabels()) in (4, 3), "sizes have one row per image"
    assert "2026-01-02" in "\n".join(texts(ax))


@pytest.mark.parametrize("draw", [charts.chart_boot, charts.chart_stages, charts.chart_memory])
def test_the_footer_says_n_host_accelerator_and_date(draw: Any) -> None:
    footer = next(t for t in texts(draw(experiment(4))) if "n = " in t).replace("\n", " ")
    assert ("n = 8 boots per arm linux@qemu under tcg; the others native; AMD EPYC 9R14 96-Core Processor, 2 cores, "
            "itself a virtual machine 2026-01-02; experiment night") in footer


@pytest.mark.parametrize("draw", [charts.chart_boot, charts.chart_stages, charts.chart_memory])
def test_emulation_is_said_loudly_and_only_then(draw: Any) -> None:
    loud = "linux@qemu ran under tcg: software emulation, not what production would show"
    assert loud in texts(draw(experiment(4)))
    assert "linux@qemu\n(tcg: emulated)" in texts(draw(experiment(4)))
    assert not any("tcg" in text for text in texts(draw(experiment(4, accelerator="kvm"))))


def test_the_median_and_its_interval_are_where_the_samples_are() -> None:
    exp = experiment(1)
    ax = charts.chart_boot(exp)
    seconds = sorted(s.marks["http"] for s in exp.samples)
    median = (seconds[3] + seconds[4]) / 2
    line = ax.get_lines()[0]
    assert list(line.get_xdata()) == pytest.approx([median, median])
    bar = ax.patches[0]
    assert seconds[0] <= bar.get_x() <= median <= bar.get_x() + bar.get_width() <= seconds[-1]
    assert sorted(ax.collections[0].get_offsets()[:, 0]) == pytest.approx(seconds)


def test_times_below_a_second_are_in_milliseconds() -> None:
    exp = experiment(8)
    fast = Experiment("x", exp.path, exp.header, tuple(s for s in exp.samples if not s.arm.startswith("linux")))
    assert charts.chart_boot(fast).get_xlabel() == "boot time (ms)"


def test_the_axis_is_logarithmic_only_where_it_must_and_says_so() -> None:
    assert charts.chart_boot(experiment(6)).get_xscale() == "linear"
    assert charts.chart_boot(experiment(6)).get_xlim()[0] == 0
    ax = charts.chart_boot(experiment(6, scale=30))
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "boot time (s, logarithmic axis)")


def test_stages_of_a_bar_sum_to_a_boot_that_was_measured() -> None:
    exp = experiment(2)
    ax = charts.chart_stages(exp)
    for row, arm in enumerate(exp.arms):
        blocks = [p for p in ax.patches if abs(p.get_y() + p.get_height() / 2 - row) < 0.1]
        whole = sum(p.get_width() for p in blocks)
        assert any(s.marks["http"] == pytest.approx(whole) for s in exp.samples if s.arm == arm)
    assert any("the one at or next below the arm's median" in t for t in texts(ax))


def test_an_arm_that_never_booted_keeps_its_row_and_says_so() -> None:
    for draw in (charts.chart_boot, charts.chart_stages, charts.chart_memory):
        ax = draw(experiment(4, fail="oci+scratch@crun"))
        assert "no boot succeeded" in texts(ax)
        assert len(ax.get_yticklabels()) == 4


def test_an_experiment_without_a_single_good_boot_is_drawn_all_the_same() -> None:
    for draw in ALL:
        draw(experiment(1, fail="linux@qemu")).figure.draw_without_rendering()


def test_few_samples_show_a_range_and_not_an_interval() -> None:
    assert "95 % interval" in texts(charts.chart_boot(experiment(2, blocks=6)))
    assert "interval (range where n < 6)" in texts(charts.chart_boot(experiment(2, blocks=5)))


def test_given_axes_are_drawn_on() -> None:
    ax = Figure().add_subplot()
    assert charts.chart_boot(experiment(2), ax) is ax


def test_pieces_of_a_stack_differ_in_grey_and_neighbours_in_hatch() -> None:
    shades = style.shades(7)
    greys = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b, _ in shades]
    assert all(b - a > 0.06 for a, b in itertools.pairwise(greys)), greys
    assert len(set(style.HATCHES)) == len(style.HATCHES) == 7


def test_sizes_are_drawn_of_images_alone() -> None:
    image = Image("web", "release", "", Path("x"), "k", "s", "r", 5_000_000, 11_000_000, (Part("erts", 11_000_000),),
                  (), Launch("erts-13"))
    ax = charts.chart_size({"release@process": image})
    assert "11.0 MB unpacked" in texts(ax)
    assert "5.0 MB shipped" in texts(ax)
    with pytest.raises(BenchError, match="nothing to draw"):
        charts.chart_size({})


def test_every_chart_has_a_sentence_with_its_figures() -> None:
    exp = experiment(4, fail="oci+scratch@crun")
    boot = describe.describe_boot(exp)
    assert boot.startswith("Median boot time of hello, from spawn to the first good HTTP answer: linux@qemu 2.92 s (95")
    assert "oci+scratch@crun never succeeded" in boot
    assert boot.endswith("software emulation, not what production would show.")
    assert "linux@qemu spends 58 ms until the VMM is ready, 2" in describe.describe_stages(exp)
    assert "linux 97.0 MB unpacked and 40.0 MB shipped" in describe.describe_size(exp)
    assert "linux@qemu 110 MB, of which 20.0 MB are overhead" in describe.describe_memory(exp)


def test_drawing_leaves_no_trace_in_the_style_of_the_notebook() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    charts.chart_boot(experiment(2)).figure.savefig(io.BytesIO())
    assert dict(matplotlib.rcParams) == before


def test_charts_never_touch_pyplot() -> None:
    code = "import sys, unibeam_nb.analysis.charts; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_frames_and_statistics_need_no_matplotlib_and_no_programs() -> None:
    code = ("import sys, unibeam_nb.analysis.frames, unibeam_nb.analysis.stats, unibeam_nb.analysis.describe;"
            "sys.exit(any(m in sys.modules for m in ('matplotlib', 'IPython', 'plumbum', 'unibeam_nb.process')))")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_times_that_are_counted_say_so() -> None:
    exp = experiment(2, accelerator="icount")
    plain = texts(charts.chart_stages(exp))
    plan = dataclasses.replace(exp.plan, accelerator="icount", until="app")
    counted = dataclasses.replace(exp, header=exp.header | {"plan": to_json(plan)})
    shown = texts(charts.chart_stages(counted))
    assert "guest time since it was switched on (s)" in shown
    assert any("guest time by the count of instructions" in text for text in shown)
    assert "guest time" not in " ".join(plain)
