"""The files of a release as the analysis sees them: its modules, and where code begins."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from unibeam_nb.model import Launch, Release
from unibeam_nb.release.assemble import BOOT
from unibeam_nb.release.beamfile import Function, read_beam
from unibeam_nb.release.otp import read_app
from unibeam_nb.release.shake.boot import called
from unibeam_nb.release.shake.emulator import preloaded
from unibeam_nb.release.shake.names import ALONE, DISTRIBUTION, TRIMMED
from unibeam_nb.release.shake.reach import Module
from unibeam_nb.release.terms import Atom, consult

_WORD = re.compile(r"'((?:[^'\\]|\\.)+)'|\b([a-z][\w@]*|Elixir\.[\w.]+)")
_STARTS = ("-s", "-run")
LOAD_NIF = Function("erlang", "load_nif", 2)


@dataclass(frozen=True)
class Tree:
    """A release's files. ``kept`` names modules and applications to keep whole."""

    release: Release
    root: Path
    kept: frozenset[str] = frozenset()

    @cached_property
    def files(self) -> dict[str, Path]:
        """Module -> file. Where two directories have one (Elixir's consolidated protocols), the one found first."""
        paths = (*sorted(self.root.glob("releases/*/*/*.beam")), *sorted(self.root.glob("lib/*/ebin/*.beam")))
        found: dict[str, Path] = {}
        for path in paths:
            found.setdefault(path.name.removesuffix(".beam"), path)
        return found

    def app_of(self, path: Path) -> str:
        """The application that a file of the release belongs to; empty for consolidated protocols."""
        words = path.relative_to(self.root).parts
        return words[1].split("-")[0] if words[0] == "lib" else ""

    @cached_property
    def modules(self) -> dict[str, Module]:
        found = {}
        for name, path in self.files.items():
            app = self.app_of(path)
            beam = read_beam(path.read_bytes())
            # A native library refuses a module that lacks one of the functions it brings.
            whole = app not in TRIMMED or not {name, app}.isdisjoint(self.kept) or LOAD_NIF in beam.imports
            found[name] = Module(name, app, beam, whole)
        return found

    @property
    def emulator(self) -> Path:
        return self.root / self.release.launch.erts / "bin" / "beam.smp"

    @cached_property
    def preloaded(self) -> dict[str, Module]:
        beams = preloaded(self.emulator)
        return {name: Module(name, "", beam) for name, beam in beams.items()}

    @property
    def boot(self) -> Path:
        return self.root / "releases" / self.release.version / f"{BOOT}.boot"

    @cached_property
    def applications(self) -> dict[str, Path]:
        """Application -> its directory."""
        return {path.name.split("-")[0]: path for path in sorted((self.root / "lib").iterdir())
                if list((path / "ebin").glob("*.app"))}

    @cached_property
    def alone(self) -> bool:
        """Whether nothing in the release has a use for distribution: the node has no name, no code asks for other
        nodes, and its kernel application can do without (OTP 25)."""
        kernel = self.modules.get("kernel")
        if kernel is None or "start_distribution" not in kernel.beam.atoms or named(self.release.launch):
            return False
        if any(app in TRIMMED - ALONE for app in self.applications):
            return False
        own = [module for module in self.modules.values() if module.app not in TRIMMED]
        return all(DISTRIBUTION.isdisjoint(module.beam.atoms) for module in own) and \
            DISTRIBUTION.isdisjoint(self.words)

    @cached_property
    def words(self) -> frozenset[str]:
        """Every atom that the command line and the configuration files may hold."""
        texts = [*self.release.launch.arguments, *(value for _, value in self.release.launch.environment)]
        for path in sorted(self.root.glob("releases/*/*")):
            if path.is_file() and path.suffix in (".config", ".src", ".args"):
                texts.append(path.read_text(encoding="utf-8", errors="replace"))
        return frozenset(found[1] or found[2] for text in texts for found in _WORD.finditer(text))

    def roots(self) -> Iterator[Function]:
        """The functions that are called from outside: by the boot script, the command line, and every function of the
        program's own modules."""
        yield from called(self.boot.read_bytes())
        arguments = self.release.launch.arguments
        for at, word in enumerate(arguments):
            if word in _STARTS:
                rest = [*arguments[at + 1:at + 3], "start"][:2]
                name = "start" if rest[-1].startswith("-") else rest[-1]
                yield from (Function(rest[0], name, arity) for arity in (0, 1))
        for module in self.modules.values():
            if module.app not in TRIMMED or module.whole:
                yield Function(module.name, "module_info", 0)

    def atoms(self) -> Iterator[str]:
        """The atoms of the configuration: command line, files, environments and callbacks of applications."""
        yield from self.words
        for path in self.applications.values():
            app = read_app(path)
            if app.callback:
                yield app.callback
            for spec in (path / "ebin").glob("*.app"):
                pairs = consult(spec.read_text(encoding="utf-8", errors="replace"))[0][2]
                yield from (atom for key, value in pairs if key in ("env", "mod", "start_phases")
                            for atom in _atoms(value))

    def whole(self) -> dict[str, Module]:
        """All modules, each to be kept as a whole."""
        return {name: replace(module, whole=True) for name, module in self.modules.items()}


def named(launch: Launch) -> bool:
    """Whether the node is given a name when it starts."""
    return not {"-name", "-sname"}.isdisjoint((*launch.arguments, *launch.emulator_flags))


def _atoms(term: Any) -> Iterator[str]:
    if isinstance(term, Atom):
        yield str(term)
    elif isinstance(term, Mapping):
        for key, value in term.items():
            yield from (*_atoms(key), *_atoms(value))
    elif isinstance(term, list | tuple):
        for part in term:
            yield from _atoms(part)
