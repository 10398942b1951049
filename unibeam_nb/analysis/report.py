"""One experiment as one HTML file that needs nothing else, and its charts as files.

The page has no script and loads nothing: its Content-Security-Policy forbids both. Everything that came
from outside (names, errors, what a guest printed) is escaped by the template.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from markupsafe import Markup

from unibeam_nb.analysis.chart import NO_FORMULAS
from unibeam_nb.analysis.charts import CHARTS, possible
from unibeam_nb.analysis.frames import accelerators, measured_frame, sizes_frame, stages_frame
from unibeam_nb.analysis.intervals import Interval, median_interval
from unibeam_nb.analysis.probed import probed_tables
from unibeam_nb.analysis.rows import arm_of, row_of, rows_of
from unibeam_nb.analysis.stats import Comparison, comparisons
from unibeam_nb.analysis.words import ENDS, STAGE_NAMES, date_of, emulation_line, resumed_line
from unibeam_nb.bench.checks import after
from unibeam_nb.bench.header import image_facts
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.bench.portable import link_attributes
from unibeam_nb.bench.preview import describe
from unibeam_nb.errors import BenchError
from unibeam_nb.model import KINDS
from unibeam_nb.store import disk_errors, write_atomically
from unibeam_nb.units import format_bytes, format_seconds
from unibeam_nb.visible import visible

PNG_DPI = 144

TITLES = {"boot": "Boot time", "ecdf": "Distribution of boot times", "stages": "Where the time goes",
          "ratio": "Ratios", "size": "Image size", "treemap": "One image by part", "memory": "Memory",
          "density": "Many copies at once", "minimum": "Least memory", "steady": "Under load"}


def write_report(exp: Experiment, path: Path) -> Path:
    """Write the report and return where it is. Raises BenchError when nothing was measured at all; samples that
    do not belong together are reported without comparisons, and the report says why."""
    if not any(exp.measured_of(kind) for kind in KINDS):
        first = exp.failed[0].error.splitlines()[0] if exp.failed and exp.failed[0].error else "there is no sample yet"
        raise BenchError(f"No boot of {exp.name} succeeded, so there is nothing to report.", f"The first one: {first}")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("unibeam_nb.analysis", "templates"), autoescape=True, finalize=_shown,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    write_atomically(path, environment.get_template("report.html.j2").render(**_facts(exp)))
    path.chmod(0o644)
    return path


def _shown(value: Any) -> Any:
    """What the template prints, without characters that cannot be seen; what is HTML already is ours."""
    return visible(value) if type(value) is str else value


def save_charts(exp: Experiment, directory: Path) -> list[Path]:
    """Write every chart as ``KIND.svg`` and ``KIND.png``; the same experiment gives the same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in possible(exp):
        for form in ("svg", "png"):
            path = directory / f"{kind}.{form}"
            with disk_errors(directory):
                path.write_bytes(render(exp, kind, form))
            written.append(path)
    return written


def render(exp: Experiment, kind: str, form: str) -> bytes:
    """One chart as ``svg`` or ``png`` bytes, without dates or random ids."""
    draw, _ = CHARTS[kind]
    stream = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": "unibeam"} if form == "svg" else {"Software": "unibeam"}
    with matplotlib.rc_context(NO_FORMULAS | {"svg.hashsalt": f"unibeam {kind}"}):
        draw(exp).figure.savefig(stream, format=form, dpi=PNG_DPI, metadata=metadata)  # type: ignore[union-attr]
    return stream.getvalue()


def inline_svg(exp: Experiment, kind: str) -> Markup:
    """One chart as an ``<svg>`` element with its alternative text; ids are unique to the kind, so that
    several charts can stand on one page."""
    text = render(exp, kind, "svg").decode()
    svg = text[text.index("<svg"):]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{kind}-', svg)
    svg = re.sub(r"url\(#", f"url(#{kind}-", svg)
    svg = re.sub(r'href="#', f'href="#{kind}-', svg)
    alt = html.escape(visible(CHARTS[kind][1](exp)), quote=True)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{alt}" ', 1))  # nosec B704 # drawn here, alt escaped


