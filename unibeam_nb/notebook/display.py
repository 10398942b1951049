"""How each noun looks: one function per noun that makes a :class:`~unibeam_nb.notebook.sheet.Sheet`.

The nouns are named here by module and class, not imported: showing a release must not load what draws a
chart. :func:`register` tells IPython about them; :func:`to_text` is what the shell prints.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from unibeam_nb.arms import RESUME
from unibeam_nb.errors import UnibeamError
from unibeam_nb.model import MARK_LINE, Finding, Image, Release
from unibeam_nb.notebook.inside import exploration_sheet
from unibeam_nb.notebook.materials import bom_sheet
from unibeam_nb.notebook.measuring import experiment_sheet, preview_sheet
from unibeam_nb.notebook.minding import of_build, of_machine
from unibeam_nb.notebook.results import Board, Findings, Kernels, Lines, Runtimes, Saved, Text, Verdicts
from unibeam_nb.notebook.sheet import Bar, Bars, Folded, Sheet, Shown, Table, as_html, as_text, clean_block
from unibeam_nb.notebook.talking import evaluated_sheet, reloaded_sheet, top_sheet
from unibeam_nb.units import format_bytes, format_seconds
from unibeam_nb.visible import visible

if TYPE_CHECKING:
    from unibeam_nb.doctor import Diagnosis
    from unibeam_nb.image.ami import Publication
    from unibeam_nb.lab import Build, Machines
    from unibeam_nb.lab.clouds import Emitted
    from unibeam_nb.lab.share import Shared
    from unibeam_nb.machine import Machine
    from unibeam_nb.machine.console import Console
    from unibeam_nb.release.shake.report import Shaking

CONSOLE_LINES = 40

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def release_sheet(release: Release) -> Sheet:
    rows = tuple((a.name, a.version, str(a.modules), format_bytes(a.bytes))
                 for a in sorted(release.applications, key=lambda a: -a.bytes))
    return Sheet(f"Release {release.name} {release.version}", _release_facts(release),
                 (Table(("application", "version", "modules", "bytes"), rows, numeric=frozenset((2, 3))),
                  *_findings_blocks(release.findings)))


def _release_facts(release: Release) -> tuple[tuple[str, str], ...]:
    total = format_bytes(sum(a.bytes for a in release.applications))
    facts = [("source", release.source), ("OTP", f"{release.otp}, ERTS {release.erts.removeprefix('erts-')}"),
             ("applications", f"{len(release.applications)}, {total}")]
    if release.ports:
        facts.append(("serves port", ", ".join(map(str, release.ports))))
    facts.append(("sha256", _short(release.sha256) + (", from the cache" if release.cached else "")))
    return tuple(facts)


def _findings_blocks(findings: tuple[Finding, ...]) -> tuple[Table, ...]:
    if not findings:
        return ()
    rows = tuple((f.kind, f.where, f.message) for f in findings)
    return (Table(("kind", "where", "what"), rows, "What needs more than a BEAM around it"),)


def _short(sha256: str) -> str:
    return sha256[:12]


def image_sheet(image: Image) -> Sheet:
    facts = [("target", image.kind), ("shipped", format_bytes(image.shipped_bytes)),
             ("unpacked", format_bytes(image.unpacked_bytes))]
    if image.kernel:
        facts.append(("kernel", image.kernel))
    if image.ports:
        facts.append(("ports", ", ".join(map(str, image.ports))))
    if image.tools:
        facts.append(("made with", ", ".join(f"{name} {version}" for name, version in image.tools)))
    facts.append(("sha256", _short(image.sha256) + (", from the cache" if image.cached else "")))
    facts.append(("files", str(image.path)))
    return Sheet(f"Image {image.name}", tuple(facts), (_parts_bars(image),))


def _parts_bars(image: Image) -> Bars:
    parts = sorted(image.parts, key=lambda part: -part.bytes)
    return Bars(f"Parts of the {image.kind} image, unpacked",
                tuple(Bar(part.name, 0, part.bytes, format_bytes(part.bytes)) for part in parts))


def build_sheet(build: Build) -> Sheet:
    rows = tuple((i.kind, format_bytes(i.shipped_bytes), format_bytes(i.unpacked_bytes), i.kernel or "-",
                  _short(i.sha256), "yes" if i.cached else "no") for i in build.images)
    table = Table(("image", "shipped", "unpacked", "kernel", "sha256", "from cache"), rows, numeric=frozenset((1, 2)))
    tables = [table] if rows else []
    parts = [_parts_bars(image) for image in build.images]
    return Sheet(f"Built {build.name}", (*_release_facts(build.release), *of_build(build)),
                 (*tables, *parts, *_findings_blocks(build.release.findings)))


def machine_sheet(machine: Machine) -> Sheet:
    facts = [("arm", f"{machine.arm}, accelerator {machine.accelerator}"), ("state", state_words(machine)),
             ("started", machine.started)]
    if machine.ports:
        forwarded = (f"{machine.address}:{host} to {guest}" for guest, host in sorted(machine.ports.items()))
        facts.append(("ports", ", ".join(forwarded)))
    if memory := memory_words(machine):
        facts.append(("memory", memory))
    facts += of_machine(machine)
    marks = sorted((mark for mark in machine.marks.values() if mark.at > 0), key=lambda mark: mark.at)
    what = "Resumed from a snapshot" if RESUME in machine.marks else "Boot"
    bars = [Bars(f"{what}, from the start of its process",
                 tuple(Bar(mark.name, before, mark.at, format_seconds(mark.at))
                       for before, mark in zip([0.0, *(m.at for m in marks)], marks, strict=False)))] if marks else []
    # The marks are told above as times; here they would only hide what the program said.
    said = [line for line in machine.console.tail(CONSOLE_LINES) if not MARK_LINE.fullmatch(line.strip())]
    console = [Folded("Console, its last lines", "\n".join(said))] if said else []
    return Sheet(f"Machine {machine.name} ({machine.id})", tuple(facts), (*bars, *console),
                 (machine.url,) if machine.url and machine.alive else ())


def state_words(machine: Machine) -> str:
    if machine.booting:
        return "booting"
    if machine.alive:
        return f"running, process {machine.pid}"
    return "stopped" if machine.exit_code is None else f"ended with exit status {machine.exit_code}"


def memory_words(machine: Machine) -> str:
    """The machine's memory in words; empty where it cannot be read, as when it ends meanwhile."""
    if not machine.alive:
        return ""
    try:
        memory = machine.memory()
    except (UnibeamError, OSError):
        return ""
    return (f"{format_bytes(memory.total)}: {format_bytes(memory.payload)} of the program's own, "
            f"{format_bytes(memory.overhead)} to run it")


