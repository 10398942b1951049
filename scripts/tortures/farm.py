"""A PATH of our own, on which one program can misbehave: a wrapper around the real one, at one of its calls."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin")

AT_CALL = {
    "hangs": "exec sleep 100000",
    "fails": "echo 'the disk is on fire' >&2; exit 3",
    "garbage": "head -c 65536 /dev/urandom; exit 0",
}
"""What a wrapper does instead of the real program, in words of sh(1)."""


def plant(place: Path) -> Path:
    """A directory with a link to every program of this host, which is all that a work finds."""
    place.mkdir(parents=True)
    for directory in (*os.environ["PATH"].split(os.pathsep), *DIRECTORIES):
        if Path(directory).is_dir():
            for program in Path(directory).iterdir():
                link = place / program.name
                if not link.is_symlink():
                    link.symlink_to(program)
    return place


def misbehave(place: Path, farm: Path, tool: str, how: str, call: int) -> None:
    """Make ``tool`` of ``farm`` misbehave at its call number ``call``, counted in ``place``."""
    real = shutil.which(tool, path=str(farm))
    assert real is not None, f"{tool} is not on this host"
    target, wrapper, count = Path(real).readlink(), farm / tool, place / "calls"
    wrapper.unlink()
    if how == "vanishes" and call == 1:
        return
    deed = f'[ "$n" -ne {call} ] || {{ {AT_CALL[how]}; }}' if how != "vanishes" else \
        f'[ "$n" -ne {call - 1} ] || rm {wrapper}'
    wrapper.write_text(f"#!/bin/sh\necho x >> {count}\nn=$(wc -l < {count})\n{deed}\nexec {target} \"$@\"\n")
    wrapper.chmod(0o755)


def mend(farm: Path, tool: str, real: Path) -> None:
    """Put the real program back."""
    (farm / tool).unlink(missing_ok=True)
    (farm / tool).symlink_to(real)
