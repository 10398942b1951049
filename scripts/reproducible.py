"""Whether the same inputs give the same bytes in two worlds that have nothing else in common.

    scripts/torture.py reproducible [PRODUCT...]

Each world is a directory with a store, sources and temporary files of its own; scripts/artefacts.py makes everything
that unibeam writes in one after the other. They differ in all of :data:`FACTORS` at once, and what differs then is made
again with one factor at a time, so that the table names the one to blame, the file, and the first byte.

What both worlds are given is what took long to make or to fetch: kernels, the lean emulator, Debian's roots.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from unibeam_nb import process
from unibeam_nb.store import Store

ROOT = Path(__file__).resolve().parent.parent
GIVEN = ("kernels", "erts", "bases", "sources", "apt")
STRANGER = 12345
"""A user id that nobody has."""

TURKISH = "tr_TR.UTF-8"
"""The locale in which the capital of i is not I."""

FACTORS = ("user", "time zone", "clock", "locale", "umask", "hash seed", "file order", "path", "processors")


@dataclass(frozen=True)
class World:
    """Which of :data:`FACTORS` are not the usual ones, and what of them this host cannot do."""

    name: str
    other: frozenset[str] = frozenset()
    lacks: Mapping[str, str] = field(default_factory=dict)


Made = dict[str, dict[str, dict[str, str]]]
"""Product -> file -> its ``path`` and ``sha256``; or ``error``."""


@dataclass(frozen=True)
class Difference:
    """The first file of a product that is not the same, and its first byte that is not."""

    file: str
    offset: int | None
    why: str


def what_lacks() -> dict[str, str]:
    """The factors that cannot be changed on this host, with the reason."""
    lacks = {}
    if os.geteuid() != 0:
        lacks["user"] = "only root can start a program as somebody else"
    for factor, program in (("clock", "faketime"), ("file order", "disorderfs"), ("locale", "localedef"),
                            ("processors", "taskset")):
        if shutil.which(program) is None:
            lacks[factor] = f"{program} is not installed"
    if len(os.sched_getaffinity(0)) < 2:
        lacks["processors"] = "this host has one processor"
    return lacks


@contextmanager
def laid_out(world: World, below: Path, store: Store, kernel: Path) -> Iterator[Path]:
    """The world's directory, with what it is given."""
    real = below / ("a/rather/deep/path with a space" if "path" in world.other else "plain") / world.name
    (real / "store" / "cache").mkdir(parents=True)
    (real / "tmp").mkdir()
    for kind in GIVEN:
        if (store.cache / kind).is_dir():
            shutil.copytree(store.cache / kind, real / "store" / "cache" / kind, symlinks=True)
    shutil.copyfile(kernel, real / "osv.elf")
    with ExitStack() as stack:
        if "locale" in world.other:
            process.run(["localedef", "-i", TURKISH.partition(".")[0], "-f", "UTF-8", real / TURKISH], check=False)
        if "user" in world.other:
            below.chmod(0o755)
            for path in (real, *real.rglob("*")):
                os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
        seen = real
        if "file order" in world.other:
            seen = real.with_name(f"{world.name} seen")
            seen.mkdir()
            process.run(["disorderfs", "--multi-user=yes", "--sort-dirents=yes", "--reverse-dirents=yes", "-q", real,
                         seen])
            stack.callback(process.run, ["umount", seen], check=False)
        yield seen


def command(world: World, home: Path, products: Sequence[str], result: Path) -> list[str | Path]:
    """What starts scripts/artefacts.py in a world."""
    other = world.other
    words: list[str | Path] = ["env", "-C", home, f"TMPDIR={home / 'tmp'}", f"HOME={home}", f"PYTHONPATH={ROOT}",
                               "PYTHONDONTWRITEBYTECODE=1", f"MPLCONFIGDIR={home / 'tmp'}",
                               f"PYTHONHASHSEED={4242 if 'hash seed' in other else 0}",
                               f"TZ={'Pacific/Kiritimati' if 'time zone' in other else 'UTC'}",
                               f"LC_ALL={TURKISH if 'locale' in other else 'C.UTF-8'}",
                               *([f"LOCPATH={home}"] if "locale" in other else ())]
    if "processors" not in other and "processors" not in world.lacks:
        words += ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    if "user" in other:
        words += ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
    words += ["sh", "-c", f"umask {'077' if 'umask' in other else '022'}; exec \"$@\"", "sh"]
    if "clock" in other:
        words += ["faketime", "--exclude-monotonic", "-f", "+400d"]
    python = ROOT / ".venv" / "bin" / "python"
    return [*words, python, ROOT / "scripts" / "artefacts.py", home, result, *products]


