"""A drawn chart, with the sentence that says the same to those who cannot see it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unibeam_nb.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHARTS = ("boot", "ecdf", "stages", "ratio", "size", "treemap", "memory", "density", "minimum", "steady")
"""The kinds of chart."""

MEASURE_NAMES = ("boot", "memory", "requests", "latency", "density", "minimum")
"""What can be compared (:mod:`~unibeam_nb.analysis.measures`, which needs the model)."""

EXPORTS = ("hyperfine", "csv", "parquet")
"""What an experiment can be exported as (:mod:`~unibeam_nb.analysis.export`)."""

NO_FORMULAS: Any = {"text.parse_math": False}
"""Matplotlib's setting by which a dollar sign is one, whoever wrote it, and never begins a formula. It counts where a
text is made, and the labels of ticks are made only when a figure is drawn."""

OPTIONS = {"baseline": ("ratio",), "measure": ("ratio",), "force": ("ratio",), "arm": ("treemap",)}
"""Which charts take which option."""


@dataclass(frozen=True)
class Chart:
    """A drawn chart with the sentence that says the same to those who cannot see it."""

    kind: str
    figure: Figure
    alt: str

    def __repr__(self) -> str:
        return self.alt

    @cached_property
    def svg(self) -> str:
        return self._render("svg").decode()

    def _render(self, form: str) -> bytes:
        import matplotlib

        stream = io.BytesIO()
        # What the layout was told to leave alone, a tight box would cut off.
        apart = any(not part.get_in_layout() for axes in self.figure.axes for part in axes.get_children())
        with matplotlib.rc_context(NO_FORMULAS):
            self.figure.savefig(stream, format=form, bbox_inches=None if apart else "tight", dpi=144)
        return stream.getvalue()

    def save(self, path: Path) -> Path:
        """Write the chart to ``path``; its suffix (``.svg``, ``.png``, ``.pdf``) chooses the format."""
        form = path.suffix.lstrip(".") or "svg"
        if form not in ("svg", "png", "pdf"):
            raise UsageError(f"{path.name} has no suffix of a chart.", "Name a file that ends in .svg, .png or .pdf.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._render(form))
        return path

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        image = base64.b64encode(self.svg.encode()).decode()
        return {"text/plain": self.alt,
                "image/png": base64.b64encode(self._render("png")).decode(),
                "text/html": f'<img alt="{escape(self.alt, quote=True)}" style="max-width:100%;background:#fff" '
                             f'src="data:image/svg+xml;base64,{image}"/>'}
