"""How looks what comes back from a running machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibeam_nb.notebook.sheet import Sheet, Shown, Table
from unibeam_nb.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from unibeam_nb.talk import Evaluated, Reloaded, Top


def evaluated_sheet(found: Evaluated) -> Sheet:
    printed = [Shown(found.output, "printed")] if found.output else []
    return Sheet("", (), (*printed, Shown(found.text, "value" if printed else "")))


def reloaded_sheet(done: Reloaded) -> Sheet:
    loaded = (("replaced", done.replaced), ("new", done.new))
    facts = [(what, ", ".join(modules)) for what, modules in loaded if modules]
    if not done.old:
        return Sheet(f"Loaded into {done.machine}; no process runs old code", tuple(facts))
    rows = tuple((p.pid, p.name, p.module, p.at) for p in done.old)
    return Sheet(f"Loaded into {done.machine}", tuple(facts),
                 (Table(("process", "name", "old code of", "is in"), rows, "Processes that still run old code"),))


def top_sheet(top: Top) -> Sheet:
    facts = [("processes", f"{top.count}, ports {top.ports}, atoms {top.atoms}"),
             ("schedulers", f"{top.schedulers}, {top.run_queue} processes wait to run"),
             ("up", format_seconds(top.uptime))]
    if top.memory:
        kinds = (kind for kind in ("total", "processes", "binary", "code", "ets", "atom") if kind in top.memory)
        facts.append(("memory", ", ".join(f"{kind} {format_bytes(top.memory[kind])}" for kind in kinds)))
    rows = tuple((p.pid, p.name, format_bytes(p.memory), f"{p.used / max(top.interval, 1e-3):.0f}", str(p.reductions),
                  str(p.queue), p.at) for p in top.processes)
    columns = ("process", "name", "memory", "reductions/s", "reductions", "queue", "is in")
    caption = f"By {top.by}, watched for {format_seconds(top.interval)}"
    return Sheet(f"Inside {top.machine}", tuple(facts), (Table(columns, rows, caption, frozenset((2, 3, 4, 5))),))