def machines_sheet(machines: Machines) -> Sheet:
    if not machines:
        return Sheet("Nothing is running.")
    rows = tuple((m.name, m.id, m.arm, m.accelerator, state_words(m), m.started,
                  ", ".join(f"{host}:{guest}" for guest, host in sorted(m.ports.items())) or "-") for m in machines)
    return Sheet("", (), (Table(("machine", "id", "arm", "accelerator", "state", "started", "ports"), rows),),
                 tuple(m.url for m in machines if m.url and m.alive))


def diagnosis_sheet(diagnosis: Diagnosis) -> Sheet:
    signs = {"works": "✓ works", "limited": "! limited", "missing": "✗ missing"}
    rows = tuple((c.name, signs[c.state], c.detail, c.install) for c in diagnosis.capabilities)
    return Sheet("What this host can do", (), (Table(("capability", "state", "why", "to get it"), rows),))


_MACHINE_OF = {"pci": "q35", "mmio": "microvm", "osv": "osv images"}


def kernels_sheet(kernels: Kernels) -> Sheet:
    if not kernels.kernels:
        return Sheet("No kernel has been fetched yet; 'kernel fetch' or the first linux image does.")
    rows = tuple((k.name, k.version, _MACHINE_OF[k.platform], format_bytes(k.path.stat().st_size), _short(k.sha256),
                  k.source) for k in kernels.kernels)
    return Sheet("", (), (Table(("kernel", "version", "for", "size", "sha256", "source"), rows),))


def runtimes_sheet(runtimes: Runtimes) -> Sheet:
    rows = tuple((r.name, r.otp, r.version, "static" if r.static else "shared libraries", format_bytes(r.bytes),
                  r.source) for r in runtimes.runtimes)
    return Sheet("", (), (Table(("emulator", "OTP", "erts", "linked", "size", "source"), rows),))


def findings_sheet(findings: Findings) -> Sheet:
    if not findings.findings:
        return Sheet(f"Nothing in {findings.name} needs more than a BEAM around it.")
    return Sheet(f"Release {findings.name}", (), _findings_blocks(findings.findings))


def verdicts_sheet(found: Verdicts) -> Sheet:
    if not found.verdicts:
        return Sheet(f"Nothing in {found.name} needs more than {found.target} gives.")
    rows = tuple((v.outcome, v.finding.kind, v.finding.where, v.finding.message, v.reason) for v in found.verdicts)
    counts = [f"{sum(v.outcome == outcome for v in found.verdicts)} {outcome}"
              for outcome in dict.fromkeys(v.outcome for v in found.verdicts)]
    return Sheet(f"Release {found.name} on {found.target}: {', '.join(counts)}", (),
                 (Table(("there it", "kind", "where", "what", "because"), rows),))


