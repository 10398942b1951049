"""What an experiment will do, as a value that can be printed before anything runs.

    TOML text -> Plan -> Slots (which arm boots when)

A block boots every arm once, in an order shuffled by the plan's seed: what changes slowly on a host (heat,
neighbours, caches) then meets all arms alike, and a comparison can be made block by block.
"""

from __future__ import annotations

import dataclasses
import difflib
import random
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from unibeam_nb.arms import RESUME, Arm
from unibeam_nb.errors import UsageError
from unibeam_nb.model import Probe

EXAMPLE = 'arms = ["linux@qemu", "oci+scratch@podman", "release@process"]'

ACCELERATORS = ("auto", "kvm", "tcg")
UNTIL = ("auto", "app", "http")
SCHEMES = ("http", "https", "tcp")


@dataclass(frozen=True)
class Plan:
    """An experiment before it runs.

    ``source`` names what is measured (a build's name). ``blocks`` are the blocks that count; ``warmup``
    blocks come before them, are kept and flagged, and never enter a statistic. A boot's time ends with the
    mark ``until``; ``auto`` means ``http`` where the images serve a port and ``app`` otherwise. ``deadline``
    is in seconds, ``mem_mb`` in MiB (virtual machines only, as are ``vcpus`` and ``accelerator``).
    Raises UsageError when a value makes no sense.
    """

    name: str
    source: str
    arms: tuple[Arm, ...]
    blocks: int = 10
    warmup: int = 1
    seed: int = 1
    mem_mb: int = 256
    vcpus: int = 1
    until: str = "auto"
    probe: Probe | None = None
    deadline: float = 120.0
    accelerator: str = "auto"

    def __post_init__(self) -> None:
        for key, (holds, wording) in _RULES.items():
            if not holds(getattr(self, key)):
                raise _Misfit(key, f"{key} = {_shown(getattr(self, key))} makes no sense.", wording)
        twice = sorted({str(arm) for arm in self.arms if self.arms.count(arm) > 1})
        if twice:
            raise _Misfit("arms", f"The arm {twice[0]} is in the plan twice.", "Name every arm once.")

    def __str__(self) -> str:
        return "\n".join(describe(self))


@dataclass(frozen=True)
class Slot:
    """One boot to come: ``order`` counts over the whole experiment from 0, as does ``block``."""

    arm: Arm
    block: int
    order: int
    warmup: bool


class _Misfit(UsageError):
    """A value of the plan that makes no sense; ``key`` lets the reader of a TOML text name its line."""

    def __init__(self, key: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.key = key


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda v: bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", v)),
             "A name is made of letters, digits, dots, dashes and underscores."),
    "arms": (lambda v: len(v) > 0, f"Name at least one arm, for example {EXAMPLE}."),
    "blocks": (lambda v: 1 <= v <= 10_000, "Blocks are a number from 1 to 10000; 10 is a good start."),
    "warmup": (lambda v: 0 <= v <= 1000, "Warm-up blocks are a number from 0 to 1000; 1 is usual."),
    "mem_mb": (lambda v: v >= 16, "Memory is in MiB, 16 or more; 256 is the default."),
    "vcpus": (lambda v: 1 <= v <= 64, "A machine has 1 to 64 virtual CPUs."),
    "until": (lambda v: v in UNTIL, f"A boot ends with one of {', '.join(UNTIL)}."),
    "probe": (lambda v: v is None or (v.scheme in SCHEMES and 0 < v.port < 65536 and v.path.startswith("/")),
              f"A probe has a port up to 65535, a scheme of {', '.join(SCHEMES)}, and a path that starts with '/'."),
    "deadline": (lambda v: 0 < v <= 3600, "A deadline is in seconds, at most 3600."),
    "accelerator": (lambda v: v in ACCELERATORS, f"The accelerators are {', '.join(ACCELERATORS)}."),
}


def _shown(value: Any) -> str:
    if isinstance(value, Probe):
        return f"{value.scheme}://127.0.0.1:{value.port}{value.path}"
    return "[]" if value == () else repr(value)


