"""Answers per second and their latency under a fixed load on 127.0.0.1, and what an answer costs in processor time.

Load generator and machine share the host. Where it has two cores or more, the generator gets the last one for itself
and the machine, VMM included, all others, in every arm alike; otherwise both would take from each other, and from
the slower arm more. On one core that cannot be helped: ``server_cores_count`` and ``load_cores_count`` say how it was.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from unibeam_nb import process, tools
from unibeam_nb.bench.probes import wrk
from unibeam_nb.bench.probes.wrk import Answers, Load
from unibeam_nb.errors import BenchError, UsageError
from unibeam_nb.machine.console import Console
from unibeam_nb.machine.proc import ProcessId, cpu_seconds, threads
from unibeam_nb.progress import step


class Served(Protocol):
    """What is asked of a machine."""

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str | None: ...
    @property
    def console(self) -> Console: ...
    def processes(self) -> Sequence[ProcessId]: ...


def steady(machine: Served, load: Load = Load()) -> dict[str, float]:
    """Ask the machine as ``load`` says. Raises UsageError where it serves no HTTP, ToolMissing without wrk, and
    BenchError when it stops answering."""
    url = machine.url
    if url is None or not url.startswith(("http://", "https://")):
        raise UsageError(f"{machine.name} serves no HTTP, which the load needs.",
                         "Build it with --port 8080 and measure with --http /.")
    program = str(tools.find(wrk.PROGRAM))
    members = machine.processes()
    with step(f"Asking {machine.name} for {load.warmup + load.seconds} s"), apart(members) as (server, loader):
        pinned = () if loader is None else ("taskset", "--cpu-list", str(loader))

        def ask(seconds: int) -> Answers:
            done = process.run((*pinned, *wrk.command(program, url, load, seconds)), timeout=seconds + 60, check=False)
            if done.code == 0 and (answers := wrk.parse(done.stdout)).count:
                return answers
            raise BenchError(f"{machine.name} stopped answering under load.",
                             "It answered while booting: does it survive a client that hangs up?",
                             [*done.stderr.splitlines()[-2:], *machine.console.tail(6)])

        if load.warmup:
            ask(load.warmup)
        before = cpu_seconds(members)
        answers = ask(load.seconds)
        spent = cpu_seconds(members) - before
    return {"requests_per_s": answers.rate, "latency_p50_s": answers.latency[50],
            "latency_p90_s": answers.latency[90], "latency_p99_s": answers.latency[99],
            "errors_count": answers.errors, "requests_count": answers.count,
            "connections_count": load.connections, "load_s": answers.seconds,
            "cpu_per_request_s": spent / answers.count, "server_cores_count": server,
            "load_cores_count": 0 if loader is None else 1}


@contextmanager
def apart(members: Sequence[ProcessId]) -> Iterator[tuple[int, int | None]]:
    """Keep these processes off the last core inside the ``with`` block.

    Gives how many cores they have, and the core that is free for the load; None where there is but one core, or where
    the processes may not be moved.
    """
    cores = sorted(os.sched_getaffinity(0))
    before: dict[int, set[int]] = {}
    moved = len(cores) > 1
    try:
        if moved:
            for thread in (t for member in members for t in threads(member)):
                with contextlib.suppress(ProcessLookupError):
                    before[thread] = os.sched_getaffinity(thread)
                    os.sched_setaffinity(thread, cores[:-1])
    except OSError:  # They belong to somebody else, or their control group has not these cores.
        moved = False
        _give_back(before)
    try:
        yield (len(cores) - 1, cores[-1]) if moved else (len(cores), None)
    finally:
        _give_back(before)


def _give_back(before: dict[int, set[int]]) -> None:
    for thread, cores in before.items():
        with contextlib.suppress(OSError):
            os.sched_setaffinity(thread, cores)
