"""Putting a release's tree together: emulator, applications, boot script, configuration.

    erts-V/bin/      only the programs a node needs
    lib/APP-VSN/     ebin (stripped modules, not compressed) and priv
    releases/VSN/    NAME.rel, unibeam.boot, sys.config

Modules are not gzip-compressed: an image's own compression does better on plain ones, and they load faster.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from unibeam_nb import process
from unibeam_nb.errors import ProgramFailed, SourceError
from unibeam_nb.model import Launch
from unibeam_nb.progress import checkpoint, step
from unibeam_nb.release import bootscript
from unibeam_nb.release.beamfile import Beam, read_beam
from unibeam_nb.release.compiler import AGENT_APP, GUEST
from unibeam_nb.release.otp import App, Otp
from unibeam_nb.release.terms import atom, write
from unibeam_nb.store import Store, digest

ERTS_PROGRAMS = ("beam.smp", "erlexec", "erl_child_setup", "inet_gethost")
"""What a node needs. No epmd: a node that wants a name gets ``unibeam_epmd`` instead of a daemon."""

EMULATOR_FLAGS = ("+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none", "+P", "32768", "+Q", "8192", "+Bd")
"""No scheduler spins while it waits (a guest's spinning is the host's load); tables of a fixed size, because
the default for ports follows the open-file limit and has filled memory where that is huge. The number of
schedulers is left to the emulator, which follows the CPUs it is given, in every arm alike. Flags of the user
come later on the command line, and so win."""

BOOT = "unibeam"
"""Name of our boot script beside the release's own."""

NODE_ARGUMENTS = ("-start_epmd", "false", "-epmd_module", "unibeam_epmd",
                  "-kernel", "inet_dist_use_interface", "{127,0,0,1}")
"""For a node with a name: no daemon is started, and the node listens to its own machine only, because a bare
host may be in a network where others could guess the cookie of a template."""

ENVIRONMENT = (("ERL_CRASH_DUMP_SECONDS", "0"),)
"""A crash writes no dump, which would take long and find no disk; the reason is on the console."""

_SKIPPED_IN_PRIV = ("obj",)


def launch(erts: str, version: str, *, words: Sequence[str] = (), flags: Sequence[str] = (),
           environment: Iterable[tuple[str, str]] = (), distributed: bool = False, config: str | None = None,
           extra: Sequence[str] = (), wait: Sequence[str] = ()) -> Launch:
    """How a release whose tree is finished is started.

    ``words`` are its own emulator arguments; ``flags`` the user's, which win; ``config`` the sys.config
    without its suffix; ``wait`` the words for the agent's ``ready`` that say when the system is really up.
    """
    node = NODE_ARGUMENTS if distributed and "-epmd_module" not in words else ()
    arguments = ("-boot", f"{{root}}/releases/{version}/{BOOT}", "-mode", "interactive", "-noinput",
                 *(("-config", config) if config else ()), *node, *words, *flags,
                 "-s", "unibeam_agent", "ready", *wait, *(("-extra", *extra) if extra else ()))
    return Launch(f"erts-{erts}", EMULATOR_FLAGS, arguments, (*ENVIRONMENT, *environment))


def add_erts(source: Path, target: Path) -> None:
    """Copy the emulator's programs from ``erts-V`` to ``target/erts-V``. Raises SourceError if one is missing."""
    programs = target / source.name / "bin"
    programs.mkdir(parents=True)
    for name in ERTS_PROGRAMS:
        path = source / "bin" / name
        if not path.is_file():
            raise SourceError(f"{source} lacks {name}.", "It should be a whole Erlang runtime (erts-VSN).")
        copy_file(path, programs / name, executable=True)


