"""Measure what BENCHMARKS.md says, on this host: every arm in one run, in randomised blocks.

    scripts/bench.py [BLOCKS]

Leaves the journal in ``notebooks/data/``, the figure of README in ``docs/``, and rewrites the part of BENCHMARKS.md
between its markers. Run nothing else beside it.
"""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import bench_probes
import nbformat
from matplotlib.image import imread, imsave
from numpy import concatenate, full

from unibeam_nb.analysis.intervals import median_interval
from unibeam_nb.analysis.report import render
from unibeam_nb.analysis.stats import comparisons
from unibeam_nb.bench import Experiment
from unibeam_nb.errors import UnibeamError
from unibeam_nb.job import Job
from unibeam_nb.lab import Lab
from unibeam_nb.notebook.live import TerminalView, carry_out
from unibeam_nb.units import format_bytes, format_seconds

ROOT = Path(__file__).resolve().parent.parent
ARMS = ("linux@qemu", "linux+tiny@qemu", "linux+tiny+lean@qemu", "linux+tiny+shake+lean@qemu",
        "linux+tiny+small+shake+lean@qemu", "linux+tiny+shake+lean+resume@qemu", "oci+scratch@podman",
        "oci+scratch+shake+lean@podman", "oci+slim@podman", "oci+scratch@crun",
        "oci+scratch+lean@crun", "oci+scratch+shake+lean@crun",
        "release@process")
BEGIN, END = "<!-- figures: made by make bench -->", "<!-- end of figures -->"


def quickstart_source() -> str:
    """The program that the quickstart builds: measured and shown are the same."""
    notebook = nbformat.read(ROOT / "notebooks" / "01_quickstart.ipynb", as_version=4)
    cell = next(c for c in notebook.cells if c.source.startswith("%%unibeam build"))
    return str(cell.source).partition("\n")[2]


def table(exp: Experiment) -> str:
    """One row an arm: medians with their 95 % intervals."""
    head = ("arm", "n", "to HTTP, median (95 %)", "memory, medians: payload + overhead", "shipped", "unpacked",
            "accelerator")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for arm in exp.arms:
        own = [s for s in exp.measured if s.arm == arm]
        if not own:
            lines.append(f"| {arm} | 0 | every boot failed | | | | |")
            continue
        boot = median_interval([s.marks["http"] for s in own])
        memory = [s.memory for s in own if s.memory]
        cells = (f"`{arm}`", str(len(own)),
                 f"{format_seconds(boot.value)} ({format_seconds(boot.low)} to {format_seconds(boot.high)})",
                 " + ".join(format_bytes(median(getattr(m, part) for m in memory)) for part in ("payload", "overhead")),
                 format_bytes(own[0].shipped_bytes), format_bytes(own[0].unpacked_bytes), own[0].accelerator)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(exp: Experiment) -> str:
    host = exp.header["host"]
    sentences = "\n".join(f"- {found}" for found in comparisons(exp))
    return (f"{BEGIN}\n\nMeasured {datetime.now(UTC):%Y-%m-%d} on {host['cpu']}, {host['cores']} cores, "
            f"{host['distribution']}{', itself a virtual machine' if host['virtualised'] else ''}; "
            f"journal: `notebooks/data/hello.jsonl`.\n\n{table(exp)}\n\n{sentences}\n\n{END}")


def figure(exp: Experiment, path: Path) -> None:
    """Stages and sizes below each other, as README shows them."""
    pictures = []
    for kind in ("stages", "size"):
        single = path.with_name(f".{kind}.png")
        single.write_bytes(render(exp, kind, "png"))
        pictures.append(imread(single)[:, :, :3])
        single.unlink()
    width = max(p.shape[1] for p in pictures)
    padded = []
    for picture in pictures:
        wide = full((picture.shape[0] + 30, width, 3), 1.0)
        wide[:picture.shape[0], :picture.shape[1]] = picture
        padded.append(wide)
    imsave(path, concatenate(padded))


def main(blocks: int) -> None:
    lab = Lab()

    def measure() -> Experiment:
        lab.build("hello", text=quickstart_source(), ports=(8080,))
        return lab.bench("hello", arms=ARMS[:1], against=ARMS[1:], blocks=blocks, http="/")

    exp = carry_out(Job("bench", measure), TerminalView())
    further = carry_out(Job("bench", lambda: bench_probes.measure(lab, quickstart_source(), min(blocks, 8))),
                        TerminalView())
    for directory in ("notebooks/data", "docs"):
        (ROOT / directory).mkdir(exist_ok=True)
    shutil.copyfile(exp.path, ROOT / "notebooks" / "data" / "hello.jsonl")
    figure(exp, ROOT / "docs" / "quickstart.png")
    page = ROOT / "BENCHMARKS.md"
    for name, made in further.items():
        shutil.copyfile(made.path, ROOT / "notebooks" / "data" / f"{name}.jsonl")
    text = page.read_text(encoding="utf-8")
    for begin, end, fresh in ((BEGIN, END, summary(exp)),
                              (bench_probes.BEGIN, bench_probes.END, bench_probes.section(further))):
        text = text[:text.index(begin)] + fresh + text[text.index(end) + len(end):]
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
    except UnibeamError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
