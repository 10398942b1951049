"""Where the processor time of an emulated boot goes: into translating code, or into running it.

    scripts/translated.py [--write] [BOOTS]

QEMU's emulation translates a block of guest code when it runs for the first time. At each mark the guest is held for a
moment, and QEMU tells how many blocks it has translated (its monitor's `info jit`), the host's scheduler how much
processor time QEMU has had. How many instructions each stage runs is counted by boots with `--icount`. From all stages
of all arms together follow, by least squares without negative prices, what a block and what an instruction costs; what
these two do not explain is shown as the rest.

Prints a table. With ``--write`` it goes into BENCHMARKS.md, with the chart `docs/translated.png`.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy
from bench import quickstart_source
from figures import ROOT, fill
from scipy.optimize import nnls

from unibeam_nb import tools
from unibeam_nb.bench.host import fingerprint
from unibeam_nb.errors import UnibeamError
from unibeam_nb.lab import Lab
from unibeam_nb.machine import qmp
from unibeam_nb.machine.machine import Machine
from unibeam_nb.machine.qemu_arguments import PROGRAM
from unibeam_nb.model import ICOUNT
from unibeam_nb.progress import StepEvent, listening

CHART = ROOT / "docs" / "translated.png"
ARMS = ("linux@qemu", "linux+tiny@qemu", "linux+tiny+lean@qemu", "linux+tiny+shake+lean@qemu")
RESUMED = "linux+tiny+shake+lean+resume@qemu"
STAGES = {"vmm": "QEMU's start", "init": "kernel", "beam": "emulator", "app": "applications", "http": "first answer"}
SHADES = ("#9c9a76", "#00204c", "#f0d35a", "#d9d9d9")
_COUNT = re.compile(r"TB count\s+(\d+)")


@dataclass(frozen=True)
class Reading:
    """How many blocks QEMU has translated and how many seconds of processor time it has had, when a mark was heard."""

    mark: str
    blocks: int
    seconds: float


@dataclass(frozen=True)
class Stage:
    """What one stage of an arm took, as medians of its boots; ``instructions`` is None where they cannot be counted."""

    arm: str
    name: str
    blocks: float
    seconds: float
    instructions: float | None


def processor_time(pid: int) -> float:
    """Seconds that all threads of a process have run (``schedstat``, Documentation/scheduler/sched-stats.rst)."""
    return sum(int(task.joinpath("schedstat").read_text().split()[0])
               for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def process_of(machine: Machine) -> int:
    assert machine.record.process is not None
    return machine.record.process.pid


def read(directory: Path, mark: str, pid: int) -> Reading:
    """Hold the guest, ask QEMU, and let it go on."""
    async def talk(client: Any) -> tuple[str, float]:
        await client.execute("stop")
        told = await client.execute("human-monitor-command", {"command-line": "info jit"})
        spent = processor_time(pid)
        await client.execute("cont")
        return told, spent

    told = qmp.converse(directory, lambda: True, talk)
    if told is None or (found := _COUNT.search(told[0])) is None:
        raise UnibeamError("QEMU does not tell how much it has translated.", "Is its accelerator tcg at all?")
    return Reading(mark, int(found[1]), told[1])


def watched(lab: Lab, arm: str) -> list[Reading]:
    """One boot, with a reading at every mark that comes while it is waited for, and one at the first answer."""
    readings: list[Reading] = []
    machines = lab.store.state / "machines"
    machine_id = ""

    def hear(event: StepEvent) -> None:
        nonlocal machine_id
        if event.kind == "machine":
            machine_id = event.title
        elif event.kind == "mark" and event.title in STAGES:
            readings.append(read(machines / machine_id, event.title, process_of(lab.machine(machine_id))))

    with listening(hear):
        machine = lab.boot("hello", arm=arm, http="/", deadline=300)
    try:
        readings.append(read(machine.directory, "http", process_of(machine)))
    finally:
        machine.stop(grace=0)
    return readings


def stages_of(lab: Lab, arm: str, boots: int) -> Iterator[Stage]:
    """The stages of an arm. Of a copy only the whole is told: its marks come while it is being started."""
    runs = [watched(lab, arm) for _ in range(boots)]
    if arm == RESUMED:
        yield Stage(arm, "whole", median(run[-1].blocks for run in runs), median(run[-1].seconds for run in runs), None)
        return
    counted = lab.boot("hello", arm=arm, accelerator=ICOUNT, until="app", deadline=300)
    at = {name: mark.at for name, mark in counted.marks.items()}
    counted.stop(grace=0)
    instructions = {"init": at["init"] - at["vmm"], "beam": at["beam"] - at["init"], "app": at["app"] - at["beam"]}
    before = [Reading("", 0, 0.0) for _ in runs]
    for name in STAGES:
        now = [next(reading for reading in run if reading.mark == name) for run in runs]
        yield Stage(arm, name, median(a.blocks - b.blocks for a, b in zip(now, before, strict=True)),
                    median(a.seconds - b.seconds for a, b in zip(now, before, strict=True)),
                    instructions[name] * 1e9 if name in instructions else None)
        before = now


def prices(stages: Sequence[Stage]) -> tuple[float, float]:
    """Seconds for each block translated and for each instruction run, neither below nothing."""
    counted = [stage for stage in stages if stage.instructions is not None]
    matrix = numpy.array([(stage.blocks, stage.instructions) for stage in counted], dtype=float)
    scale = matrix.max(axis=0)
    found, _ = nnls(matrix / scale, numpy.array([stage.seconds for stage in counted]))
    return float(found[0] / scale[0]), float(found[1] / scale[1])


def table(stages: Sequence[Stage], block: float, instruction: float) -> str:
    head = ("arm", "stage", "blocks translated", "instructions run", "processor time", "of it translating", "running")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for stage in stages:
        ran = "" if stage.instructions is None else f"{stage.instructions / 1e6:.1f} million"
        running = "" if stage.instructions is None else f"{stage.instructions * instruction * 1e3:.0f} ms"
        lines.append(f"| `{stage.arm}` | {STAGES.get(stage.name, stage.name)} | {stage.blocks:,.0f} | {ran} | "
                     f"{stage.seconds * 1e3:.0f} ms | {stage.blocks * block * 1e3:.0f} ms | {running} |")
    return "\n".join(lines)


def draw(stages: Sequence[Stage], block: float, instruction: float, footer: str) -> None:
    """A bar an arm: QEMU's start, translating, running, the rest."""
    import matplotlib
    from matplotlib.figure import Figure

    from unibeam_nb.analysis.charts.style import HATCHES, STYLE

    parts = {"QEMU's start": [], "translating": [], "running": [], "rest": []}  # type: dict[str, list[float]]
    arms = list(dict.fromkeys(stage.arm for stage in stages))
    for arm in arms:
        own = [stage for stage in stages if stage.arm == arm]
        start = sum(stage.seconds for stage in own if stage.name == "vmm")
        after = [stage for stage in own if stage.name != "vmm"]
        translating = sum(stage.blocks for stage in after) * block
        running = sum(stage.instructions or 0 for stage in after) * instruction
        rest = sum(stage.seconds for stage in own) - start - translating - running
        for name, value in zip(parts, (start, translating, running, rest), strict=True):
            parts[name].append(max(value, 0.0))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 1.6 + 0.42 * len(arms)), layout="constrained")
        ax = figure.subplots()
        left = numpy.zeros(len(arms))
        for (name, values), shade, hatch in zip(parts.items(), SHADES, HATCHES, strict=False):
            ax.barh(range(len(arms)), values, left=left, color=shade, hatch=hatch, edgecolor="white", label=name)
            left += numpy.array(values)
        for place, total in enumerate(left):
            blocks = sum(stage.blocks for stage in stages if stage.arm == arms[place])
            ax.text(total, place, f"  {total:.2f} s, {blocks:,.0f} blocks", va="center")
        ax.set_yticks(range(len(arms)), arms)
        ax.invert_yaxis()
        ax.set_xlim(0, float(left.max()) * 1.45)
        ax.set_xlabel("QEMU's processor time until the first answer (s)")
        figure.supxlabel("\n".join(textwrap.wrap(footer, 100)), x=0.01, ha="left", fontsize=7.5, color="#5a5a5a")
        ax.set_title("Where the processor time of an emulated boot goes", loc="left")
        ax.legend(loc="lower right")
        figure.savefig(CHART, dpi=110)


def main(words: list[str]) -> None:
    lab, boots = Lab(), int(next((word for word in words if word.isdecimal()), "5"))
    lab.build("hello", text=quickstart_source(), ports=(8080,))
    stages = [stage for arm in (*ARMS, RESUMED) for stage in stages_of(lab, arm, boots)]
    block, instruction = prices(stages)
    host = fingerprint()
    about = (f"{host.cpu}, {host.cores} cores, {host.distribution}, QEMU {tools.version(PROGRAM)}, tcg; "
             f"medians of {boots} boots an arm; {datetime.now(UTC):%Y-%m-%d}")
    said = (f"Measured on {about}. A block costs {block * 1e6:.1f} µs to translate, an instruction "
            f"{instruction * 1e9:.2f} ns to run.\n\n{table(stages, block, instruction)}")
    print(said)
    if "--write" in words:
        draw(stages, block, instruction, about)
        fill("translated", said)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UnibeamError as error:
        print(f"translated: {error}", file=sys.stderr)
        sys.exit(1)