def make_plan(source: str, arms: tuple[Arm, ...], *, name: str | None = None, seed: int | None = None,
              **options: Any) -> Plan:
    """A plan of what was given, with the defaults of :class:`Plan` for the rest (None included)."""
    given = {key: value for key, value in (options | {"seed": seed}).items() if value is not None}
    return Plan(name or source, source, arms, **given)


def plan_from_toml(text: str, *, name: str | None = None, source: str | None = None,
                   ports: Sequence[int] = ()) -> Plan:
    """Read a plan. Its keys are the fields of :class:`Plan`; ``probe`` is a table, or a text as in ``--http``
    (``"/"``, ``"https:8443/"``) whose port may come from ``ports``.

    ``name`` and ``source`` fill in for a text that does not say. Raises UsageError that names the key and
    its line.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _bad_toml(text, str(error)) from None
    known = [f.name for f in dataclasses.fields(Plan)]
    _refuse_unknown(data, known, text, "The plan")
    if "arms" not in data:
        raise UsageError("The plan names no arms.", f"Add a line like {EXAMPLE}.")
    values = {key: _typed(key, value, text, ports) for key, value in data.items()}
    measured = values.get("source") or source or values.get("name") or name
    if not measured:
        raise UsageError("The plan does not say what to measure.", 'Add a line like source = "hello".')
    values |= {"source": measured, "name": values.get("name") or name or measured}
    try:
        return Plan(**values)
    except _Misfit as error:
        raise _at_line(error.message, error.hint, text, error.key) from None


def _typed(key: str, value: Any, text: str, ports: Sequence[int]) -> Any:
    """``value`` as the field ``key`` wants it, or UsageError."""
    if key == "arms":
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise _at_line("arms is not a list of texts.", f"Write {EXAMPLE}.", text, key)
        try:
            return tuple(Arm.parse(v) for v in value)
        except UsageError as error:
            raise _at_line(error.message, error.hint, text, key) from None
    if key == "probe":
        return _probe(value, text, ports)
    wanted = {"name": str, "source": str, "until": str, "accelerator": str, "deadline": (int, float)}.get(key, int)
    if not isinstance(value, wanted) or isinstance(value, bool):  # type: ignore[arg-type]
        kind = "a text in quotes" if wanted is str else "a number" if key == "deadline" else "a whole number"
        raise _at_line(f"{key} is not {kind}.", f"Write it as in {key} = {_example_of(key)}.", text, key)
    return float(value) if key == "deadline" else value


def _probe(value: Any, text: str, ports: Sequence[int]) -> Probe:
    if isinstance(value, str):
        try:
            return Probe.parse(value, ports)
        except UsageError as error:
            raise _at_line(error.message, error.hint, text, "probe") from None
    if not isinstance(value, dict):
        raise _at_line("probe is neither a text nor a table.", 'Write probe = { port = 8080, path = "/" }.', text,
                       "probe")
    _refuse_unknown(value, ["port", "scheme", "path"], text, "The probe")
    kinds = {"port": int, "scheme": str, "path": str}
    for key, kind in kinds.items():
        if key in value and (not isinstance(value[key], kind) or isinstance(value[key], bool)):
            raise _at_line(f"The probe's {key} is not {'a whole number' if kind is int else 'a text in quotes'}.",
                           'Write probe = { port = 8080, scheme = "http", path = "/" }.', text, key)
    if "port" not in value:
        raise _at_line("The probe has no port.", "Add the port inside the machine: port = 8080.", text, "probe")
    return Probe(**value)


def _example_of(key: str) -> str:
    fields = {f.name: f.default for f in dataclasses.fields(Plan)}
    default = fields.get(key, dataclasses.MISSING)
    if default is dataclasses.MISSING:
        return '"hello"'
    return f'"{default}"' if isinstance(default, str) else str(default)


def _refuse_unknown(data: dict[str, Any], known: list[str], text: str, what: str) -> None:
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"The keys are {', '.join(known)}."
            raise _at_line(f"{what} has the unknown key {key!r}.", hint, text, key)


def _at_line(message: str, hint: str | None, text: str, key: str) -> UsageError:
    """``message`` with the line of ``text`` on which ``key`` is set, where that can be told."""
    pattern = re.compile(rf"(?:^|[{{,\[]|\.)\s*[\"']?{re.escape(key)}[\"']?\s*[\]=.]")
    lines = [number for number, line in enumerate(text.splitlines(), 1)
             if pattern.search(line) and not line.lstrip().startswith("#")]
    return UsageError(f"Line {lines[0]}: {message}" if lines else message, hint)


def _bad_toml(text: str, told: str) -> UsageError:
    """What the parser told, in our order: the line first. ``told`` ends in ``(at line N, column M)`` or
    ``(at end of document)``."""
    found = re.fullmatch(r"(.*?)\.? \(at (?:line (\d+), column \d+|end of document)\)", told, re.DOTALL)
    reason = found[1] if found else told
    line = int(found[2]) if found and found[2] else max(1, len(text.splitlines()))
    return UsageError(f"Line {line}: the plan is not valid TOML ({reason[:1].lower()}{reason[1:]}).",
                      f"Write key = value lines, for example {EXAMPLE}.")


def resolve(plan: Plan, ports: tuple[int, ...]) -> Plan:
    """The plan with ``until`` and ``probe`` settled for images that serve ``ports``.

    Raises UsageError when an HTTP answer is wanted of images that serve no port.
    """
    until = plan.until
    if until == "auto":
        until = "http" if ports or plan.probe else "app"
    copies = [str(arm) for arm in plan.arms if RESUME in arm.extras]
    if copies and until != "http":
        raise UsageError(f"{copies[0]} has no mark {until}: its applications were started before the snapshot.",
                         "Measure until http, for which the program must serve a port.")
    probe = plan.probe if until == "http" else None
    if until == "http" and probe is None:
        if not ports:
            raise UsageError(f"{plan.source} serves no port, so no HTTP answer can be waited for.",
                             "Build it with --port 8080, or write until = \"app\".")
        probe = Probe.usual(ports[0])
    return dataclasses.replace(plan, until=until, probe=probe)


def schedule(plan: Plan) -> list[Slot]:
    """Every boot of the plan in order: warm-up blocks first, each block every arm once, shuffled by the seed."""
    chance = random.Random(plan.seed)
    slots: list[Slot] = []
    for block in range(plan.warmup + plan.blocks):
        # Sorting by random() instead of shuffle(): its sequence is the only one that Python promises to
        # keep between versions, and a resumed experiment must find the same order.
        keyed = sorted((chance.random(), index) for index in range(len(plan.arms)))
        slots += [Slot(plan.arms[index], block, len(slots) + place, block < plan.warmup)
                  for place, (_, index) in enumerate(keyed)]
    return slots


def describe(plan: Plan, blocks_shown: int = 3) -> list[str]:
    """The plan as lines for people: how many boots, timed how, in which order."""
    slots = schedule(plan)
    warm = f"{plan.warmup} warm-up + " if plan.warmup else ""
    machine = f"{plan.mem_mb} MiB and {plan.vcpus} vCPU for virtual machines, accelerator {plan.accelerator}"
    ends = {"app": "every application is started", "http": "the first good HTTP answer",
            "auto": "the first good HTTP answer (every application started, where no port is served)"}[plan.until]
    lines = [f"Experiment {plan.name}: {_many(len(plan.arms), 'arm')} x ({warm}{_many(plan.blocks, 'block')}) = "
             f"{_many(len(slots), 'boot')}",
             f"  timed from the start of the runner's process until {ends}; {machine}",
             f"  order (seed {plan.seed}):"]
    shown = min(blocks_shown, plan.warmup + plan.blocks)
    for block in range(shown):
        arms = ", ".join(str(s.arm) for s in slots if s.block == block)
        lines.append(f"    block {block}{' (warm-up)' if block < plan.warmup else ''}: {arms}")
    rest = plan.warmup + plan.blocks - shown
    if rest:
        lines.append(f"    and {rest} more block{'s' if rest > 1 else ''}, each in its own order")
    return lines


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