def make(world: World, below: Path, store: Store, kernel: Path, products: Sequence[str]) -> Made:
    """Everything of a world. Its files stay below ``below``."""
    with laid_out(world, below, store, kernel) as home:
        process.run(command(world, home, products, home / "made.json"), timeout=3600)
        made: Made = json.loads((home / "made.json").read_text(encoding="utf-8"))
        real = home.with_name(world.name)
        return {name: {file: told if file == "error" else told | {"path": told["path"].replace(str(home), str(real))}
                       for file, told in files.items()} for name, files in made.items()}


def difference(first: Mapping[str, Mapping[str, str]], second: Mapping[str, Mapping[str, str]]) -> Difference | None:
    """Where two makings of one product part."""
    if "error" in first or "error" in second:
        told = sorted({str(made["error"]) for made in (first, second) if "error" in made})
        same = "error" in first and "error" in second
        return None if same else Difference("", None, f"made in one world only: {told[0]}")
    for name in sorted({*first, *second}):
        if name not in first or name not in second:
            return Difference(name, None, "is there in one world only")
        one, other = first[name], second[name]
        if one["sha256"] == other["sha256"]:
            continue
        if not (Path(one["path"]).is_file() and Path(other["path"]).is_file()):
            return Difference(name, None, f"is {one['sha256']} and {other['sha256']}")
        return Difference(name, first_byte(Path(one["path"]), Path(other["path"])), "")
    return None


def first_byte(one: Path, other: Path, size: int = 1 << 20) -> int | None:
    """The offset of the first byte in which two files differ; None where they do not."""
    at = 0
    with one.open("rb") as first, other.open("rb") as second:
        while True:
            left, right = first.read(size), second.read(size)
            if left != right:
                return at + next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
                                 min(len(left), len(right)))
            if not left:
                return None
            at += len(left)


def blamed(name: str, usual: Made, below: Path, store: Store, kernel: Path, lacks: Mapping[str, str]) -> list[str]:
    """The factors of which each alone changes this product."""
    found = []
    for factor in FACTORS:
        if factor in lacks:
            continue
        world = World(f"only {factor}", frozenset((factor,)), lacks)
        if difference(usual[name], make(world, below, store, kernel, (name,))[name]) is not None:
            found.append(factor)
    return found


@dataclass(frozen=True)
class Outcome:
    """What became of one product in both worlds: how many files it is, the digest of all of them, and where the two
    parted, by whose fault."""

    product: str
    files: int
    sha256: str
    difference: Difference | None = None
    blamed: tuple[str, ...] = ()
    untried: str = ""


def compare(store: Store, products: Sequence[str] = (), *, blame: bool = True) -> tuple[list[Outcome], dict[str, str]]:
    """Make ``products`` (all, if none are named) in two worlds; what came of each, and the factors not tried."""
    from unibeam_nb.store import digest

    lacks = what_lacks()
    with tempfile.TemporaryDirectory(prefix="unibeam-worlds-") as place:
        below = Path(place)
        kernel = below / "osv.elf"
        process.run([ROOT / "tests" / "integration" / "stand_in" / "build.sh", kernel])
        usual = make(World("usual", lacks=lacks), below, store, kernel, products)
        other = make(World("other", frozenset(FACTORS) - lacks.keys(), lacks), below, store, kernel, products)
        outcomes = []
        for name, files in usual.items():
            apart = difference(files, other[name])
            if "error" in files:
                outcomes.append(Outcome(name, 0, "", apart, untried=str(files["error"])))
                continue
            whole = digest({file: told["sha256"] for file, told in files.items()})
            guilty = tuple(blamed(name, usual, below, store, kernel, lacks)) if apart and blame else ()
            outcomes.append(Outcome(name, sum(told["sha256"] != "directory" for told in files.values()), whole, apart,
                                    guilty))
        return outcomes, lacks


def rows(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, ...]]:
    """The table: product, files, digest, what came out."""
    for made in outcomes:
        if made.untried:
            yield made.product, "", "", f"not tried: {made.untried}"
        elif made.difference is None:
            yield made.product, str(made.files), f"`{made.sha256[:16]}`", "the same"
        else:
            apart = made.difference
            where = f"byte {apart.offset}" if apart.offset is not None else apart.why
            by = f" ({', '.join(made.blamed)})" if made.blamed else ""
            yield made.product, str(made.files), f"`{made.sha256[:16]}`", f"**differs**: {apart.file}, {where}{by}"


if __name__ == "__main__":
    import sys

    for row in rows(compare(Store.default(), sys.argv[1:])[0]):
        print(" | ".join(row))
