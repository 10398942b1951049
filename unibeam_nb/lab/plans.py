"""A plan from what a caller says in words: arms with labels, factors, when to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from unibeam_nb.arms import parse_arm
from unibeam_nb.errors import UsageError
from unibeam_nb.model import ICOUNT, Probe

if TYPE_CHECKING:
    from unibeam_nb.bench.plan import Plan

DEFAULT_ARM = "linux@qemu"
DEFAULT_RIVALS = ("oci+scratch@crun", "oci+scratch@podman", "release@process")

CAP = 60
"""The most blocks of an experiment with a stop rule, where nothing else was said."""


class PlanOptions(TypedDict, total=False):
    """What a plan can be told besides what to measure; the meaning of each is
    :class:`~unibeam_nb.bench.plan.Plan`'s. ``arms`` and ``against`` are texts, ``ARM`` or ``LABEL=ARM``."""

    arms: tuple[str, ...]
    against: tuple[str, ...]
    blocks: int | None
    warmup: int
    seed: int | None
    mem_mb: int
    vcpus: int
    http: str | None
    until: str | None
    deadline: float
    accelerator: str
    factors: Mapping[str, Sequence[str | int]] | None
    within: float | None
    baseline: str | None
    kinds: tuple[str, ...]
    load_s: int
    connections: int
    copies: tuple[int, ...]
    outgoing: bool


def plan_of(name: str, ports: tuple[int, ...], options: PlanOptions) -> Plan:
    """The plan of measuring the build ``name``, whose release serves ``ports``. Raises UsageError."""
    from unibeam_nb.bench.plan import Factor, Stop, has_limit, make_plan, parse_labelled

    given: dict[str, Any] = dict(options)
    first, against = given.pop("arms", ()) or (DEFAULT_ARM,), given.pop("against", ())
    alone = (given.get("baseline") and len(first) > 1) or given.get("accelerator") == ICOUNT
    rivals = against or (() if alone else DEFAULT_RIVALS)
    if rivals is DEFAULT_RIVALS and "minimum" in given.get("kinds", ()):
        rivals = tuple(arm for arm in rivals if has_limit(parse_arm(arm)))
    labelled = tuple(dict.fromkeys(parse_labelled(text, parse_arm) for text in (*first, *rivals)))
    http, until = given.pop("http", None), given.pop("until", None)
    factors = tuple(Factor(key, tuple(map(str, values))) for key, values in (given.pop("factors", None) or {}).items())
    within, baseline, blocks = given.pop("within", None), given.pop("baseline", None), given.pop("blocks", None)
    stop = None
    if within is not None:
        if baseline is None:
            raise UsageError("A stop rule needs a baseline.", "Say which arm the others are compared with: --baseline")
        blocks = blocks or CAP
        stop = Stop(within, _baseline(baseline), blocks, min(10, max(6, blocks)))
    elif baseline is not None:
        raise UsageError("A baseline alone decides nothing.", "Say how closely its ratios are wanted: --within 5%")
    return make_plan(name, tuple(arm for _, arm in labelled), blocks=blocks,
                     labels=tuple(label for label, _ in labelled) if any(label for label, _ in labelled) else (),
                     factors=factors, stop=stop, probe=Probe.parse(http, ports) if http else None,
                     until=until or ("http" if http else None), **given)


def _baseline(text: str) -> str:
    """A baseline as the plan calls it: a label, or an arm in its one spelling."""
    try:
        return str(parse_arm(text))
    except UsageError:
        return text
