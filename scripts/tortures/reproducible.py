"""Whether the same inputs give the same bytes in two worlds that have nothing else in common.

    scripts/torture.py reproducible

Each world is a directory with a store, sources and temporary files of its own; artefacts.py makes everything that
unibeam writes in one after the other. They differ in all of :data:`FACTORS` at once, and what differs then is made
again with one factor at a time, so that the table names the one to blame, the file, and the first byte.

What both worlds are given is what took long to make or to fetch: kernels, the lean emulator, Debian's roots.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from tortures import ROOT, Options
from tortures.page import table, write_section
from unibeam_nb import process
from unibeam_nb.store import Store, digest

GIVEN = ("kernels", "erts", "bases", "sources", "apt")
STRANGER = 12345
"""A user id that nobody has."""

AS_STRANGER = (f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups")

TURKISH = "tr_TR.UTF-8"
"""The locale in which the capital of i is not I."""

FACTORS = ("user", "time zone", "clock", "locale", "umask", "hash seed", "file order", "path", "processors")


@dataclass(frozen=True)
class World:
    """Which of :data:`FACTORS` are not the usual ones, and what of them this host cannot do; what of a store it is
    ``given``."""

    name: str
    other: frozenset[str] = frozenset()
    lacks: Mapping[str, str] = field(default_factory=dict)
    given: tuple[str, ...] = GIVEN


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
    elif not _is_for_strangers(*python()):
        lacks["user"] = "this Python lies where nobody else can start it"
    for factor, program in (("clock", "faketime"), ("file order", "disorderfs"), ("locale", "localedef"),
                            ("processors", "taskset")):
        if shutil.which(program) is None:
            lacks[factor] = f"{program} is not installed"
    if len(os.sched_getaffinity(0)) < 2:
        lacks["processors"] = "this host has one processor"
    return lacks


@lru_cache(maxsize=1)
def python() -> tuple[Path, str]:
    """The Python that makes both worlds, and where it finds modules (``PYTHONPATH``): our own, or where that lies in
    somebody's home, the host's of the same version with our packages."""
    own = (Path(sys.executable), str(ROOT))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    hosts = (Path("/usr/bin") / version, f"{ROOT}{os.pathsep}{sysconfig.get_path('purelib')}")
    return next((each for each in (own, hosts) if _is_for_strangers(*each)), own)


def _is_for_strangers(program: Path, path: str) -> bool:
    """Whether another user can start it. ``env`` starts it, when the rights of root are gone."""
    words = ["setpriv", *AS_STRANGER, "env", f"PYTHONPATH={path}", program, "-c", "import unibeam_nb, zstandard"]
    return program.is_file() and process.run(words, check=False).code == 0


@contextmanager
def laid_out(world: World, below: Path, store: Store, kernel: Path) -> Iterator[Path]:
    """The world's directory, with what it is given."""
    real = below / ("a/rather/deep/path with a space" if "path" in world.other else "plain") / world.name
    (real / "store" / "cache").mkdir(parents=True)
    (real / "tmp").mkdir()
    for kind in world.given:
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
    """What starts artefacts.py in a world."""
    other = world.other
    program, path = python()
    words: list[str | Path] = ["env", "-C", home, f"TMPDIR={home / 'tmp'}", f"HOME={home}", f"PYTHONPATH={path}",
                               "PYTHONDONTWRITEBYTECODE=1", f"MPLCONFIGDIR={home / 'tmp'}",
                               f"PYTHONHASHSEED={4242 if 'hash seed' in other else 0}",
                               f"TZ={'Pacific/Kiritimati' if 'time zone' in other else 'UTC'}",
                               f"LC_ALL={TURKISH if 'locale' in other else 'C.UTF-8'}",
                               *([f"LOCPATH={home}"] if "locale" in other else ())]
    if "processors" not in other and "processors" not in world.lacks:
        words += ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    if "user" in other:
        words += ["setpriv", *AS_STRANGER]
    words += ["sh", "-c", f"umask {'077' if 'umask' in other else '022'}; exec \"$@\"", "sh"]
    if "clock" in other:
        words += ["faketime", "--exclude-monotonic", "-f", "+400d"]
    return [*words, program, Path(__file__).with_name("artefacts.py"), home, result, *products]


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
    # What an image notes of itself differs wherever the image does, and tells less.
    for name in sorted({*first, *second}, key=lambda name: (name.endswith(("manifest.json", "contents.json")), name)):
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