def shaking_sheet(found: Shaking) -> Sheet:
    counts = Counter(left.kind for left in found.left_out)
    total = sum(left.bytes for left in found.left_out)
    facts = [("left out", f"{format_bytes(total)}: {', '.join(f'{n} x {kind}' for kind, n in sorted(counts.items()))}"
              if counts else "nothing"), ("to keep more", "build with --keep NAME, a module or an application")]
    rows = tuple((left.kind, left.name.removeprefix("Elixir."), format_bytes(left.bytes), left.why)
                 for left in found.left_out)
    tables = [Table(("kind", "what", "bytes", "why"), rows, "What shaking left out", frozenset((2,)))] if rows else []
    if found.unfollowed:
        tables.append(Table(("module", "calls"), found.unfollowed,
                            "Calls that may make names of modules, which no analysis sees; keep what they need"))
    return Sheet(f"Release {found.name}, shaken", tuple(facts), tuple(tables))


def lines_sheet(lines: Lines) -> Sheet:
    if len(lines.lines) == 1:
        return Sheet(lines.lines[0])
    return Sheet("", (), (Table(("done",), tuple((line,) for line in lines.lines)),))


def saved_sheet(saved: Saved) -> Sheet:
    if not saved.path.is_file():
        return Sheet(f"{saved.path} is no longer there.")
    # A front end resolves a relative link from the notebook's directory, which is the kernel's own.
    below = saved.path.absolute().is_relative_to(Path.cwd())
    links = (f"./{quote(str(saved.path.absolute().relative_to(Path.cwd())))}",) if below else ()
    return Sheet(f"Wrote {saved.path} ({format_bytes(saved.path.stat().st_size)}).", links=links)


def emitted_sheet(emitted: Emitted) -> Sheet:
    if emitted.path is not None:
        return saved_sheet(Saved(emitted.path))
    return Sheet(f"{emitted.name} for {emitted.kind}", (), (Shown(emitted.text),))


def publication_sheet(made: Publication) -> Sheet:
    facts = [("region", made.region), ("AMI", made.ami or "would be registered: UEFI, x86_64, ENA"),
             ("snapshot", made.snapshot or "would be started"), ("volume", f"{made.volume_gib} GiB"),
             ("to send" if not made.ami else "blocks", f"{made.blocks} of 512 KiB, {format_bytes(made.bytes)}")]
    if made.ami:
        facts.append(("sent now", str(made.sent)))
        return Sheet(f"Published {made.ami_name}", tuple(facts))
    return Sheet(f"Would publish {made.ami_name}; add --yes to do it", tuple(facts))


def shared_sheet(shared: Shared) -> Sheet:
    facts = (("repository", shared.repository.url), ("at", shared.ref))
    warned = Table(("before you share it",), tuple((line,) for line in shared.warnings))
    return Sheet(f"{shared.notebook} on Binder", facts, (
        *([warned] if shared.warnings else []), Shown(shared.badge, "The badge, for a README.md"),
        *([Shown(shared.puller, "By nbgitpuller, which fetches what changed without a new build")]
          if shared.puller else [])), (shared.link,))


def console_sheet(console: Console) -> Sheet:
    said = console.tail(CONSOLE_LINES)
    title = f"Console of {console.name}" if console.name else "Console"
    if not said:
        return Sheet(f"{title}: nothing yet.")
    return Sheet("", (), (Folded(f"{title}, its last lines", "\n".join(said)),))


def board_sheet(board: Board) -> Sheet:
    """Where a dashboard stands, for whoever sees no widgets."""
    if board.journal is None:
        return Sheet("A dashboard lives in a notebook; this is the cell it would write:", (),
                     (Folded("Plan", board.form.cell),))
    from unibeam_nb.bench import load_experiment

    return experiment_sheet(load_experiment(board.journal))


