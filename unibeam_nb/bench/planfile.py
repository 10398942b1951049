"""A plan read from TOML, with errors that name the line.

    source = "hello"
    arms = ["linux+tiny@qemu", "oci+scratch@crun", "release@process"]
    seed = 7

    [factors]
    mem_mb = [64, 128]
    flags = ["default", "+sbwt none"]

    [stop]
    ratio_within = 0.05
    baseline = "release@process"
    at_most = 60

The keys are the fields of :class:`~unibeam_nb.bench.plan.Plan`. ``arms`` is a list of ``ARM`` or ``LABEL=ARM``, or a
table ``[arms]`` of ``LABEL = "ARM"``; ``probe`` a table, or a text as in ``--http``.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from unibeam_nb.bench.plan import EXAMPLE, FACTORS, NUMBERS, Factor, Misfit, Plan, Stop, example_factor, parse_labelled
from unibeam_nb.errors import UsageError
from unibeam_nb.model import Probe

LARGEST_NUMBER = 1 << 53
"""Below this a number is one, whether it is written with a point or without."""

_TEXTS = ("name", "source", "until", "accelerator")
_STOP_EXAMPLE = 'ratio_within = 0.05, baseline = "release@process", at_most = 60'


def plan_from_toml(text: str, *, name: str | None = None, source: str | None = None,
                   ports: Sequence[int] = ()) -> Plan:
    """Read a plan. A ``probe`` without a port takes the first of ``ports``.

    ``name`` and ``source`` fill in for a text that does not say. Raises UsageError that names the key and
    its line.
    """
    try:
        data = tomllib.loads(text)
    except ValueError as error:  # tomllib.TOMLDecodeError is one, and so is what int() says of too many digits.
        raise _bad_toml(text, str(error)) from None
    except RecursionError:
        raise UsageError("The plan is nested too deep to be read.",
                         f"Write key = value lines, for example {EXAMPLE}.") from None
    known = [f.name for f in dataclasses.fields(Plan) if f.name != "labels"]
    _refuse_unknown(data, known, text, "The plan")
    if "arms" not in data:
        raise UsageError("The plan names no arms.", f"Add a line like {EXAMPLE}.")
    values: dict[str, Any] = {}
    for key, value in data.items():
        values |= _read(key, value, text, ports)
    measured = values.get("source") or source or values.get("name") or name
    if not measured:
        raise UsageError("The plan does not say what to measure.", 'Add a line like source = "hello".')
    values |= {"source": measured, "name": values.get("name") or name or measured}
    stop = values.get("stop")
    if stop is not None:
        values.setdefault("blocks", stop.at_most)
    try:
        return Plan(**values)
    except Misfit as error:
        raise _at_line(error.message, error.hint, text, error.key) from None


def _read(key: str, value: Any, text: str, ports: Sequence[int]) -> dict[str, Any]:
    """The fields of a Plan that ``key`` and its value stand for. Raises UsageError."""
    if key == "arms":
        return _arms(value, text)
    if key == "factors":
        return {key: _factors(value, text)}
    if key == "stop":
        return {key: _stop(value, text)}
    if key == "probe":
        return {key: _probe(value, text, ports)}
    if key == "kinds":
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise _at_line("kinds is not a list of texts.", 'Write kinds = ["boot"].', text, key)
        return {key: tuple(value)}
    if key == "copies":
        if not isinstance(value, list) or not all(type(v) is int for v in value):
            raise _at_line("copies is not a list of whole numbers.", "Write copies = [1, 4, 16, 32].", text, key)
        return {key: tuple(value)}
    if key in _TEXTS:
        return {key: _typed(key, value, str, text, f"{key} = {_default(key)}")}
    if key == "outgoing":
        if not isinstance(value, bool):
            raise _at_line("outgoing is neither true nor false.", "Write outgoing = true.", text, key)
        return {key: value}
    if key == "deadline":
        return {key: float(_typed(key, value, float, text, f"{key} = {_default(key)}"))}
    return {key: _typed(key, value, int, text, f"{key} = {_default(key)}")}


def _typed(key: str, value: Any, kind: type, text: str, example: str) -> Any:
    """``value`` where it is of ``kind``; whole numbers are numbers too."""
    wanted = (int, float) if kind is float else kind
    large = isinstance(value, int | float) and not abs(value) < LARGEST_NUMBER
    if isinstance(value, wanted) and not isinstance(value, bool) and not large:
        return value
    words = {str: "a text in quotes", float: "a number", int: "a whole number"}[kind]
    raise _at_line(f"{key} is not {words}.", f"Write it as in {example}.", text, key)


def _default(key: str) -> str:
    default = {f.name: f.default for f in dataclasses.fields(Plan)}[key]
    if default is dataclasses.MISSING:
        return '"hello"'
    return f'"{default}"' if isinstance(default, str) else str(default)


def _arms(value: Any, text: str) -> dict[str, Any]:
    if isinstance(value, dict):
        for label, arm in value.items():
            if not isinstance(arm, str):
                raise _at_line(f"The arm {label} is not a text in quotes.", f'Write {label} = "release@process".', text,
                               label)
        pairs = [f"{label}={arm}" for label, arm in value.items()]
    elif isinstance(value, list) and all(isinstance(v, str) for v in value):
        pairs = value
    else:
        raise _at_line("arms is not a list of texts.", f"Write {EXAMPLE}.", text, "arms")
    try:
        read = [parse_labelled(pair) for pair in pairs]
    except UsageError as error:
        raise _at_line(error.message, error.hint, text, "arms") from None
    labels = tuple(label for label, _ in read)
    return {"arms": tuple(arm for _, arm in read)} | ({"labels": labels} if any(labels) else {})


def _factors(value: Any, text: str) -> tuple[Factor, ...]:
    if not isinstance(value, dict):
        raise _at_line("factors is not a table.", f"Write [factors], and below it {example_factor('mem_mb')}.", text,
                       "factors")
    _refuse_unknown(value, list(FACTORS), text, "The table of factors")
    found = []
    for name, values in value.items():
        kind = int if name in NUMBERS else str
        if not isinstance(values, list) or not all(isinstance(v, kind) and not isinstance(v, bool) for v in values):
            what = "whole numbers" if kind is int else "texts in quotes"
            raise _at_line(f"{name} is not a list of {what}.", f"Write it as in {example_factor(name)}.", text, name)
        found.append(Factor(name, tuple(str(v) for v in values)))
    return tuple(found)


def _stop(value: Any, text: str) -> Stop:
    if not isinstance(value, dict):
        raise _at_line("stop is not a table.", f"Write stop = {{ {_STOP_EXAMPLE} }}.", text, "stop")
    kinds: Mapping[str, tuple[type, str]] = {
        "ratio_within": (float, "0.05"), "baseline": (str, '"release@process"'), "at_most": (int, "60"),
        "at_least": (int, "10")}
    _refuse_unknown(value, list(kinds), text, "The stop rule")
    for key in ("ratio_within", "baseline", "at_most"):
        if key not in value:
            raise _at_line(f"The stop rule has no {key}.", f"Write stop = {{ {_STOP_EXAMPLE} }}.", text, "stop")
    given = {key: _typed(key, value[key], kind, text, f"{key} = {example}")
             for key, (kind, example) in kinds.items() if key in value}
    if "at_least" not in given:
        given["at_least"] = min(10, max(6, given["at_most"]))
    return Stop(**given)


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
