"""A lean emulator: unmodified OTP from the distribution's source package, configured for images.

It is static, so an image needs no shared libraries; it interprets instead of compiling every module it loads,
because what dominates a start is exactly that compiling; and only the four programs that a release needs are
built. An entry ``erts/KEY`` holds ``erts-VSN/bin`` and ``erts.json``; KEY stands for source, options and compiler.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import ImageError
from unibeam_nb.jsonable import dump
from unibeam_nb.musl import COMPILER, c_library, compiler_version
from unibeam_nb.progress import checkpoint, progress, step
from unibeam_nb.release.assemble import ERTS_PROGRAMS
from unibeam_nb.release.erts.runtime import Erts, erts_at
from unibeam_nb.release.erts.source import Source, erlang_source, installed_version
from unibeam_nb.release.workplace import build_directory
from unibeam_nb.store import Store, digest, digest_file

KIND = "erts"

CONFIGURE = (
    "--disable-jit",          # interpret: nothing is compiled at start, and no executable memory is made
    "--enable-builtin-zlib",  # OTP's own copy, so that no library is needed
    "--without-termcap",      # no line editing: an image has a console, not a terminal
    "--disable-sctp", "--disable-pie",
    # Applications whose native parts are not built; they would only be looked at by configure.
    *(f"--without-{name}" for name in ("ssl", "crypto", "wx", "odbc", "javac", "jinterface", "megaco", "snmp",
                                       "common_test", "debugger", "observer", "et")))

FLAGS = {"CC": COMPILER, "CFLAGS": "-O2 -g0", "LDFLAGS": "-static -s -Wl,--build-id=none"}
"""No difference in speed between musl and glibc beyond the noise was seen; OTP has allocators of its own. Tried with
glibc, -Os made the emulator a fifth smaller and computing Erlang code about a sixth slower."""

PATIENCE = 3600.0
"""Seconds that one step of the build may take."""

_TELLING = re.compile(r"\berror\b|undefined reference|cannot find|No space left|\bnot found\b|fatal:", re.IGNORECASE)
_NOISE = re.compile(r"^make(\[\d+\])?: (Entering|Leaving)|warning:|^checking ")


def build_lean(store: Store, otp: str) -> Erts:
    """The lean emulator of this OTP version, compiled where the store has none (some minutes).

    Raises ImageError when its source cannot be had or does not compile, ToolMissing without a compiler; nothing is
    kept of a build that fails or is stopped.
    """
    recipe = _recipe()
    for made in known_lean(store, recipe):
        if made.otp == otp and _is_current(made):
            return made
    for command in ("make", "perl", "dpkg-source"):
        tools.find(command)
    source = erlang_source(store, otp)
    key = digest("lean erts", source.version, recipe)[:32]
    with step(f"Building the lean emulator of Erlang/OTP {otp} (once)"):
        entry, _ = store.build(KIND, key, lambda place: _make(source, key, recipe, place))
    return _load(entry)


def known_lean(store: Store, recipe: str | None = None) -> list[Erts]:
    """The lean emulators in the store, the newest source last; with ``recipe`` only those made by it."""
    entries = sorted((store.cache / KIND).glob("*/erts.json"), key=lambda path: path.stat().st_mtime)
    return [_load(path.parent) for path in entries if recipe in (None, json.loads(path.read_text())["recipe"])]


def _recipe() -> str:
    return digest("lean 1", CONFIGURE, FLAGS, ERTS_PROGRAMS, compiler_version(), digest_file(c_library()))


def _is_current(made: Erts) -> bool:
    """Whether the host's own Erlang, where it is of this version, has not been updated since."""
    installed = installed_version(made.otp)
    return installed is None or made.source.endswith(f" {installed}")


def _load(entry: Path) -> Erts:
    about = json.loads((entry / "erts.json").read_text())
    return erts_at(next(iter(sorted(entry.glob("erts-*")))), name="lean", otp=about["otp"], source=about["source"])


