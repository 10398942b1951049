"""What an experiment will do, as a value that can be printed before anything runs.

    arms x factors -> Cases      Cases x blocks x kinds -> Slots (schedule.py)      Slots -> Samples (run.py)

A case is one thing being compared: an arm under one combination of the factors that touch it. Reading a plan from
TOML is in ``planfile.py``, the order of its boots in ``schedule.py``, when it ends early in ``stopping.py``.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from unibeam_nb.arms import RESTORE, RESUME, Arm
from unibeam_nb.errors import UsageError
from unibeam_nb.model import ACCELERATORS, ICOUNT, KINDS, Probe, case_name

EXAMPLE = 'arms = ["linux@qemu", "oci+scratch@podman", "release@process"]'

UNTIL = ("auto", "app", "http")
SCHEMES = ("http", "https", "tcp")

MOST_CASES = 200
"""A plan with more cases than this is a slip of the pen."""

LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,63}")


@dataclass(frozen=True)
class Factor:
    """Something besides the arm that a plan varies, and its values in their order, as texts.

    ``name`` is one of :data:`FACTORS`. A factor that cannot touch an arm (a kernel below ``release@process``) does
    not multiply it.
    """

    name: str
    values: tuple[str, ...]


FACTORS: Mapping[str, tuple[str, Callable[[Arm], bool]]] = {
    "mem_mb": ("memory in MiB", lambda arm: arm.runner != "process"),
    "vcpus": ("processors, and schedulers of the emulator", lambda arm: True),
    "kernel": ("the kernel: default, stock, tiny, a kernel's name or PATH[:MODULES]",
               lambda arm: arm.target == "linux"),
    "flags": ("emulator flags, which come after the release's own; default for none", lambda arm: True),
    "erts": ("the emulator: default, lean, or the PATH of an erts-VERSION directory", lambda arm: True),
}
"""What a plan can vary besides the arm: what it is, and which arms it touches."""

DEFAULT = "default"
"""The value of a kernel, flags or an emulator that stands for what the build has."""

NUMBERS = ("mem_mb", "vcpus")
"""The factors whose values are whole numbers."""


@dataclass(frozen=True)
class Stop:
    """When an experiment has seen enough: as soon as, at one of the looks fixed beforehand, the 95 % interval of the
    ratio of every case to ``baseline`` is narrower, end to end, than ``ratio_within`` of the ratio. ``baseline`` is a
    case's name, or an arm's: then each case is compared with that arm under its own factors.

    The first look is after ``at_least`` blocks, the last after ``at_most``. The rule sees the width of the intervals
    only, never whether one holds 1, so it cannot stop because a difference has appeared (stopping.py).
    """

    ratio_within: float
    baseline: str
    at_most: int
    at_least: int = 10


@dataclass(frozen=True)
class Case:
    """One thing being compared: ``arm``, called ``label`` (its spelling where the plan gives it no other name), under
    ``factors``."""

    label: str
    arm: Arm
    factors: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """What it is called: ``linux@qemu mem_mb=64``; the same as its samples' ``case``."""
        return case_name(self.label, self.factors)

    def value(self, factor: str, otherwise: str) -> str:
        """The value of ``factor`` in this case."""
        return dict(self.factors).get(factor, otherwise)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Plan:
    """An experiment before it runs.

    ``source`` names what is measured (a build's name). ``labels`` name the arms, one each, where their spelling is
    not enough (an arm that is there twice); empty ones stand for the spelling. ``blocks`` are the blocks that
    count, or with ``stop`` the most there may be; ``warmup`` blocks come before them, are kept and flagged, and never
    enter a statistic. A boot's time ends with the mark ``until``; ``auto`` means ``http`` where the images serve a
    port and ``app`` otherwise. ``deadline`` is in seconds, ``mem_mb`` in MiB, ``accelerator`` for virtual machines
    only. ``kinds`` are the kinds of measurement taken of every case in every block
    (:data:`~unibeam_nb.model.KINDS`): ``load_s`` seconds over so many ``connections`` are a steady load, ``copies`` the
    numbers of machines at once whose density is measured, ``mem_mb`` where a search for the minimum begins.
    With ``outgoing`` virtual machines may connect to others.
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
    labels: tuple[str, ...] = ()
    factors: tuple[Factor, ...] = ()
    stop: Stop | None = None
    kinds: tuple[str, ...] = ("boot",)
    load_s: int = 5
    connections: int = 8
    copies: tuple[int, ...] = (1, 4, 16, 32)
    outgoing: bool = False

    def __post_init__(self) -> None:
        for key, (holds, wording) in _RULES.items():
            if not holds(getattr(self, key)):
                raise Misfit(key, f"{key} = {_shown(getattr(self, key))} makes no sense.", wording)
        _check_labels(self)
        for factor in self.factors:
            _check_factor(self, factor)
        if len(self.cases) > MOST_CASES:
            raise Misfit("factors", f"The factors make {len(self.cases)} cases of the arms.",
                         f"Compare at most {MOST_CASES} at a time.")
        twice = sorted({name for name in self.arm_names if self.arm_names.count(name) > 1})
        if twice:
            raise Misfit("arms", f"The arm {twice[0]} is in the plan twice.",
                         'Name every arm once, or tell them apart by labels: "a=linux@qemu", "b=linux@qemu".')
        if self.stop is not None:
            _check_stop(self, self.stop)
        if "minimum" in self.kinds:
            _check_minimum(self)

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """Every arm under every combination of the factors that touch it, in the plan's order."""
        return tuple(case for index in range(len(self.arms)) for case in _cases_of(self, index))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the cases."""
        return tuple(case.name for case in self.cases)

    @property
    def arm_names(self) -> tuple[str, ...]:
        """What the arms are called: their labels, or their spelling where they have none."""
        return tuple(label or str(arm) for label, arm in zip(self.labels or [""] * len(self.arms), self.arms,
                                                             strict=True))

    def case(self, name: str) -> Case:
        """The case of this name. Raises KeyError where there is none."""
        return {case.name: case for case in self.cases}[name]

    @property
    def boots(self) -> int:
        """How many slots the plan has, warm-up included; with a stop rule, the most it can come to."""
        each = sum(len(self.copies) if kind == "density" else 1 for kind in self.kinds)
        return len(self.cases) * each * (self.blocks + self.warmup)

    def baseline_of(self, case: Case) -> Case | None:
        """What the stop rule compares ``case`` with; None for a baseline itself, and without a rule."""
        if self.stop is None:
            return None
        wanted = self.stop.baseline
        if wanted in self.names:
            return self.case(wanted) if case.name != wanted else None
        alike = (c for c in self.cases if c.label == wanted != case.label
                 and all(case.value(key, value) == value for key, value in c.factors))
        return next(alike, None)

    def without(self, names: frozenset[str]) -> Plan:
        """The plan without the arms of these cases: an arm goes with the first of its cases that does, and a factor
        with the last arm that it touches.

        Raises UsageError when nothing, or no baseline, is left.
        """
        gone = {index for index, _ in enumerate(self.arms)
                if any(case.name in names for case in _cases_of(self, index))}
        keep = [index for index in range(len(self.arms)) if index not in gone]
        arms = tuple(self.arms[i] for i in keep)
        if self.stop is not None and not any(self.stop.baseline.split(" ")[0] == self.arm_names[i] for i in keep):
            raise UsageError(f"The baseline {self.stop.baseline} cannot run here.",
                             "Choose another one, or a fixed number of blocks.")
        touching = tuple(f for f in self.factors if any(FACTORS[f.name][1](arm) for arm in arms))
        return dataclasses.replace(self, arms=arms, factors=touching,
                                   labels=tuple(self.labels[i] for i in keep) if self.labels else ())

    def __str__(self) -> str:
        from unibeam_nb.bench.preview import describe

        return "\n".join(describe(self))


class Misfit(UsageError):
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
    "kinds": (lambda v: len(v) > 0 and set(v) <= set(KINDS) and len(set(v)) == len(v),
              f"Kinds of measurement are {', '.join(KINDS)}, each once."),
    "load_s": (lambda v: 1 <= v <= 600, "A load lasts 1 to 600 seconds; 5 is usual."),
    "connections": (lambda v: 1 <= v <= 1000, "A load has 1 to 1000 connections; 8 is usual."),
    "copies": (lambda v: len(v) > 0 and all(1 <= n <= 1000 for n in v) and len(set(v)) == len(v),
               "Copies are numbers from 1 to 1000, each once, as in 1, 4, 16, 32."),
}


def _shown(value: Any) -> str:
    if isinstance(value, Probe):
        return f"{value.scheme}://127.0.0.1:{value.port}{value.path}"
    return "[]" if value == () else repr(value)


def _check_labels(plan: Plan) -> None:
    if plan.labels and len(plan.labels) != len(plan.arms):
        raise Misfit("arms", f"There are {len(plan.labels)} labels for {len(plan.arms)} arms.", "Label all or none.")
    for label in plan.labels:
        if label and not LABEL.fullmatch(label):
            raise Misfit("arms", f"{label!r} cannot be the label of an arm.",
                         "A label is made of letters, digits, dots, dashes and underscores.")


def _check_factor(plan: Plan, factor: Factor) -> None:
    if factor.name not in FACTORS:
        raise Misfit("factors", f"A plan cannot vary {factor.name!r}.", f"The factors are {', '.join(FACTORS)}.")
    if [f.name for f in plan.factors].count(factor.name) > 1:
        raise Misfit("factors", f"The factor {factor.name} is there twice.", "Write all its values in one list.")
    if not factor.values or len(set(factor.values)) < len(factor.values):
        what = "has no values" if not factor.values else "has a value twice"
        raise Misfit(factor.name, f"The factor {factor.name} {what}.", f"Write it as in {example_factor(factor.name)}.")
    if not any(FACTORS[factor.name][1](arm) for arm in plan.arms):
        raise Misfit(factor.name, f"The factor {factor.name} touches none of the arms.",
                     "Leave it out, or add an arm for which it matters.")
    for value in factor.values:
        if factor.name in NUMBERS:
            holds, wording = _RULES[factor.name]
            if not (value.isascii() and value.isdigit() and holds(int(value))):
                raise Misfit(factor.name, f"{factor.name} = {value} makes no sense.", wording)
        elif not value.strip() or any(ord(c) < 32 for c in value):
            raise Misfit(factor.name, f"{factor.name} has the value {value!r}.",
                         f"Write a text that says something; {DEFAULT} stands for what the build has.")


def example_factor(name: str) -> str:
    """How a factor is written in TOML."""
    values = {"mem_mb": "[64, 128]", "vcpus": "[1, 2]", "kernel": '["stock", "tiny"]',
              "flags": '["default", "+sbwt none"]', "erts": '["default", "lean"]'}
    return f"{name} = {values.get(name, '[64, 128]')}"


def _check_stop(plan: Plan, stop: Stop) -> None:
    rule: tuple[tuple[bool, str, str, str], ...] = (
        (0.001 <= stop.ratio_within <= 1, "ratio_within", f"ratio_within = {stop.ratio_within:g} makes no sense.",
         "Write a part of the ratio, for example 0.05 for 5 %."),
        (6 <= stop.at_least <= 10_000, "at_least", f"at_least = {stop.at_least} makes no sense.",
         "An interval needs 6 blocks at least; 10 is a good start."),
        (stop.at_least <= stop.at_most <= 10_000, "at_most", f"at_most = {stop.at_most} makes no sense.",
         f"Write a number of blocks from at_least ({stop.at_least}) to 10000."),
        (stop.baseline in {*plan.names, *(case.label for case in plan.cases)}, "baseline",
         f"The baseline {stop.baseline} is not one of the arms.",
         f"Choose one of {', '.join(dict.fromkeys((*plan.arm_names, *plan.names)))}."),
        (any(plan.baseline_of(case) for case in plan.cases), "baseline",
         "A ratio needs a second arm beside the baseline.", f"Write {EXAMPLE}."),
        (plan.blocks == stop.at_most, "blocks", "Both blocks and at_most say how many blocks there are.",
         "With a stop rule, write at_most alone."),
        ("boot" in plan.kinds, "kinds", "The stop rule looks at boots, and the plan measures none.",
         'Add "boot" to kinds, or leave the stop rule out.'))
    for holds, key, message, hint in rule:
        if not holds:
            raise Misfit(key, message, hint)


def has_limit(arm: Arm) -> bool:
    """Whether this arm has a memory of its own, of which the least that will do can be sought."""
    return arm.runner != "process" and not {RESUME, RESTORE} & set(arm.extras)


def _check_minimum(plan: Plan) -> None:
    for arm in plan.arms:
        if arm.runner == "process":
            raise Misfit("arms", f"Nothing limits the memory of {arm}.", "Seek the minimum of machines and containers.")
        if not has_limit(arm):
            raise Misfit("arms", f"{arm} is a copy of a machine, which needs what booting that one needs.",
                         f"Seek the minimum without +{RESUME if RESUME in arm.extras else RESTORE}.")
    if any(factor.name == "mem_mb" for factor in plan.factors):
        raise Misfit("factors", "The least memory cannot be sought in several memories.", "Do not vary mem_mb.")


def _cases_of(plan: Plan, index: int) -> list[Case]:
    arm = plan.arms[index]
    touching = [factor for factor in plan.factors if FACTORS[factor.name][1](arm)]
    cases = []
    for values in itertools.product(*(factor.values for factor in touching)):
        pairs = tuple((factor.name, value) for factor, value in zip(touching, values, strict=True))
        cases.append(Case(plan.arm_names[index], arm, pairs))
    return cases


def parse_labelled(text: str, parse: Callable[[str], Arm] = Arm.parse) -> tuple[str, Arm]:
    """``LABEL=ARM`` or ``ARM`` as (label or "", arm). Raises UsageError."""
    label, equals, arm = text.strip().rpartition("=")
    if equals and not LABEL.fullmatch(label.strip()):
        raise UsageError(f"{label.strip()!r} cannot be the label of an arm.",
                         "A label is made of letters, digits, dots, dashes and underscores.")
    return label.strip(), parse(arm)


def make_plan(source: str, arms: tuple[Arm, ...], *, name: str | None = None, seed: int | None = None,
              **options: Any) -> Plan:
    """A plan of what was given, with the defaults of :class:`Plan` for the rest (None included)."""
    given = {key: value for key, value in (options | {"seed": seed}).items() if value is not None}
    return Plan(name or source, source, arms, **given)


def resolve(plan: Plan, ports: tuple[int, ...]) -> Plan:
    """The plan with ``until`` and ``probe`` settled for images that serve ``ports``.

    Raises UsageError when an HTTP answer is wanted of images that serve no port.
    """
    until = plan.until
    counted = plan.accelerator == ICOUNT
    if until == "auto":
        until = "http" if (ports or plan.probe) and not counted else "app"
    if counted and until == "http":
        raise UsageError("Where instructions are counted, no answer is timed.",
                         'Write until = "app", or another accelerator.')
    foreign = [str(arm) for arm in plan.arms if arm.runner != "qemu" or RESUME in arm.extras]
    if counted and foreign:
        raise UsageError(f"The instructions of {foreign[0]} cannot be counted.",
                         "Compare arms on qemu that are booted: name them with --on and --against.")
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
