"""Thousands of QEMUs, more at once than there are processors: does each hear its first orders?

A QEMU whose control socket is open before somebody is connected to it greets and then never hears about one in a
thousand; so the same is done without what keeps unibeam from that, to show that this would be noticed here.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tortures import Options
from unibeam_nb import process, tools
from unibeam_nb.errors import MachineError
from unibeam_nb.machine import qmp
from unibeam_nb.machine.qemu_arguments import PRIVATELY, PROGRAM, common

COUNT = 4000
PATIENCE = 10.0
"""Seconds after which a QEMU has not heard; one that has takes a tenth of one."""

WAITING, AT_ONCE = "server=on,wait=on", "server=on,wait=off"


def words(*, waiting: bool) -> tuple[str, ...]:
    """The command line of a machine that has a processor and memory, and nothing to run."""
    usual = (*common("microvm", "max", 1, 32, "memory-backend-memfd,id=ram,size=32M,share=on"), PRIVATELY)
    return usual if waiting else tuple(word.replace(WAITING, AT_ONCE) for word in usual)


def heard(line: Sequence[str]) -> float | None:
    """Start one QEMU and let its guest run. Returns the seconds until it does; None where it did not hear."""
    with tempfile.TemporaryDirectory(prefix="torture-starts-") as name:
        directory, began = Path(name), time.monotonic()
        with (directory / "vmm.log").open("wb") as output:
            child = process.spawn((tools.find(PROGRAM), *line), stdout=output, cwd=directory,
                                  env=process.mark(directory))
        try:
            runs = qmp.run_guest(directory, lambda: child.poll() is None, PATIENCE, line="")
            return None if runs is None else time.monotonic() - began
        except MachineError:
            return None
        finally:
            process.stop_group(child, grace=0.0)


def run(options: Options) -> bool:
    """Start them all both ways; whether those that are started as unibeam does have all heard."""
    count, beside = options.count or COUNT, 2 * (os.cpu_count() or 1)
    found = {}
    for waiting in (True, False):
        line = words(waiting=waiting)
        with ThreadPoolExecutor(beside) as pool:
            taken = list(pool.map(heard, [line] * count))
        times = [one for one in taken if one is not None]
        found[waiting] = count - len(times)
        how = "as unibeam starts them" if waiting else "without waiting for a connection"
        print(f"    {count} QEMUs, {beside} at once, {how}: {found[waiting]} never heard, the slowest of the "
              f"others ran after {max(times, default=0.0) * 1000:.0f} ms", flush=True)
    return not found[True]
