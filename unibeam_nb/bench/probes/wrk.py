"""wrk(1), the load generator: its command line, and what it prints. Pure: values in, words and numbers out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from unibeam_nb.errors import BenchError, UsageError

PROGRAM = "wrk"

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_COUNT, _DECIMAL = r"([0-9]{1,18})", r"([0-9]{1,18}(?:\.[0-9]{1,9})?)"
_LATENCY = re.compile(rf"^ +(50|75|90|99)% +{_DECIMAL}(us|ms|s|m|h) *$", re.MULTILINE)
_TOTAL = re.compile(rf"^ *{_COUNT} requests in {_DECIMAL}(us|ms|s|m|h),", re.MULTILINE)
_RATE = re.compile(rf"^Requests/sec: +{_DECIMAL} *$", re.MULTILINE)
_BROKEN = re.compile(rf"^ *Socket errors: connect {_COUNT}, read {_COUNT}, write {_COUNT}, timeout {_COUNT}",
                     re.MULTILINE)
_REFUSED = re.compile(rf"^ *Non-2xx or 3xx responses: {_COUNT}", re.MULTILINE)


@dataclass(frozen=True)
class Load:
    """A fixed and bounded load: ``connections`` that each ask again as soon as they are answered, from one thread, for
    ``seconds`` after a warm-up of ``warmup`` seconds that is not counted. Raises UsageError for what makes no sense."""

    seconds: int = 5
    connections: int = 8
    warmup: int = 1

    def __post_init__(self) -> None:
        if not (1 <= self.seconds <= 600 and 1 <= self.connections <= 1000 and 0 <= self.warmup <= 600):
            raise UsageError("That load makes no sense.",
                             "A load lasts 1 to 600 seconds, over 1 to 1000 connections.")


@dataclass(frozen=True)
class Answers:
    """What a load got: ``latency`` in seconds by percentile, ``errors`` with bad answers and broken connections."""

    count: int
    seconds: float
    rate: float
    latency: dict[int, float]
    errors: int


def command(program: str, url: str, load: Load, seconds: int) -> tuple[str, ...]:
    """wrk's command line for ``seconds`` of this load. A question may take as long as a slow guest needs."""
    return (program, "--threads", "1", "--connections", str(load.connections), "--duration", f"{seconds}s",
            "--timeout", "10s", "--latency", url)


def parse(text: str) -> Answers:
    """Read wrk's report. Raises BenchError when it is none."""
    total, rate = _TOTAL.search(text), _RATE.search(text)
    latency = {int(share): float(number) * _UNITS[unit] for share, number, unit in _LATENCY.findall(text)}
    if not total or not rate or not {50, 90, 99} <= set(latency):
        raise BenchError("The report of wrk cannot be read.", "unibeam knows wrk 4.", text.splitlines()[-6:])
    broken, refused = _BROKEN.search(text), _REFUSED.search(text)
    errors = sum(map(int, broken.groups())) if broken else 0
    return Answers(int(total[1]), float(total[2]) * _UNITS[total[3]], float(rate[1]), latency,
                   errors + (int(refused[1]) if refused else 0))
