"""Samples become figures, one module for each family.

    boot     boot, ecdf              stages   stages            size     size, treemap
    memory   memory, density, minimum             ratio    ratio             steady   steady

Every chart takes an experiment (sizes also: images by arm) and optionally the axes to draw on, and returns the axes;
``axes.figure`` is a plain matplotlib ``Figure``. :data:`CHARTS` says how each is drawn and said in words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from unibeam_nb.analysis.chart import Chart
from unibeam_nb.analysis.charts.boot import chart_boot, chart_ecdf
from unibeam_nb.analysis.charts.memory import chart_density, chart_memory, chart_minimum
from unibeam_nb.analysis.charts.ratio import chart_ratio
from unibeam_nb.analysis.charts.size import chart_size, chart_treemap
from unibeam_nb.analysis.charts.stages import chart_stages
from unibeam_nb.analysis.charts.steady import chart_steady
from unibeam_nb.analysis.describe import (
    describe_boot,
    describe_density,
    describe_ecdf,
    describe_memory,
    describe_minimum,
    describe_ratio,
    describe_size,
    describe_stages,
    describe_steady,
    describe_treemap,
)
from unibeam_nb.analysis.stats import comparisons
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.errors import BenchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHARTS: dict[str, tuple[Callable[..., Axes], Callable[..., str]]] = {
    "boot": (chart_boot, describe_boot), "ecdf": (chart_ecdf, describe_ecdf),
    "stages": (chart_stages, describe_stages), "ratio": (chart_ratio, describe_ratio),
    "size": (chart_size, describe_size), "treemap": (chart_treemap, describe_treemap),
    "memory": (chart_memory, describe_memory), "density": (chart_density, describe_density),
    "minimum": (chart_minimum, describe_minimum), "steady": (chart_steady, describe_steady)}
"""How each chart is drawn, and said in words; both take the same arguments but for the axes."""

NEEDS = {"density": "density", "minimum": "minimum", "steady": "steady"}
"""The kind of samples that a chart draws; the others draw boots, and those of sizes need no sample."""


def drawn(kind: str, exp: Experiment, **options: Any) -> Chart:
    """One kind of chart of this experiment; ``options`` are those of :data:`~unibeam_nb.analysis.chart.OPTIONS`."""
    draw, words = CHARTS[kind]
    figure: Any = draw(exp, **options).figure
    return Chart(kind, figure, words(exp, **options))


def possible(exp: Experiment) -> list[str]:
    """The charts that can be drawn of this experiment, in the order of :data:`CHARTS`."""
    kinds = {s.kind for s in exp.samples}
    found = [name for name in CHARTS if NEEDS.get(name, "boot") in kinds or name in ("size", "treemap")]
    try:
        compared = bool(comparisons(exp))
    except BenchError:
        compared = False
    return [name for name in found if name != "ratio" or compared]
