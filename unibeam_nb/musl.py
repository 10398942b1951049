"""The C compiler and the C library of static programs: what PID 1 and the lean emulator are made with."""

from __future__ import annotations

import os
import re
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import ImageError

COMPILER = "musl-gcc"
"""musl's programs are half as large as glibc's when both are static, and look names up without loading anything."""


def c_library() -> Path:
    """The C library that is linked in: the first one on the linker's way. musl-gcc is a script around the host's gcc,
    which names glibc's when it is asked (``-print-file-name``)."""
    linking = process.run([tools.find(COMPILER), "-###", "-static", "-x", "c", os.devnull], timeout=60).stderr
    folders = re.findall(r"(?<=\s)\"?-L([^\s\"]+)", linking)
    found = next((Path(folder) / "libc.a" for folder in folders if (Path(folder) / "libc.a").is_file()), None)
    if found is None:
        raise ImageError("The C library for static programs is not on this host.",
                         f"Install it: {tools.install_command(COMPILER)}")
    return found.resolve()


def compiler_version() -> str:
    """What the C compiler behind musl-gcc calls itself, for example ``12.2.0``."""
    return process.run([tools.find(COMPILER), "-dumpfullversion"], timeout=60).stdout.strip()
