"""Programs that build find their directory at the same path on every host, for every user.

Compilers leave the path of a file in what they make where a program asks for it (``__FILE__``, ``?FILE``, and every
call of Elixir's Logger). So a build happens in a mount namespace of its own (mount_namespaces(7)), in which its
directory lies at :data:`PLACE`. Where a host allows no such namespace (a container, a distribution that forbids them to
users), the directory stays where it is, and what asks for its path gets that one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import ToolMissing, UnibeamError
from unibeam_nb.process import Completed

PLACE = Path("/mnt")
"""What every Linux has for file systems that are mounted for a while (Filesystem Hierarchy Standard 3.0, 3.12)."""

NOT_THERE = 127
"""The exit status of sh(1) for a program that it does not find."""

ENTER = 'mount --bind "$1" "$2" && cd "$3" && shift 3 && exec "$@"'
"""What is run in the new namespace, in words of sh(1): given directory, place, where to begin, the program's words."""


def run(argv: Sequence[str | Path], work: Path, *, cwd: Path, env: Mapping[str, str], timeout: float,
        needs: Sequence[Path] = ()) -> Completed:
    """Run a program that builds in ``work``, from ``cwd`` on, to its end, whatever its exit status.

    Its words and what it prints name that directory as the caller does. ``needs`` are paths that it may look at, too.
    Raises ToolMissing, ProgramTimeout, Cancelled (:func:`unibeam_nb.process.run`).
    """
    words = [str(word) for word in argv]
    if not possible(Path(words[0]), *needs):
        return process.run(words, cwd=cwd, env=env, timeout=timeout, check=False)
    inside = [word.replace(str(work), str(PLACE)) for word in (str(cwd), *words)]
    done = process.run([*_namespace(), "sh", "-c", ENTER, "sh", work, PLACE, *inside], cwd=work, env=env,
                       timeout=timeout, check=False)
    if done.code == NOT_THERE and not Path(words[0]).exists():
        raise ToolMissing(f"{words[0]} is not on this host.", "Run 'unibeam doctor' to see what is missing.")
    out, err = (text.replace(f"{PLACE}/", f"{work}/") for text in (done.stdout, done.stderr))
    return Completed(tuple(words), done.code, out, err)


def possible(*needs: Path) -> bool:
    """Whether this host allows it, and nothing that is needed lies below the place that would be hidden."""
    home = Path(os.environ.get("HOME", "/"))
    return not any(path.resolve().is_relative_to(PLACE) for path in (home, *needs)) and _allowed()


def _namespace() -> tuple[str | Path, ...]:
    own = () if os.geteuid() == 0 else ("--user", "--map-current-user", "--keep-caps")
    return (tools.find("unshare"), *own, "--mount", "--propagation", "private")


@lru_cache(maxsize=1)
def _allowed() -> bool:
    """Tried out, once per process: nothing else tells."""
    try:
        with tempfile.TemporaryDirectory(prefix="unibeam-trial-") as place:
            done = process.run([*_namespace(), "sh", "-c", ENTER, "sh", place, PLACE, PLACE, "sh", "-c", ": > written"],
                               timeout=30, check=False)
            return done.code == 0 and (Path(place) / "written").is_file()
    except UnibeamError:
        return False
