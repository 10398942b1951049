"""What can be compared: each measure's place in a sample, its unit, and which way is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from unibeam_nb.model import Sample
from unibeam_nb.units import format_bytes, format_seconds


@dataclass(frozen=True)
class Measure:
    """One number that a sample of ``kind`` may hold. ``of(sample, until)`` is None where it does not.

    ``less`` and ``more`` say in a sentence that an arm has less or more of it: ``{arm} {less}`` with ``{}`` for
    the ratio; ``brief`` says it in one word each. ``show`` formats a value with its unit.
    """

    name: str
    kind: str
    title: str
    of: Callable[[Sample, str], float | None]
    show: Callable[[float], str]
    less: str
    more: str
    brief: tuple[str, str] = ("less", "more")


def _boot(sample: Sample, until: str) -> float | None:
    return sample.marks.get(until)


def _memory(sample: Sample, _until: str) -> float | None:
    return float(sample.memory.total) if sample.memory else None


def _value(key: str) -> Callable[[Sample, str], float | None]:
    return lambda sample, _until: sample.values.get(key)


def format_rate(per_second: float) -> str:
    """``12,400/s``, ``35.2/s``."""
    return f"{per_second:,.0f}/s" if per_second >= 100 else f"{per_second:.3g}/s"


def format_latency(seconds: float) -> str:
    """``350 us``, ``1.24 ms``, ``1.20 s``."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else format_seconds(seconds)


MEASURES: dict[str, Measure] = {measure.name: measure for measure in (
    Measure("boot", "boot", "boot time", _boot, format_seconds, "is {} faster than", "is {} slower than",
            ("faster", "slower")),
    Measure("memory", "boot", "memory", _memory, format_bytes,
            "takes {} less memory than", "takes {} more memory than"),
    Measure("requests", "steady", "requests per second", _value("requests_per_s"), format_rate,
            "answers {} fewer requests than", "answers {} more requests than",
            ("fewer", "more")),
    Measure("latency", "steady", "latency of the 99th percentile", _value("latency_p99_s"), format_latency,
            "has a {} shorter latency (p99) than", "has a {} longer latency (p99) than",
            ("shorter", "longer")),
    Measure("density", "density", "memory of one of many copies", _value("each_bytes"), format_bytes,
            "takes {} less memory a copy than", "takes {} more memory a copy than"),
    Measure("minimum", "minimum", "least memory", _value("least_bytes"), format_bytes,
            "needs {} less memory at least than", "needs {} more memory at least than"))}
"""Every measure by name; ``boot`` is what is meant where none is named."""
