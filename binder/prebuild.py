"""Make what a Binder's sessions need, while its image is built: kernels and the images of the quickstart's program.

A step that cannot be done is told with its reason, and what comes after makes do without: where the tiny kernel does
not compile in time there is the distribution's, and where that cannot be fetched releases run as processes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat

from unibeam_nb.arms import Arm
from unibeam_nb.errors import UnibeamError
from unibeam_nb.job import Job
from unibeam_nb.lab import Lab

LIMIT = float(os.environ.get("UNIBEAM_BINDER_KERNEL_SECONDS", "2400"))
"""Seconds that compiling a kernel may take: some fifteen minutes of one processor, and a build has an hour or less."""


def quickstart() -> str:
    """The program of the quickstart, so that its first cell finds everything made."""
    path = Path(__file__).resolve().parent.parent / "notebooks" / "01_quickstart.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    return str(next(cell.source for cell in cells if cell.source.startswith("%%unibeam build"))).partition("\n")[2]


def attempt(what: str, work: Callable[[], Any], limit: float = 900.0) -> bool:
    """Do one thing within ``limit`` seconds and say how it went."""
    began = time.monotonic()
    job = Job(what, work).start()
    try:
        if not job.wait(limit):
            job.cancel()
            job.wait(60)
            print(f"{what}: not done in {limit:.0f} s", flush=True)
            return False
        job.result()
    except UnibeamError as error:
        print(f"{what}: not to be had. {error}", flush=True)
        return False
    print(f"{what}: done in {time.monotonic() - began:.0f} s", flush=True)
    return True


def main() -> int:
    lab = Lab()
    stock = attempt("the distribution's kernel", lab.stock_kernel)
    tiny = attempt("a tiny kernel", lab.build_tiny_kernel, LIMIT)
    made = attempt("the quickstart's release", lambda: lab.build(
        "hello", text=quickstart(), ports=(8080,), target="linux" if stock else "release"))
    if made and tiny:
        attempt("its image with the tiny kernel", lambda: lab.image(lab.named("hello"), Arm.parse("linux+tiny@qemu")))
    if tiny or stock:
        attempt("the accelerator", lambda: lab.doctor(prove=True))
    return 0 if made else 1


if __name__ == "__main__":
    sys.exit(main())
