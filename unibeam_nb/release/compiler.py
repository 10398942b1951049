"""Running ``erlc`` and ``elixirc``, and saying what they said in the user's own line numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import CompileError, UnibeamError
from unibeam_nb.progress import note, step
from unibeam_nb.release import samepath
from unibeam_nb.release.beamfile import Beam, read_beam
from unibeam_nb.release.cell import Unit
from unibeam_nb.release.otp import Otp
from unibeam_nb.store import Store, digest

GUEST = Path(__file__).parent.parent / "guest"
AGENT_SOURCES = ("unibeam_agent.erl", "unibeam_cell.erl", "unibeam_channel.erl", "unibeam_epmd.erl",
                 "unibeam_heart.erl", "unibeam_resume.erl", "unibeam_stop.erl")
AGENT_APP = "unibeam_agent-1"

DETERMINISTIC = {"ERL_COMPILER_OPTIONS": "deterministic"}
"""For build tools whose compiler options are not ours: no build paths in the modules."""

MAX_LINES = 30


def compile_units(units: Sequence[Unit], language: str, work: Path, shown: str) -> dict[str, Beam]:
    """Compile the files of a cell in the directory ``work``; module name -> compiled module.

    Warnings become notes. Raises CompileError ("``shown`` does not compile.") with the compiler's lines.
    """
    out = work / "ebin"
    out.mkdir()
    for unit in units:
        (work / unit.filename).write_text(unit.text, encoding="utf-8")
    names = [unit.filename for unit in units]
    if language == "erlang":
        argv: list[str | Path] = [tools.find("erlc"), "+deterministic", "-Wall", "-pa", out, "-o", out, *names]
    else:
        argv = [tools.find("elixirc"), "--no-docs", "--no-debug-info", "-o", out, *names]
    with step(f"Compiling {shown}"):
        done = samepath.run(argv, work, cwd=work, env=DETERMINISTIC, timeout=300)
    lines = tidy((done.stdout + done.stderr).splitlines(), work)
    if done.code != 0:
        raise CompileError(f"{shown} does not compile.", "The line numbers are those of your source.",
                           lines[:MAX_LINES] or [f"{Path(argv[0]).name} ended with exit status {done.code}."])
    for line in lines:
        note(line)
    compiled = [read_beam(path.read_bytes()) for path in sorted(out.glob("*.beam"))]
    if len(compiled) < (sum(name.endswith(".erl") for name in names) if language == "erlang" else 1):
        raise CompileError(f"{Path(argv[0]).name} made no module of {shown}, and reported no failure.",
                           "Run 'unibeam doctor' to see what this host has.", lines[:MAX_LINES])
    return {beam.module: beam for beam in compiled}


_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_NOISE = re.compile(r"^\s*(?:\(elixir [\d.]+\)|\(stdlib [\d.]+\)|\(compiler [\d.]+\)|== Compilation error)")


def tidy(lines: Sequence[str], work: Path) -> list[str]:
    """A compiler's lines without colours, scratch paths, blank lines and the compiler's own stack frames."""
    plain = (_ANSI.sub("", line).replace(f"{work}/", "").rstrip() for line in lines)
    return [line for line in plain if line.strip() and not _NOISE.match(line)]


def compile_agent(store: Store, otp: Otp, target_release: str) -> Path:
    """The agent's application directory, compiled for OTP ``target_release``. Built once per host and source."""
    sources = [(GUEST / name).read_bytes() for name in AGENT_SOURCES]
    options = older_options(otp, target_release)

    def make(entry: Path) -> None:
        ebin = entry / "ebin"
        ebin.mkdir()
        compile_guest(AGENT_SOURCES, ebin, options, target_release)
        modules = ",".join(Path(name).stem for name in AGENT_SOURCES)
        (ebin / "unibeam_agent.app").write_text(
            '{application,unibeam_agent,[{description,"marks the instants of a boot"},{vsn,"1"},'
            f"{{modules,[{modules}]}},{{registered,[]}},{{applications,[kernel,stdlib]}}]}}.\n")

    return store.build("agent", digest("agent 1", *sources, otp.identity(), options), make)[0]


def older_options(otp: Otp, target_release: str) -> tuple[str, ...]:
    """The compiler options for OTP ``target_release``: one that is older than the host's needs ``rNN``."""
    older = target_release.isdigit() and otp.release.isdigit() and int(target_release) < int(otp.release)
    return (f"+r{target_release}",) if older else ()


def compile_guest(sources: Sequence[str], ebin: Path, options: Sequence[str], target_release: str) -> None:
    """Compile modules of ours into ``ebin``, stripped. Raises CompileError where this host's Erlang cannot."""
    try:
        process.run([tools.find("erlc"), "+deterministic", *options, "-o", ebin, *(GUEST / name for name in sources)],
                    timeout=120, makes=[ebin / f"{Path(name).stem}.beam" for name in sources])
    except UnibeamError as error:
        raise CompileError("The guest agent does not compile with this host's Erlang.",
                           f"Use an OTP release nearer to the release's own ({target_release}).",
                           error.details) from error
    for path in ebin.glob("*.beam"):
        path.write_bytes(read_beam(path.read_bytes()).stripped())


def recipe_identity() -> str:
    """A digest of our own part in a release: what goes into it from ``guest``, and the modules that make it.
    Part of every key, so that a release made by an older unibeam is not taken for today's."""
    recipe = sorted(Path(__file__).parent.glob("*.py"))
    return digest(*((GUEST / name).read_bytes() for name in (*AGENT_SOURCES, "make_boot.escript")),
                  *(path.read_bytes() for path in recipe))
