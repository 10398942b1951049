"""500 machines one after another, 32 at once, and a guest that prints 1 GB, out of one real notebook kernel."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import Any

from tortures import ROOT, Options, share

COUNT, AT_ONCE = 500, 32
GIGABYTE = 10 ** 9

SLOPE = 4096
"""Bytes of resident memory a machine by which a kernel may grow: what is fitted to noise, not a leak. 500 machines
would be 2 MB."""

WARM = 0.2
"""The part of the machines that is not counted: imports, caches, the allocator's own growth."""

GROWTH = 32 << 20
"""Bytes by which a kernel may grow while a guest prints a gigabyte: what is kept of a console, as bytes and as text, a
few times over."""

ON_DISK = 64 << 20
"""Bytes of a console on the disk at any moment, since who keeps consoles short is woken by what is written, and looks
20 to 50 times a second then."""


class Kernel:
    """A real ipykernel with a store of its own, which knows what takes minutes to make."""

    def __init__(self, base: Path) -> None:
        from jupyter_client.manager import KernelManager

        cache = base / "home/cache"
        share(cache)
        self.manager = KernelManager(kernel_name="python3")
        paths = os.pathsep.join((str(ROOT / "scripts"), str(ROOT)))
        self.manager.start_kernel(env=os.environ | {"UNIBEAM_HOME": str(base / "home"), "PYTHONPATH": paths})
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.base = base
        self.value("None", "from tortures import growth\n%load_ext unibeam_nb")
        self.value("None", "_ = growth.Lab().build('torture', text=growth.TEXT, kernel='tiny')")
        self.value("None", "_ = growth.Lab().build('flood', text=growth.FLOOD_TEXT, kernel='tiny')")

    def value(self, expression: str, before: str = "") -> Any:
        """Run a cell and return what an expression is worth then, as JSON. Raises RuntimeError with what it raised."""
        path = self.base / "value.json"
        cell = f"{before}\nimport json, pathlib\n_ = pathlib.Path({str(path)!r}).write_text(json.dumps({expression}))"
        reply = self.client.execute_interactive(cell, timeout=None, store_history=False, output_hook=lambda _: None)
        content = reply["content"]
        if content["status"] != "ok":
            raise RuntimeError(f"{content['ename']}: {content['evalue']}")
        return json.loads(path.read_text())

    def close(self) -> None:
        """End the kernel and all that it started."""
        self.value("None", "_ = growth.Lab().clean()")
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def slope(points: list[tuple[float, float]]) -> float:
    """The median of the slopes of all pairs of points (Theil and Sen): one hump does not change it."""
    return statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2))


def run(options: Options) -> bool:
    """All three; whether all held."""
    base = Path(tempfile.mkdtemp(prefix="torture-load-"))
    kernel = Kernel(base)
    try:
        held = [at_once(kernel), *(flood(kernel, arm, size) for arm, size in floods(options)),
                one_after_another(kernel, options.count or COUNT, options.seed)]
        return all(held)
    finally:
        kernel.close()
        shutil.rmtree(base, ignore_errors=True)


def floods(options: Options) -> list[tuple[str, int]]:
    """A gigabyte from a guest whose console is as fast as the host, and less from one whose serial line is emulated."""
    part = (options.count or COUNT) / COUNT
    return [("linux@uml", int(GIGABYTE * part)), ("release@process", int(GIGABYTE * part)),
            ("linux+tiny@qemu", int(GIGABYTE * part / 50))]


def one_after_another(kernel: Kernel, count: int, seed: int) -> bool:
    """Machines one after another; whether the kernel has not grown."""
    path, began = kernel.base / "growth.jsonl", time.monotonic()
    kernel.value("None", f"growth.one_after_another({count}, {seed}, {str(path)!r})")
    taken = [json.loads(line) for line in path.read_text().splitlines()]
    warm = [one for one in taken if one["machines"] > WARM * count]
    per_machine = slope([(one["machines"], one["resident"]) for one in warm])
    first, last = warm[0], warm[-1]
    held = per_machine <= SLOPE and last["descriptors"] <= first["descriptors"] and last["threads"] <= first["threads"]
    print(f"    {count} machines one after another in {time.monotonic() - began:.0f} s; from the {first['machines']}th "
          f"on: descriptors {first['descriptors']} -> {last['descriptors']}, threads {first['threads']} -> "
          f"{last['threads']}, resident {first['resident'] / 1e6:.1f} -> {last['resident'] / 1e6:.1f} MB, "
          f"{per_machine:.0f} bytes a machine (at most {SLOPE})" + ("" if held else "  DID NOT HOLD"), flush=True)
    return held


def at_once(kernel: Kernel) -> bool:
    """Copies at once, and more of them than any host can hold: refused, with the number that would fit."""
    found = kernel.value(f"growth.at_once({AT_ONCE})")
    print(f"    {AT_ONCE} copies at once: {found['alive']} alive, {found['together'] / 1e6:.0f} MB together")
    try:
        kernel.value("growth.at_once(100_000)")
        refused = "not refused"
    except RuntimeError as error:
        refused = str(error)
    print(f"    100000 copies: {refused}", flush=True)
    return found["alive"] == AT_ONCE and "would fit" in refused


def flood(kernel: Kernel, arm: str, size: int) -> bool:
    """A guest that prints and prints; whether neither the kernel nor the disk noticed."""
    found = kernel.value(f"growth.flood({arm!r}, {size})")
    held = found["printed"] >= size and found["over"] and found["grew"] <= GROWTH and found["most_disk"] <= ON_DISK
    print(f"    {arm} printed {found['printed'] / 1e6:.0f} MB in {found['seconds']:.0f} s: the kernel grew by at most "
          f"{found['grew'] / 1e6:.1f} MB, the console had at most {found['most_disk'] / 1e6:.1f} MB on the disk and "
          f"{found['left_on_disk'] / 1e6:.1f} MB after, {found['kept'] / 1e6:.2f} MB are kept"
          + ("" if held else "  DID NOT HOLD"), flush=True)
    return bool(held)
