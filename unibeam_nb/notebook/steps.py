"""What long work has done so far, folded from its events, and how that reads. Pure: times come in.

    Compiling hello.erl            0.4 s
    Making the initramfs           2.1 s   62 %  lib/crypto-5.1
      Compressing                  0.3 s
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from unibeam_nb.notebook.sheet import escaped, printable
from unibeam_nb.progress import StepEvent
from unibeam_nb.units import format_seconds

SHOWN_STEPS = 12
"""How many of the latest steps a live display shows; a long experiment has thousands."""


@dataclass(frozen=True)
class Line:
    """One step: when it began and ended (``time.monotonic()``), how deep it is, and how far it has come."""

    title: str
    depth: int
    began: float
    ended: float | None = None
    failed: bool = False
    fraction: float | None = None
    detail: str = ""

    def elapsed(self, now: float) -> float:
        return (self.ended if self.ended is not None else now) - self.began


@dataclass
class Booting:
    """A machine that was started by the work, and the marks it has reached so far, in seconds since it was spawned."""

    id: str
    marks: dict[str, float] = field(default_factory=dict)


@dataclass
class StepLog:
    """Everything heard about one piece of work called ``title`` that began at ``began``."""

    title: str
    began: float
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    booting: list[Booting] = field(default_factory=list)
    ended: float | None = None
    outcome: str = ""

    def hear(self, event: StepEvent) -> None:
        """Fold in one event."""
        if event.kind == "note":
            if event.title not in self.notes:
                self.notes.append(event.title)
        elif event.kind == "begin":
            self.lines.append(Line(event.title, event.depth, event.at))
        elif event.kind == "machine":
            self.booting.append(Booting(event.title))
        elif event.kind == "mark":
            if self.booting and event.fraction is not None:
                self.booting[-1].marks[event.title] = event.fraction
        else:
            self._change(event)

    def _change(self, event: StepEvent) -> None:
        for index in range(len(self.lines) - 1, -1, -1):
            line = self.lines[index]
            if line.ended is None and (line.title, line.depth) == (event.title, event.depth):
                if event.kind == "progress":
                    self.lines[index] = replace(line, fraction=event.fraction, detail=event.detail)
                else:
                    self.lines[index] = replace(line, ended=event.at, failed=event.kind == "failed")
                return

    def finish(self, now: float, outcome: str) -> None:
        """The work is over: ``done``, ``failed`` or ``stopped``."""
        self.ended, self.outcome = now, outcome

    def running(self) -> Line | None:
        """The innermost step that has not ended."""
        return next((line for line in reversed(self.lines) if line.ended is None), None)

    def shown(self) -> list[Line]:
        """What a display with little room shows: the latest steps, and those still running above them."""
        late = self.lines[-SHOWN_STEPS:]
        return [line for line in self.lines[:-SHOWN_STEPS] if line.ended is None] + late

    def summary(self, now: float) -> str:
        """One line: what it was, how it ended or where it is, how long it took."""
        took = format_seconds((self.ended if self.ended is not None else now) - self.began)
        if self.outcome == "done":
            return f"{self.title}: done in {took}"
        if self.outcome:
            broken = max((line for line in self.lines if line.failed), key=lambda line: line.depth, default=None)
            return f"{self.title}: {self.outcome} after {took}" + (f", in: {broken.title}" if broken else "")
        here = self.running()
        return f"{self.title}: {here.title if here else 'working'}, {took}{_how_far(here)}"


def _how_far(line: Line | None) -> str:
    if line is None:
        return ""
    parts = [f"{min(max(line.fraction, 0.0), 1.0):.0%}"] if line.fraction is not None else []
    return "".join(f", {part}" for part in [*parts, *([line.detail] if line.detail else [])])


def steps_text(log: StepLog, now: float) -> str:
    """The log as text: while it runs the latest steps, afterwards one line; notes always."""
    lines = [printable(log.summary(now))]
    if not log.outcome:
        lines += [f"  {line_text(line, now)}" for line in log.shown()]
    return "\n".join([*lines, *(f"  Note: {printable(note)}" for note in log.notes)])


def line_text(line: Line, now: float) -> str:
    """One step in a line of text."""
    return printable(f"{'  ' * line.depth}{line.title}  {format_seconds(line.elapsed(now))}{_how_far(line)}")


def steps_html(log: StepLog, now: float) -> str:
    """The log as HTML: open while it runs, folded to its summary afterwards; notes always in view."""
    rows = "".join(
        f'<tr style="background:none"><td style="text-align:left;padding:0 16px 0 {line.depth * 1.4:.1f}em">'
        f'{_sign(line)} {escaped(line.title)}</td>'
        f'<td style="text-align:right;padding:0 12px 0 0">{format_seconds(line.elapsed(now))}</td>'
        f'<td style="text-align:left;padding:0">{_fraction_html(line)}</td></tr>' for line in log.shown())
    notes = "".join(f'<div style="padding-left:1em">Note: {escaped(note)}</div>' for note in log.notes)
    steps = f'<table style="border-collapse:collapse;color:inherit;margin:2px 0">{rows}</table>' if rows else ""
    summary = escaped(log.summary(now) if log.outcome else f"{log.title}, {format_seconds(now - log.began)}")
    return (f'<div class="unibeam" role="status" style="color:inherit;font-size:var(--jp-ui-font-size1, inherit)">'
            f'<details{"" if log.outcome else " open"}>'
            f'<summary style="cursor:pointer;opacity:.8">{summary}</summary>{steps}</details>{notes}</div>')


def _sign(line: Line) -> str:
    """A tick, a cross, or an ellipsis: shape tells the state, not colour."""
    return "…" if line.ended is None else "✗" if line.failed else "✓"


def _fraction_html(line: Line) -> str:
    if line.ended is not None:
        return ""
    bar = ""
    if line.fraction is not None:
        percent = min(max(line.fraction, 0.0), 1.0)
        bar = f'<progress value="{percent:.3f}" max="1" style="width:10em">{percent:.0%}</progress> '
    return bar + escaped(line.detail)