def blamed(apart: Sequence[str], usual: Made, below: Path, store: Store, kernel: Path,
           lacks: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """For each of the products ``apart`` the factors that change it alone."""
    found: dict[str, tuple[str, ...]] = dict.fromkeys(apart, ())
    for factor in FACTORS if apart else ():
        if factor not in lacks:
            made = make(World(f"only {factor}", frozenset((factor,)), lacks), below, store, kernel, apart)
            found |= {name: (*found[name], factor) for name in apart if difference(usual[name], made[name]) is not None}
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


def compare(store: Store, products: Sequence[str] = (), *, lacks: Mapping[str, str] | None = None,
            given: tuple[str, ...] = GIVEN) -> list[Outcome]:
    """Make ``products`` (all, if none are named) in two worlds that differ in all factors but those in ``lacks`` and
    are ``given`` these parts of ``store``; what came of each."""
    lacks = what_lacks() if lacks is None else lacks
    with tempfile.TemporaryDirectory(prefix="unibeam-worlds-", ignore_cleanup_errors=True) as place:
        below = Path(place)
        kernel = below / "osv.elf"
        process.run([ROOT / "tests" / "integration" / "stand_in" / "build.sh", kernel])
        usual = make(World("usual", lacks=lacks, given=given), below, store, kernel, products)
        other = make(World("other", frozenset(FACTORS) - lacks.keys(), lacks, given), below, store, kernel, products)
        parted = {name: apart for name in usual if (apart := difference(usual[name], other[name])) is not None}
        guilty = blamed([name for name in parted if name not in EXPECTED], usual, below, store, kernel, lacks)
        return [_outcome(name, files, parted.get(name), guilty.get(name, ())) for name, files in usual.items()]


def _outcome(name: str, files: Mapping[str, Any], apart: Difference | None, guilty: tuple[str, ...]) -> Outcome:
    if "error" in files:
        return Outcome(name, 0, "", apart, guilty, str(files["error"]))
    told = {file: each["sha256"] for file, each in files.items()}
    return Outcome(name, sum(each != "directory" for each in told.values()), digest(told), apart, guilty)


def rows(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, ...]]:
    """The table: product, files, digest, what came out."""
    for made in outcomes:
        if made.difference is not None:
            apart = made.difference
            where = f"byte {apart.offset}" if apart.offset is not None else apart.why
            by = f"; because of {' or '.join(made.blamed)} alone" if made.blamed else ""
            told = f"**differs**: `{apart.file}`, {where}{by}"
        else:
            told = f"not tried: {made.untried}" if made.untried else "the same"
        yield made.product, str(made.files or ""), f"`{made.sha256[:16]}`" if made.sha256 else "", told


EXPECTED = {"data disk": "a disk that a machine writes to, with an identity of its own: no artefact, and not promised"}
"""What may differ, and why."""


def run(options: Options) -> bool:
    """Everything in two worlds, and the section of RELIABILITY.md; whether all but :data:`EXPECTED` was the same."""
    from tortures.artefacts import ARMS

    prepare(Store.default(), ARMS)
    lacks = what_lacks()
    outcomes = compare(Store.default(), lacks=lacks)
    report(outcomes, lacks)
    return all(made.difference is None for made in outcomes if made.product not in EXPECTED)


def prepare(store: Store, arms: Sequence[str]) -> None:
    """Make what the worlds are given, where the store has it not yet: kernels, an emulator, Debian's roots."""
    from unibeam_nb.arms import Arm
    from unibeam_nb.errors import UnibeamError
    from unibeam_nb.lab import Lab

    lab = Lab(store)
    build = lab.build("reproducible", text=SMALLEST, target="release")
    for arm in arms:
        with suppress(UnibeamError):  # What cannot be had here is told as not tried.
            lab.image(build, Arm.parse(arm))


SMALLEST = "-module(reproducible). -export([start/0]). start() -> ok."


def report(outcomes: Sequence[Outcome], lacks: Mapping[str, str]) -> None:
    """Print what came out, and write it to the section."""
    for row in rows(outcomes):
        print("    " + " | ".join(filter(None, row)), flush=True)
    same = sum(made.difference is None and not made.untried for made in outcomes)
    tried = [factor for factor in FACTORS if factor not in lacks]
    write_section("Reproducible", "\n\n".join([
        f"{same} of {len(outcomes)} kinds of artefact came out the same, byte for byte, in two worlds that differ in "
        f"{', '.join(tried)}, all at once (`scripts/torture.py reproducible`). A digest is that of all its files.",
        WORLDS, *[f"Not varied here: {factor}, because {why}." for factor, why in lacks.items()],
        table(("made", "files", "digest", "in the other world"), list(rows(outcomes))),
        "May differ:\n\n" + "\n".join(f"- {name}: {why}." for name, why in EXPECTED.items())]))


WORLDS = """| | one world | the other |
|---|---|---|
| user | root | a user id that nobody has |
| time zone, clock | UTC, now | Pacific/Kiritimati (UTC+14), 400 days later |
| locale | C.UTF-8 | tr_TR.UTF-8 |
| umask, hash seed | 022, 0 | 077, 4242 |
| file order | the file system's | reversed by disorderfs, which also tells no kinds of files |
| path | short | longer, with a space; store, sources and temporary files |
| processors | one | all |

Both get the same kernels, lean emulator and Debian roots, which take minutes to make or fetch, and the same sources."""
