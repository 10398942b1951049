"""Our PID 1, compiled once per source, compiler and C library."""

from __future__ import annotations

import platform
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import ImageError
from unibeam_nb.musl import COMPILER, c_library, compiler_version
from unibeam_nb.progress import step
from unibeam_nb.store import Store, digest, digest_file

GUEST = Path(__file__).parent.parent / "guest"
SOURCES = ("init.c", "basics.c", "system.c", "network.c", "dhcp.c", "cloud.c", "orders.c", "program.c", "watch.c",
           "data.c", "power.c")
HEADERS = ("init.h", "dhcp.h")
FLAGS = ("-static", "-std=gnu11", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-ffunction-sections",
         "-Wl,--gc-sections", "-Wl,-z,noseparate-code", "-Wl,--build-id=none")


def compiled_init(store: Store) -> Path:
    """The static executable. Raises ToolMissing without musl-gcc, and ImageError on a host that is not x86-64."""
    if platform.machine() != "x86_64":
        raise ImageError(f"linux images cannot be built on {platform.machine()} hosts.", "Use an x86-64 host.")
    compiler = tools.find(COMPILER)
    texts = [(GUEST / name).read_text(encoding="utf-8") for name in (*SOURCES, *HEADERS)]
    key = digest(texts, FLAGS, compiler_version(), digest_file(c_library()))[:32]

    def make(place: Path) -> None:
        with step("Compiling PID 1"):
            # Compiled from copies under fixed names, so that no path of this host gets in.
            for name in (*SOURCES, *HEADERS):
                (place / name).write_bytes((GUEST / name).read_bytes())
            process.run([compiler, *FLAGS, "-o", "init", *SOURCES], cwd=place, makes=(place / "init",))

    entry, _ = store.build("init", key, make)
    return entry / "init"