def _make(source: Source, key: str, recipe: str, place: Path) -> None:
    """Unpack, configure, compile, and keep four programs."""
    with build_directory(key) as work:
        otp = work / "otp"
        with step("Unpacking Erlang's source"):
            # apt has checked the signature when it fetched the archives.
            process.run([tools.find("dpkg-source"), "--no-check", "-x", source.description, otp], cwd=work)
        version = _erts_version(otp)
        environment = {"ERL_TOP": str(otp), **FLAGS}
        with step("Configuring the emulator"):
            _watched([otp / "configure", *CONFIGURE], otp, environment, work / "configure.log")
        with step("Compiling the emulator"):
            _compile(otp, environment, work)
        target = place / f"erts-{version}" / "bin"
        target.mkdir(parents=True)
        made = _made_in(otp)
        for name in ERTS_PROGRAMS:
            shutil.copyfile(made / name, target / name)
            (target / name).chmod(0o755)
    (place / "erts.json").write_text(dump({"otp": source.otp, "source": f"erlang {source.version}", "recipe": recipe}))


def _erts_version(otp: Path) -> str:
    text = (otp / "erts" / "vsn.mk").read_text()
    found = re.search(r"^VSN\s*=\s*(\S+)", text, re.MULTILINE)
    if found is None:
        raise ImageError("The source of Erlang/OTP does not tell its ERTS version.", "Remove it and fetch it again.")
    return found[1]


def _made_in(otp: Path) -> Path:
    """The directory of the finished programs, named after the machine that they are for."""
    return otp / "bin" / _target(otp)


def _target(otp: Path) -> str:
    return next(iter(sorted((otp / "erts").glob("*/config.h")))).parent.name


def _compile(otp: Path, environment: Mapping[str, str], work: Path) -> None:
    make, jobs = tools.find("make"), f"-j{len(os.sched_getaffinity(0))}"
    target = _target(otp)
    wanted = [_made_in(otp) / name for name in ("erlexec", "inet_gethost")]
    expected = _sources(otp)
    log = work / "make.log"
    steps: tuple[tuple[str | Path, ...], ...] = (
        (jobs, "-C", "erts/lib_src", "opt"), (jobs, "-C", "erts/emulator", "opt", "FLAVOR=emu"),
        ("-C", "erts/etc/common", "-f", f"{target}/Makefile", "TYPE=opt", *wanted))

    def tick(text: str) -> None:
        progress(min(1.0, _compiled(text) / expected))

    for words in steps:
        _watched([make, f"TARGET={target}", *words], otp, environment, log, tick)


def _sources(otp: Path) -> int:
    """About how many files will be compiled; at least 1."""
    emulator = otp / "erts" / "emulator"
    folders = ("beam", "beam/emu", "sys/common", "sys/unix", "drivers/common", "drivers/unix", "nifs/common",
               "nifs/unix", "pcre", "zlib", "ryu", "ryu_double")
    return max(1, sum(len(list((emulator / folder).glob("*.c"))) for folder in folders))


def _compiled(log: str) -> int:
    return len(re.findall(r"^ (?:EMU_)?CC\t", log, re.MULTILINE))


def _watched(argv: Sequence[str | Path], cwd: Path, environment: Mapping[str, str], log: Path,
             tick: Callable[[str], None] = lambda _: None) -> None:
    """Run a long program whose output goes to ``log`` (appended), reporting as it grows; the user can stop it.

    Raises ImageError with the lines that tell why it failed.
    """
    checkpoint()
    with log.open("ab") as stream:
        child = process.spawn(argv, stdout=stream, cwd=cwd, env=environment)
    try:
        process.give_way(child)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                code = child.wait(timeout=0.3)
                break
            except subprocess.TimeoutExpired:
                checkpoint()
                tick(_text(log))
                if time.monotonic() > deadline:
                    raise ImageError(f"{Path(argv[0]).name} did not finish within {PATIENCE / 60:.0f} minutes.",
                                     "Try again on a less busy host.", telling(_text(log))) from None
    finally:
        process.stop_group(child)
    if code != 0:
        raise ImageError("The lean emulator does not compile on this host.",
                         "The lines are the compiler's. Nothing was kept; leave lean out to go on without it.",
                         telling(_text(log)))


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def telling(log: str, count: int = 8) -> list[str]:
    """The lines of a build's log that say why it failed: the compiler's errors, or its last words."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip() and not _NOISE.search(line)]
    errors = [line for line in lines if _TELLING.search(line)]
    return errors[:count] or lines[-count:]
