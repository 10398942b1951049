"""What a notebook's kernel runs under load, and what it says of itself: imported by `load.py` into a real kernel."""

from __future__ import annotations

import gc
import json
import os
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

from unibeam_nb.lab import Lab

NAME, FLOOD = "torture", "flood"

TEXT = """
-module(torture).
-export([start/0]).
start() -> io:format("ready~n"), ok.
"""

FLOOD_TEXT = """
-module(flood).
-export([start/0]).
start() ->
    Bytes = list_to_integer(os:getenv("BYTES", "1000000")),
    Line = [lists:duplicate(1023, $x), $\\n],
    Piece = iolist_to_binary(lists:duplicate(64, Line)),
    spawn(fun() -> pour(Bytes, Piece) end),
    ok.
pour(Left, _) when Left =< 0 -> io:put_chars("the flood is over\\n");
pour(Left, Piece) -> io:put_chars(Piece), pour(Left - byte_size(Piece), Piece).
"""

MIX = (("linux+tiny+resume@qemu", 80), ("linux+tiny@qemu", 8), ("release@process", 6), ("oci+scratch@crun", 6))
"""How many of 100 machines are on which arm."""


def self_portrait() -> dict[str, int]:
    """Descriptors, threads and resident bytes of this process, after a collection."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"descriptors": len(list(Path("/proc/self/fd").iterdir())), "threads": threading.active_count(),
            "resident": resident}


def one_after_another(count: int, seed: int, path: str) -> None:
    """Boot and stop ``count`` machines; after each tenth a line of JSON goes into ``path``."""
    lab, random = Lab(), Random(seed)
    arms, weights = zip(*MIX, strict=True)
    with Path(path).open("w") as out:
        for number in range(1, count + 1):
            arm = random.choices(arms, weights)[0]
            machine = lab.boot(NAME, arm=arm, mem_mb=64 if "qemu" in arm else 256)
            if not machine.alive:
                raise AssertionError(f"{machine!r} does not run")
            machine.stop(grace=None if random.random() < 0.2 else 0)
            del machine
            if number % 10 == 0:
                out.write(json.dumps({"machines": number} | self_portrait()) + "\n")
                out.flush()


def at_once(copies: int) -> dict[str, Any]:
    """So many copies of one machine at once, all alive at the end; what they occupy together, in bytes."""
    lab = Lab()
    first = lab.boot(NAME, arm="linux+tiny+resume@qemu", mem_mb=64)
    machines = [first]
    try:
        machines += lab.clones(first, copies - 1)
        alive = sum(machine.alive for machine in machines)
        total = sum(machine.memory().total for machine in machines)
        return {"alive": alive, "together": total, **self_portrait()}
    finally:
        for machine in machines:
            machine.stop(grace=0)


def flood(arm: str, size: int) -> dict[str, Any]:
    """Boot a machine that prints ``size`` bytes, follow its console to the last of them as a page in a notebook does,
    and say by how much this process has grown and what was kept on the disk."""
    lab = Lab()
    began, before = time.monotonic(), self_portrait()
    machine = lab.boot(FLOOD, arm=arm, env=(f"BYTES={size}",), deadline=120)
    most_memory, most_disk, over, read = before["resident"], 0, False, 0
    try:
        for text in machine.console.follow(timeout=1500):
            read += len(text)
            over = over or "the flood is over" in text
            status = machine.console.path.stat()
            most_disk = max(most_disk, status.st_blocks * 512)
            most_memory = max(most_memory, int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
            if over:
                break
        printed = machine.console.path.stat().st_size
        shown = len(machine.console.text())
        time.sleep(1.5)
        left = machine.console.path.stat().st_blocks * 512
    finally:
        machine.stop(grace=0)
    return {"printed": printed, "read": read, "over": over, "grew": most_memory - before["resident"], "shown": shown,
            "most_disk": most_disk, "left_on_disk": left, "kept": len(machine.console.raw()),
            "seconds": time.monotonic() - began}
