"""What a boot costs in the guest's own instructions, and how far such figures spread: `--icount`, ten boots an arm.

    scripts/counted.py [--write] [BOOTS]

Prints one row an arm. With ``--write`` the table goes into BENCHMARKS.md and the journal into ``notebooks/data/``. The
figures are the same on a busy host; only the accelerator of QEMU, its version and the images decide them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from statistics import median

from bench import quickstart_source

from unibeam_nb.bench import Experiment
from unibeam_nb.errors import UnibeamError
from unibeam_nb.job import Job
from unibeam_nb.lab import Lab
from unibeam_nb.notebook.live import TerminalView, carry_out

ROOT = Path(__file__).resolve().parent.parent
ARMS = ("linux+tiny+shake+lean@qemu", "linux+tiny+lean@qemu", "linux+tiny+initramfs+lean@qemu",
        "linux+tiny+small+lean@qemu")
STAGES = ("kernel", "init", "beam", "app")
BEGIN, END = "<!-- counted: made by scripts/counted.py -->", "<!-- end of counted -->"


def measure(lab: Lab, boots: int) -> Experiment:
    lab.build("hello", text=quickstart_source(), ports=(8080,))
    return lab.bench("hello", arms=ARMS[:1], against=ARMS[1:], blocks=boots, warmup=0, accelerator="icount")


def table(exp: Experiment) -> str:
    """One row an arm: its stages, which sum to the total, and (largest - smallest) / median of the total."""
    head = ("arm", "n", "until the kernel's clock", "kernel, to PID 1", "PID 1 and emulator", "applications",
            "total (`app`)", "spread")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for arm in exp.arms:
        own = [sample.marks for sample in exp.measured if sample.arm == arm]
        middle = sorted(own, key=lambda marks: marks["app"])[len(own) // 2]
        ends = [middle[mark] for mark in STAGES]
        steps = [end - begin for begin, end in zip([0.0, *ends[:-1]], ends, strict=True)]
        totals = [marks["app"] for marks in own]
        spread = (max(totals) - min(totals)) / median(totals)
        cells = (f"`{arm}`", str(len(own)), *(f"{step * 1000:.1f} ms" for step in steps),
                 f"{middle['app'] * 1000:.1f} ms", f"{spread:.3%}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(words: list[str]) -> None:
    lab, boots = Lab(), int(next((word for word in words if word.isdecimal()), "10"))
    exp = carry_out(Job("counted", lambda: measure(lab, boots)), TerminalView())
    print(table(exp))
    if "--write" in words:
        shutil.copyfile(exp.path, ROOT / "notebooks" / "data" / "hello-counted.jsonl")
        page = ROOT / "BENCHMARKS.md"
        text = page.read_text(encoding="utf-8")
        page.write_text(f"{text[:text.index(BEGIN)]}{BEGIN}\n\n{table(exp)}\n\n{text[text.index(END):]}",
                        encoding="utf-8")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UnibeamError as error:
        print(f"counted: {error}", file=sys.stderr)
        sys.exit(1)