def add_application(source: Path, target: Path) -> None:
    """Copy an application: its modules stripped, its ``.app`` file, and ``priv`` as it is (links resolved)."""
    checkpoint()
    ebin = target / "ebin"
    ebin.mkdir(parents=True)
    for path in sorted((source / "ebin").iterdir()):
        if path.suffix == ".beam":
            write_file(ebin / path.name, read_beam(path.read_bytes()).stripped())
        elif path.suffix == ".app":
            copy_file(path, ebin / path.name)
    if (source / "priv").is_dir():
        copy_tree(source / "priv", target / "priv", _SKIPPED_IN_PRIV)


def copy_tree(source: Path, target: Path, skipped: Sequence[str] = ()) -> None:
    """Copy a directory, following links, with plain permissions. Links that lead nowhere are left out."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.name in skipped:
            continue
        if path.is_dir():
            if path.is_symlink() and source.resolve().is_relative_to(path.resolve()):
                raise SourceError(f"{path} is a link to a directory that contains it.", "Remove the link.")
            copy_tree(path, target / path.name)
        elif path.is_file():
            copy_file(path, target / path.name)


def copy_file(source: Path, target: Path, executable: bool = False) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755 if executable or source.stat().st_mode & 0o100 else 0o644)


def write_file(target: Path, data: bytes) -> None:
    target.write_bytes(data)
    target.chmod(0o644)


def add_generated(root: Path, name: str, version: str, beams: Mapping[str, Beam], applications: Sequence[str],
                  callback: tuple[str, str | None]) -> None:
    """Write an application made from compiled modules. ``callback`` is the module that starts it, and the
    module given to that one as its argument, or None."""
    ebin = root / "lib" / f"{name}-{version}" / "ebin"
    ebin.mkdir(parents=True)
    for module, beam in sorted(beams.items()):
        write_file(ebin / f"{module}.beam", beam.stripped())
    start, argument = callback
    listed = ",".join(atom(module) for module in sorted(beams))
    write_file(ebin / f"{name}.app", (
        f"{{application,{atom(name)},[{{description,{write(name)}}},{{vsn,{write(version)}}},"
        f"{{modules,[{listed}]}},{{registered,[]}},{{applications,[{','.join(map(atom, applications))}]}},"
        f"{{mod,{{{atom(start)},[{atom(argument) if argument else ''}]}}}}]}}.\n").encode())


def make_boot(store: Store, root: Path, otp: Otp, name: str, version: str, apps: Sequence[App]) -> None:
    """Write ``releases/VSN`` for the applications in ``root/lib``: rel file and boot script. The script follows from
    what the release and its applications say of themselves, and is made once for each.

    Raises SourceError with what systools says when the applications do not fit together.
    """
    directory = root / "releases" / version
    directory.mkdir(parents=True)
    listed = ",".join(f"{{{atom(app.name)},{write(app.version)}}}" for app in apps)
    rel = (f"{{release,{{{write(name)},{write(version)}}},{{erts,{write(otp.erts)}}},[{listed}]}}.\n")
    write_file(directory / f"{name}.rel", rel.encode())
    ebins = [path / "ebin" for path in sorted((root / "lib").iterdir())]
    specifications = [[path.parts[-3], path.read_text(), sorted(beam.name for beam in path.parent.glob("*.beam"))]
                      for ebin in ebins for path in sorted(ebin.glob("*.app"))]
    program = GUEST / "make_boot.escript"

    def make(place: Path) -> None:
        copy_file(directory / f"{name}.rel", place / f"{name}.rel")
        with step("Making the boot script"):
            try:
                process.run([otp.root / "bin" / "escript", program, place / f"{name}.rel", *ebins], timeout=120,
                            makes=(place / f"{name}.boot",))
            except ProgramFailed as error:
                raise SourceError("The applications do not fit together.", "systools says why.",
                                  error.details) from error

    made, _ = store.build("boot", digest("boot", rel, specifications, program.read_bytes(), otp.identity())[:32], make)
    script = (made / f"{name}.boot").read_bytes()
    write_file(directory / f"{BOOT}.boot", bootscript.with_agent(script, f"$ROOT/lib/{AGENT_APP}/ebin"))
    write_file(root / "releases" / "start_erl.data", f"{otp.erts} {version}\n".encode())