def _facts(exp: Experiment) -> dict[str, Any]:
    """Everything the template prints."""
    compared, refused = _comparisons(exp)
    host = exp.header["host"]
    stages = stages_frame(exp)
    seen = [name for name in STAGE_NAMES if (stages["stage"] == name).any()]
    return {
        "title": f"{exp.plan.source}: {_counted(len(exp.arms))}", "exp": exp, "date": date_of(exp),
        "charts": [(TITLES[kind], inline_svg(exp, kind), words(exp)) for kind in possible(exp)
                   for words in CHARTS[kind][1:]],
        "loud": emulation_line(exp), "resumed": resumed_line(exp), "ends": ENDS[exp.until],
        "arms": _arms(exp) if exp.measured else [], "probed": probed_tables(exp), "compared": compared,
        "ratios": [_ratio_row(one) for one in compared], "refused": refused,
        "link": Markup(link_attributes(exp.to_journal(), exp.name)), "samples": len(exp.samples),  # nosec B704 # base64
        "sizes": _sizes(exp), "stages": _stages(exp, seen),
        "stage_names": [STAGE_NAMES[name] for name in seen],
        "concerns": after(exp.samples, exp.plan, int(host["cores"])), "failed": exp.failed, "notes": exp.notes,
        "host": [("CPU", f"{host['cpu']}, {host['cores']} cores"), ("Memory", format_bytes(host["ram_bytes"])),
                 ("Kernel", host["kernel"]), ("System", host["distribution"]),
                 ("Virtualised", host["virtualised"] or "no"), ("Fingerprint", exp.header["host_id"])],
        "tools": sorted(exp.header["tools"].items()), "images": _images(exp), "plan": describe(exp.plan),
    }


def _counted(arms: int) -> str:
    return f"{arms} arms compared" if arms > 1 else "one arm measured"


def _comparisons(exp: Experiment) -> tuple[list[Comparison], str]:
    """Every arm against the fastest, and why there is no comparison."""
    try:
        return comparisons(exp), ""
    except BenchError as error:
        return [], error.message


def _ratio_row(one: Comparison) -> list[str]:
    """Ratio, chance of being faster, p, and the ratio of the medians, for one comparison."""
    def shown(found: Interval | None, show: Callable[[float], str]) -> str:
        return "-" if found is None else f"{show(found.value)} ({show(found.low)} to {show(found.high)})"

    return [one.arm, shown(one.ratio, lambda x: f"{x:.3g}"), shown(one.wins, lambda x: f"{x:.0%}"),
            f"{one.p:.2g}", shown(one.of_medians, lambda x: f"{x:.3g}")]


def _arms(exp: Experiment) -> list[dict[str, str]]:
    """One row per arm: counts, median, interval, memory, accelerator."""
    frame, found = measured_frame(exp), accelerators(exp.samples)
    rows = []
    for name in rows_of(exp):
        own = frame[frame["row"] == name]
        row = {"arm": name, "n": str(len(own)), "accelerator": ", ".join(found.get(arm_of(name), ())) or "-",
               "failed": str(sum(row_of(s) == name for s in exp.failed if s.kind == "boot")),
               "outliers": str(int(own["outlier"].sum()))}
        times = own["seconds"].tolist()
        memory = own["memory_bytes"].dropna().astype(float).tolist()
        row |= {"median": "-", "interval": "-", "memory": "-"}
        if times:
            middle = median_interval(times)
            row |= {"median": format_seconds(middle.value), "interval": _interval(middle, format_seconds)}
        if memory:
            row["memory"] = format_bytes(median_interval(memory).value)
        rows.append(row)
    return rows


def _interval(found: Interval, show: Any) -> str:
    return f"{show(found.low)} to {show(found.high)}" + ("" if found.enough else " (range)")


def _stages(exp: Experiment, seen: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Per arm the median of every stage with its interval; they need not sum to the median of the whole."""
    frame = stages_frame(exp)
    rows = []
    for row in rows_of(exp):
        cells = []
        for stage in seen:
            values = frame[(frame["row"] == row) & (frame["stage"] == stage)]["seconds"].tolist()
            if not values:
                cells.append("-")
                continue
            middle = median_interval(values)
            cells.append(f"{format_seconds(middle.value)} ({_interval(middle, format_seconds)})")
        rows.append((row, cells))
    return rows


def _sizes(exp: Experiment) -> list[dict[str, Any]]:
    """Per image its arms, its sizes, and its parts from the largest down."""
    frame = sizes_frame(exp)
    rows = []
    for image, own in frame.groupby("image", sort=False):
        parts = own[own["measure"] == "unpacked"].sort_values("bytes", ascending=False)
        rows.append({
            "image": image, "arms": ", ".join(own["arms"].iloc[0]),
            "shipped": format_bytes(int(own[own["measure"] == "shipped"]["bytes"].sum())),
            "unpacked": format_bytes(int(parts["bytes"].sum())),
            "parts": ", ".join(f"{part} {format_bytes(count)}"
                               for part, count in zip(parts["part"], parts["bytes"], strict=True))})
    return rows


def _images(exp: Experiment) -> list[tuple[str, str, str, str]]:
    """Per arm the image's sha256, its kernel, and the tools that made it."""
    return [(arm, str(image["sha256"]), str(image["kernel"]) or "the host's",
             ", ".join(f"{name} {version}" for name, version in image["tools"]) or "-")
            for arm, image in ((arm, image_facts(told)) for arm, told in exp.header["images"].items())]
