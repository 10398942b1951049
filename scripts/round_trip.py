"""How long it takes to ask a running machine something, on every runner: medians of 100 expressions.

    scripts/round_trip.py [N [ARM...]]     print them
    scripts/round_trip.py --write          and rewrite their part of BENCHMARKS.md

One round trip is ``lab.eval`` from call to value: a new connection, compiling on the host, loading, running, and the
answer. Compiler and machine have been used once before. Run nothing else beside it.
"""

from __future__ import annotations

import sys
from statistics import median, quantiles

from figures import fill

from unibeam_nb.errors import UnibeamError
from unibeam_nb.lab import Lab

ARMS = ("release@process", "oci+scratch@crun", "oci+scratch@podman", "linux+tiny@qemu", "linux+tiny+lean@qemu",
        "linux+tiny+resume@qemu", "linux@qemu", "linux@uml")
SOURCE = "-module(idle). -export([start/0]). start() -> ok."


def measure(lab: Lab, arm: str, count: int) -> list[float]:
    """``count`` round trips with a machine of this arm, in seconds."""
    machine = lab.boot("round-trip", arm=arm, channel=True, deadline=300)
    try:
        lab.eval(machine.id, "1 + 1.")
        return [lab.eval(machine.id, f"{number} + 1.").round_trip for number in range(count)]
    finally:
        machine.stop()


def table(lab: Lab, count: int = 100, arms: tuple[str, ...] = ARMS) -> str:
    """One row an arm, as Markdown."""
    lab.build("round-trip", text=SOURCE, language="erlang", target="release")
    lines = ["| arm | n | median | 95 of 100 within |", "|---|---|---|---|"]
    for arm in arms:
        try:
            times = measure(lab, arm, count)
            within = quantiles(times, n=20)[-1]
            lines.append(f"| `{arm}` | {count} | {median(times) * 1e3:.1f} ms | {within * 1e3:.1f} ms |")
        except UnibeamError as error:
            lines.append(f"| `{arm}` | 0 | {error.message} | |")
    return "\n".join(lines)


def main(words: list[str]) -> None:
    if words == ["--write"]:
        found = table(Lab())
        fill("round trips", found)
    else:
        found = table(Lab(), int(words[0]) if words else 100, tuple(words[1:]) or ARMS)
    print(found)


if __name__ == "__main__":
    main(sys.argv[1:])
