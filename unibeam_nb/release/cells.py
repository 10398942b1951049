"""Modules without a project become a release: from a cell's text, or from one source file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unibeam_nb.errors import SourceError
from unibeam_nb.model import Release
from unibeam_nb.progress import step
from unibeam_nb.release import assemble, compiler, manifest
from unibeam_nb.release.beamfile import Beam
from unibeam_nb.release.cell import Main, app_name, display_name, language_of, main_of, units
from unibeam_nb.release.otp import Otp, closure, host_elixir, host_otp, module_owners
from unibeam_nb.release.workplace import build_directory
from unibeam_nb.store import Store, digest

VERSION = "1"
IMPLIED = ("erts", "kernel", "stdlib")


def release_from_cell(store: Store, name: str, text: str, *, language: str | None = None,
                      ports: tuple[int, ...] = (), applications: tuple[str, ...] = (),
                      flags: tuple[str, ...] = ()) -> Release:
    """A release of the Erlang or Elixir modules in ``text``.

    ``applications`` are started beside those the modules are seen to call; ``flags`` are emulator arguments.
    Raises SourceError, CompileError, ToolMissing.
    """
    language = language_of(text, language)
    suffix = {"erlang": ".erl", "elixir": ".ex"}[language]
    return from_text(store, name, text, language, f"{name}{suffix}", "cell", ports, applications, flags)


def from_text(store: Store, name: str, text: str, language: str, shown: str, source: str, ports: tuple[int, ...],
              applications: tuple[str, ...], flags: tuple[str, ...]) -> Release:
    """The same, for text that the user knows as ``shown``."""
    files = units(text, language, app_name(name))
    if len(files) == 1 and source == "cell":
        shown = files[0].filename
    otp = host_otp()
    elixir = host_elixir() if language == "elixir" else None
    available = otp.apps() | (elixir.apps() if elixir else {})
    application = app_name(name, available)
    key = digest("release cell", name, text, language, shown, list(ports), list(applications), list(flags),
                 otp.identity(), elixir.identity() if elixir else None, compiler.recipe_identity())

    def make(tree: Path) -> manifest.Made:
        with build_directory(key) as work:
            beams = compiler.compile_units(files, language, work, shown)
        main = main_of(text, language, beams)
        owners = module_owners(available)
        _refuse_taken(beams, owners)
        needed = needed_applications(beams, owners, applications)
        with step("Assembling the release"):
            _assemble(store, tree, otp, application, beams, main, needed, available)
        return manifest.Made(
            version=VERSION, otp=otp.version, erts=otp.erts, ports=ports, system=frozenset(available),
            launch=assemble.launch(otp.erts, VERSION, flags=flags,
                                   distributed=bool({"-name", "-sname"} & set(flags))))

    return manifest.build(store, key, name, source, make)


def _assemble(store: Store, tree: Path, otp: Otp, name: str, beams: dict[str, Beam], main: Main,
              needed: Sequence[str], available: dict[str, Path]) -> None:
    assemble.add_erts(otp.erts_dir, tree)
    apps = closure(needed, available)
    for app in apps:
        assemble.add_application(app.path, tree / "lib" / f"{app.name}-{app.version}")
    assemble.add_application(compiler.compile_agent(store, otp, otp.release), tree / "lib" / compiler.AGENT_APP)
    callback = (main.module, None) if main.callback else ("unibeam_cell", main.module)
    assemble.add_generated(tree, name, VERSION, beams, ["kernel", "stdlib", *needed], callback)
    own = closure([name], available | {name: tree / "lib" / f"{name}-{VERSION}"})
    assemble.make_boot(store, tree, otp, name, VERSION, own)


def _refuse_taken(beams: dict[str, Beam], owners: dict[str, str]) -> None:
    for module in beams:
        if module in owners:
            raise SourceError(f"The module {display_name(module)} is already a part of {owners[module]}.",
                              "Give your module another name.")


def needed_applications(beams: dict[str, Beam], owners: dict[str, str], wanted: Sequence[str]) -> list[str]:
    """The applications whose modules are called, and the wanted ones; Elixir modules need elixir itself."""
    called = {owners[call.module] for beam in beams.values() for call in beam.imports if call.module in owners}
    elixir = {"elixir"} if any(module.startswith("Elixir.") for module in beams) else set()
    return sorted((called | elixir | set(wanted)) - set(IMPLIED))
