"""How looks what was measured, and what an experiment will cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibeam_nb.model import Sample
from unibeam_nb.notebook.sheet import Folded, Sheet, Table
from unibeam_nb.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from unibeam_nb.bench import Experiment, Preview


def experiment_sheet(experiment: Experiment) -> Sheet:
    host = experiment.header.get("host", {})
    facts = [("began", str(experiment.header.get("date", "")))]
    if host:
        told = [str(host[key]) for key in ("cpu", "distribution") if host.get(key)]
        facts.append(("host", ", ".join([*told, *(["virtualised"] if host.get("virtualised") else [])])))
    until = experiment.until
    rows = tuple(_arm_row(arm, [s for s in experiment.samples if s.case == arm and not s.warmup
                                 and s.kind == "boot"], until) for arm in experiment.plan.names)
    table = Table(("arm", "n", f"median to {until}", "least", "most", "memory", "shipped", "failed"), rows,
                  numeric=frozenset(range(1, 8)))
    notes = [Folded(f"Notes ({len(experiment.notes)})", "\n".join(experiment.notes))] if experiment.notes else []
    failures = "\n".join(f"{s.case}, block {s.block}: {s.error}" for s in experiment.failed)
    failed = [Folded(f"Failed boots ({len(experiment.failed)})", failures)] if failures else []
    boots = [table] if "boot" in experiment.plan.kinds else []
    return Sheet(f"Experiment {experiment.name}", tuple(facts), (*boots, *_probed(experiment), *failed, *notes))


def _probed(experiment: Experiment) -> list[Table]:
    from unibeam_nb.analysis.probed import probed_tables

    return [Table(probed.head, probed.rows, numeric=frozenset(range(1, len(probed.head))))
            for probed in probed_tables(experiment)]


def preview_sheet(preview: Preview) -> Sheet:
    costs = tuple((cost.case.name, format_seconds(cost.each), f"{cost.samples} earlier samples" if cost.samples > 1 else
                   "one earlier sample" if cost.samples else "a guess") for cost in preview.costs)
    blocks = [Table(("arm", "a sample takes", "known from"), costs, numeric=frozenset((1,)))]
    if preview.absent:
        blocks.append(Table(("cannot run here", "why"), tuple((a.arm, a.why) for a in preview.absent)))
    first, *rest = preview.lines()[:-1 - len(preview.absent) if preview.absent else None]
    return Sheet(first, tuple(("", line.strip()) for line in rest), tuple(blocks))


def _arm_row(arm: str, samples: list[Sample], until: str) -> tuple[str, ...]:
    import statistics

    good = [s for s in samples if s.ok and until in s.marks]
    times = [s.marks[until] for s in good]
    memory = [s.memory.total for s in good if s.memory is not None]
    return (arm, str(len(good)), format_seconds(statistics.median(times)) if times else "-",
            format_seconds(min(times)) if times else "-", format_seconds(max(times)) if times else "-",
            format_bytes(statistics.median(memory)) if memory else "-",
            format_bytes(good[-1].shipped_bytes) if good else "-", str(len(samples) - len(good)))