SHEETS: dict[tuple[str, str], Callable[[Any], Sheet]] = {
    ("unibeam_nb.model", "Release"): release_sheet,
    ("unibeam_nb.model", "Image"): image_sheet,
    ("unibeam_nb.lab.builds", "Build"): build_sheet,
    ("unibeam_nb.lab.machines", "Machines"): machines_sheet,
    ("unibeam_nb.image.ami", "Publication"): publication_sheet,
    ("unibeam_nb.lab.clouds", "Emitted"): emitted_sheet,
    ("unibeam_nb.lab.share", "Shared"): shared_sheet,
    ("unibeam_nb.image.bom.model", "Bom"): bom_sheet,
    ("unibeam_nb.analysis.inside", "Exploration"): exploration_sheet,
    ("unibeam_nb.machine.machine", "Machine"): machine_sheet,
    ("unibeam_nb.machine.console", "Console"): console_sheet,
    ("unibeam_nb.bench.journal", "Experiment"): experiment_sheet,
    ("unibeam_nb.bench.preview", "Preview"): preview_sheet,
    ("unibeam_nb.doctor", "Diagnosis"): diagnosis_sheet,
    ("unibeam_nb.talk.evaluating", "Evaluated"): evaluated_sheet,
    ("unibeam_nb.talk.reloading", "Reloaded"): reloaded_sheet,
    ("unibeam_nb.talk.looking", "Top"): top_sheet,
    ("unibeam_nb.notebook.results", "Board"): board_sheet,
    ("unibeam_nb.notebook.results", "Findings"): findings_sheet,
    ("unibeam_nb.release.shake.report", "Shaking"): shaking_sheet,
    ("unibeam_nb.notebook.results", "Verdicts"): verdicts_sheet,
    ("unibeam_nb.notebook.results", "Kernels"): kernels_sheet,
    ("unibeam_nb.notebook.results", "Lines"): lines_sheet,
    ("unibeam_nb.notebook.results", "Runtimes"): runtimes_sheet,
    ("unibeam_nb.notebook.results", "Saved"): saved_sheet,
}
"""The nouns that have a sheet, by module and class."""


WIDGETS: dict[tuple[str, str], str] = {
    ("unibeam_nb.machine.console", "Console"): "unibeam_nb.notebook.widgets.console:ConsoleWidget",
    ("unibeam_nb.machine.machine", "Machine"): "unibeam_nb.notebook.widgets.panel:machine_panel",
    ("unibeam_nb.lab.machines", "Machines"): "unibeam_nb.notebook.widgets.panel:machines_panel",
    ("unibeam_nb.analysis.inside", "Exploration"): "unibeam_nb.notebook.widgets.explorer:Explorer",
    ("unibeam_nb.talk.looking", "Top"): "unibeam_nb.notebook.widgets.top:TopPanel",
}
"""The nouns that are live in a notebook: what is called with the noun to make the widget. Beside it a bundle of MIME
types still holds the sheet as HTML and text, for whatever knows no widgets (nbconvert, GitHub, a text view)."""


def sheet_of(value: Any) -> Sheet | None:
    """The sheet of a noun; None for anything else."""
    for kind in type(value).__mro__:
        if make := SHEETS.get((kind.__module__, kind.__qualname__)):
            return make(value)
    return None


def to_text(value: Any) -> str:
    """Any result as the shell prints it."""
    if isinstance(value, Text):
        return clean_block(value)
    sheet = sheet_of(value)
    return visible(repr(value)) if sheet is None else as_text(sheet)


def register(shell: Any) -> None:
    """Teach a shell's formatters every noun."""
    formatters = shell.display_formatter.formatters
    for (module, name), make in SHEETS.items():
        formatters["text/html"].for_type_by_name(module, name, _html_of(make))
        formatters["text/plain"].for_type_by_name(module, name, _pretty_of(make))
    if getattr(shell, "kernel", None) is not None:
        for (module, name), widget in WIDGETS.items():
            shell.display_formatter.mimebundle_formatter.for_type_by_name(module, name, _bundle_of(widget))


def unregister(shell: Any) -> None:
    """Undo :func:`register`."""
    formatters = shell.display_formatter.formatters
    for formatter in (formatters["text/html"], formatters["text/plain"], shell.display_formatter.mimebundle_formatter):
        for key in SHEETS:
            formatter.deferred_printers.pop(key, None)
            for kind in [k for k in formatter.type_printers if (k.__module__, k.__qualname__) == key]:
                formatter.type_printers.pop(kind)


def _html_of(make: Callable[[Any], Sheet]) -> Callable[[Any], str]:
    return lambda value: as_html(make(value))


def _pretty_of(make: Callable[[Any], Sheet]) -> Callable[[Any, Any, bool], None]:
    def show(value: Any, printer: Any, cycle: bool) -> None:
        # Inside a list or a dict a whole sheet would bury its neighbours.
        nested = len(printer.stack) > 1
        printer.text(visible(repr(value)) if cycle or nested else as_text(make(value)))

    return show


def _bundle_of(widget: str) -> Callable[..., dict[str, Any]]:
    def bundle(value: Any, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        module, _, name = widget.partition(":")
        made = getattr(importlib.import_module(module), name)(value)
        return {WIDGET_VIEW: {"version_major": 2, "version_minor": 0, "model_id": made.model_id}}

    return bundle
