"""Words that stand on every chart: what marks and stages are called, the footer, and what must be said loudly."""

from __future__ import annotations

from collections.abc import Sequence

from unibeam_nb.analysis.frames import accelerators, emulated
from unibeam_nb.analysis.rows import row_of, rows_of
from unibeam_nb.arms import RESUME
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.model import ICOUNT

ENDS = {"app": "every application is started", "http": "the first good HTTP answer"}
"""What the mark that ends a boot means."""

STAGE_NAMES = {
    "vmm": "until the VMM is ready", "kernel": "until the kernel runs", "init": "until PID 1 runs",
    "beam": "until the BEAM runs", "app": "until applications are up", "resume": "until the copy runs on",
    "http": "until it answers HTTP"}
"""What each stage is called; a stage is named after the mark that ends it."""

NOUNS = {"boot": "boot", "steady": "load", "density": "set of copies", "minimum": "search"}
"""What one sample of each kind is called."""

NAMED_AT_MOST = 3
"""So many emulated or resumed arms are named; of more their number is told, for each is marked on its row."""


LONGEST_NAME, LONGEST_CPU, LONGEST_ACCELERATOR = 40, 60, 20
"""Characters of what a journal calls things: it may come from anybody, and must leave room for the rest of a page."""


def clipped(text: str, columns: int) -> str:
    """The text, or as much of it as fits."""
    return text if len(text) <= columns else f"{text[:columns - 1]}…"


def footer_lines(exp: Experiment, kind: str = "boot") -> list[str]:
    """What must stand below every chart: n, what was left out, accelerators, host, date."""
    counts = dict.fromkeys(rows_of(exp, kind), 0)
    for sample in exp.measured_of(kind):
        counts[row_of(sample)] += 1
    n = f"n = {min(counts.values())}" if len(set(counts.values())) == 1 else \
        f"n = {min(counts.values())} to {max(counts.values())}"
    warm = f", {exp.plan.warmup} warm-up block{'s' if exp.plan.warmup > 1 else ''} left out" if exp.plan.warmup else ""
    failed = len([s for s in exp.failed if not s.warmup and s.kind == kind])
    lost = f", {failed} failed" if failed else ""
    noun = NOUNS[kind] if n == "n = 1" else plural(NOUNS[kind])
    rows = "arm" if set(counts) <= set(exp.arms) else "row"
    return [f"{n} {noun} per {rows}{warm}{lost}", f"{accelerator_line(exp)}; {host_line(exp)}",
            *filter(None, [resumed_line(exp), counted_line(exp)]), origin_line(exp)]


def origin_line(exp: Experiment) -> str:
    """When it was measured, and what it is called."""
    return f"{date_of(exp)}; experiment {clipped(exp.name, LONGEST_NAME)}"


def host_line(exp: Experiment) -> str:
    """On what it was measured: processor, cores, and whether that is a virtual machine itself."""
    if len(exp.hosts) > 1:
        return f"POOLED FROM {len(exp.hosts)} HOSTS ({', '.join(exp.hosts)})"
    host = exp.header["host"]
    cpu, virtual = clipped(host["cpu"], LONGEST_CPU), ", itself a virtual machine" if host["virtualised"] else ""
    return f"{cpu}, {host['cores']} cores{virtual}"


def accelerator_line(exp: Experiment) -> str:
    """Which accelerator ran what: ``linux@qemu under kvm, the others native``."""
    found = accelerators(exp.samples)
    under: dict[str, list[str]] = {}
    for arm in exp.arms:
        for name in found.get(arm, ()):
            under.setdefault(clipped(name, LONGEST_ACCELERATOR), []).append(arm)
    virtual = [f"{_named(arms, exp)} under {name}" for name, arms in sorted(under.items()) if name != "native"]
    native = ["the others native" if virtual else "all arms native"] if under.get("native") else []
    return "; ".join(virtual + native) or "no boot succeeded"


def emulation_line(exp: Experiment) -> str:
    """The loud sentence about software emulation; empty where no arm was emulated."""
    slow = emulated(exp)
    return f"{_named(slow, exp)} ran under tcg: software emulation, not what production would show" if slow else ""


def counted_line(exp: Experiment) -> str:
    """What the times are where instructions were counted; empty elsewhere."""
    if exp.plan.accelerator != ICOUNT:
        return ""
    return "guest time by the count of instructions, a nanosecond each: not how long a boot took"


def resumed_line(exp: Experiment) -> str:
    """Which arms were not booted at all; empty where all were."""
    copies = [name for name, arm in zip(exp.arms, exp.plan.arms, strict=True) if RESUME in arm.extras]
    was = "was" if len(copies) == 1 else "were"
    return f"{_named(copies, exp)} {was} resumed from a snapshot, not booted" if copies else ""


def _named(arms: Sequence[str], exp: Experiment) -> str:
    return listed(arms) if len(arms) <= NAMED_AT_MOST else f"{len(arms)} of {len(exp.arms)} arms"


def plural(noun: str) -> str:
    """``boots``, ``searches``, ``sets of copies``."""
    first, *rest = noun.split(" ")
    return " ".join((f"{first}es" if first.endswith("ch") else f"{first}s", *rest))


def date_of(exp: Experiment) -> str:
    return str(exp.header["date"])[:10]


def emulation_note(exp: Experiment) -> str:
    """What a description must end with."""
    return "".join(f" {line}." for line in (resumed_line(exp), emulation_line(exp)) if line)


def listed(items: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1]))) if items else "none"
