"""The Erlang/OTP and Elixir of this host, and what their applications say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import SourceError
from unibeam_nb.release.terms import TermError, consult


@dataclass(frozen=True)
class App:
    """An OTP application on disk: its ``.app`` file's contents, and the directory that holds ``ebin``.

    ``callback`` is the module its ``mod`` names, or None for a library.
    """

    name: str
    version: str
    path: Path
    modules: tuple[str, ...]
    applications: tuple[str, ...]
    included: tuple[str, ...]
    optional: tuple[str, ...]
    callback: str | None

    @property
    def ebin(self) -> Path:
        return self.path / "ebin"


@dataclass(frozen=True)
class Otp:
    """An Erlang/OTP installation: ``release`` is ``25``, ``version`` ``25.2.3``, ``erts`` ``13.1.5``."""

    root: Path
    release: str
    version: str
    erts: str

    @property
    def erts_dir(self) -> Path:
        return self.root / f"erts-{self.erts}"

    def apps(self) -> dict[str, Path]:
        return app_dirs(self.root / "lib")

    def identity(self) -> list[object]:
        """What tells this installation from another, cheap to take: a distribution's security update keeps
        the version and changes files, so directory times count too."""
        beam = (self.erts_dir / "bin" / "beam.smp").stat()
        libraries = [[path.name, (path / "ebin").stat().st_mtime_ns] for path in self.apps().values()]
        return [self.version, self.erts, beam.st_size, beam.st_mtime_ns, libraries]


@dataclass(frozen=True)
class Elixir:
    """An Elixir installation; ``lib`` holds one directory per application, without versions in their names."""

    lib: Path
    version: str

    def apps(self) -> dict[str, Path]:
        return app_dirs(self.lib)

    def identity(self) -> list[object]:
        return [self.version, (self.lib / "elixir" / "ebin").stat().st_mtime_ns]


def version_key(text: str) -> tuple[tuple[int, str], ...]:
    """For sorting versions: numbers by value, anything else by text."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in text.replace("-", ".").split("."))


def app_dirs(lib: Path) -> dict[str, Path]:
    """Application name -> directory, for ``NAME`` or ``NAME-VSN`` directories with an ``ebin``; the newest wins."""
    found: dict[str, Path] = {}
    for path in sorted(lib.iterdir(), key=lambda p: version_key(p.name)) if lib.is_dir() else ():
        name = path.name.split("-")[0]
        if (path / "ebin" / f"{name}.app").is_file():
            found[name] = path
    return dict(sorted(found.items()))


@lru_cache(maxsize=8)
def _otp_at(root: Path) -> Otp | None:
    versions = sorted((root / "releases").glob("*/OTP_VERSION"), key=lambda p: version_key(p.parent.name))
    runtimes = sorted(root.glob("erts-*/bin/beam.smp"), key=lambda p: version_key(p.parent.parent.name))
    if not versions or not runtimes:
        return None
    return Otp(root, versions[-1].parent.name, versions[-1].read_text().strip().rstrip("*"),
               runtimes[-1].parent.parent.name.removeprefix("erts-"))


def host_otp() -> Otp:
    """The OTP that ``erl`` belongs to. Raises ToolMissing, or SourceError when it cannot be made out."""
    erl = tools.find("erl")
    found = _otp_at(erl.resolve().parent.parent)
    if found is None:  # a version manager's shim
        code = "io:put_chars(code:root_dir()), halt()."
        found = _otp_at(Path(process.run([erl, "-noshell", "-eval", code], timeout=60).stdout.strip()))
    if found is None:
        raise SourceError(f"The Erlang/OTP of {erl} is not complete.",
                          f"Install one from the distribution: {tools.install_command('erl')}")
    return found


@lru_cache(maxsize=2)
def _elixir_of(elixirc: Path) -> Elixir | None:
    lib = elixirc.resolve().parent.parent / "lib"
    if not (lib / "elixir" / "ebin" / "elixir.app").is_file():  # a version manager's shim
        code = "IO.write(:code.lib_dir(:elixir))"
        lib = Path(process.run([elixirc.parent / "elixir", "-e", code], timeout=60).stdout.strip()).parent
    if not (lib / "elixir" / "ebin" / "elixir.app").is_file():
        return None
    return Elixir(lib, read_app(lib / "elixir").version)


def host_elixir() -> Elixir:
    """The Elixir that ``elixirc`` belongs to. Raises ToolMissing, or SourceError when it cannot be made out."""
    elixirc = tools.find("elixirc")
    found = _elixir_of(elixirc)
    if found is None:
        raise SourceError(f"The Elixir of {elixirc} is not complete.",
                          f"Install one from the distribution: {tools.install_command('elixirc')}")
    return found


def read_app(path: Path) -> App:
    """The application in the directory ``path`` (its one ``ebin/*.app``). Raises SourceError."""
    files = sorted((path / "ebin").glob("*.app"))
    if not files:
        raise SourceError(f"{path} is not an OTP application.", "Its ebin directory should hold a .app file.")
    try:
        terms = consult(files[0].read_text(encoding="utf-8", errors="replace"))
        _application, name, pairs = terms[0]
        values = {str(key): value for key, value in pairs}
        callback = values.get("mod")
        return App(str(name), _text(values.get("vsn")) or "0", path, _names(values, "modules"),
                   _names(values, "applications"), _names(values, "included_applications"),
                   _names(values, "optional_applications"),
                   str(callback[0]) if isinstance(callback, tuple) and callback else None)
    except (TermError, ValueError, TypeError, IndexError) as error:
        raise SourceError(f"{files[0]} is not a readable application file.",
                          "It should be {application, Name, [{vsn, ...}, ...]}.") from error


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _names(values: Mapping[str, object], key: str) -> tuple[str, ...]:
    listed = values.get(key)
    return tuple(str(name) for name in listed) if isinstance(listed, list) else ()


def module_owners(apps: Mapping[str, Path]) -> dict[str, str]:
    """Module -> application, from the files in their ``ebin`` directories."""
    return {beam.name.removesuffix(".beam"): name
            for name, path in apps.items() for beam in (path / "ebin").glob("*.beam")}


def closure(wanted: Iterable[str], where: Mapping[str, Path]) -> list[App]:
    """The applications ``wanted`` and all they depend on, in an order in which they can be started.

    Raises SourceError naming the application that is not there and how to get it.
    """
    done: dict[str, App] = {}
    under_way: list[str] = []

    def visit(name: str, needed_by: App | None) -> None:
        if name in done or name in under_way:
            return
        if name not in where:
            if needed_by and name in needed_by.optional:
                return
            why = f", which {needed_by.name} needs," if needed_by else ""
            raise SourceError(f"The application {name}{why} is not on this host.",
                              f"If it is a part of OTP, install it: apt-get install erlang-{name.replace('_', '-')}")
        under_way.append(name)
        app = read_app(where[name])
        for other in (*app.applications, *app.included):
            visit(other, app)
        under_way.pop()
        done[name] = app

    for name in ("kernel", "stdlib", *wanted):
        visit(name, None)
    return list(done.values())
