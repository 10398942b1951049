"""What a path is, and the release it becomes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from unibeam_nb import tools
from unibeam_nb.errors import SourceError
from unibeam_nb.model import Release
from unibeam_nb.progress import step
from unibeam_nb.release import adopt, archive, assemble, cells, compiler, manifest, projects
from unibeam_nb.release.locks import locked
from unibeam_nb.release.manifest import Made
from unibeam_nb.release.otp import host_elixir, host_otp, read_app
from unibeam_nb.release.systems import installed_apps, known_system
from unibeam_nb.store import Store, digest, digest_file, digest_tree

LANGUAGE_OF = {".erl": "erlang", ".ex": "elixir", ".exs": "elixir"}
ARCHIVES = (".tar.gz", ".tgz")

ACCEPTED = ("Give an .erl or .ex file, a rebar3 or mix project, a release directory or .tar.gz, or the directory of "
            "an installed OTP system.")


def release_from_path(store: Store, name: str, path: Path, *, ports: tuple[int, ...] = (),
                      applications: tuple[str, ...] = (), flags: tuple[str, ...] = ()) -> Release:
    """A release of what ``path`` is. Raises SourceError, CompileError, ArchiveError, ToolMissing."""
    path = path.expanduser().absolute()
    if not path.exists():
        raise SourceError(f"{path} does not exist.", ACCEPTED)
    kind = kind_of(path)
    if kind == "module":
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SourceError(f"{path.name} is not UTF-8 text.", "Save it as UTF-8.") from error
        return cells.from_text(store, name, text, LANGUAGE_OF[path.suffix], path.name, "file", ports,
                               applications, flags)
    key = digest("release path", name, kind, _content(path, kind), path.name, list(ports), list(applications),
                 list(flags), _tools_of(kind), compiler.recipe_identity())

    def make(tree: Path) -> Made:
        if kind in ("mix", "rebar3"):
            build = projects.build_mix if kind == "mix" else projects.build_rebar3
            return replace(build(store, key, path, tree, ports, applications, flags), locked=locked(path))
        if kind == "archive":
            return _from_archive(store, path, tree, ports, applications, flags)
        if kind == "system":
            return _from_system(store, name, path, tree, ports, applications, flags)
        with step("Assembling the release"):
            return adopt.adopt(store, path, tree, ports=ports, applications=applications, flags=flags)

    return manifest.build(store, key, name, kind, make)


def kind_of(path: Path) -> str:
    """``module``, ``archive``, ``mix``, ``rebar3``, ``release`` or ``system``. Raises SourceError for others."""
    if path.is_file():
        if path.suffix in LANGUAGE_OF:
            return "module"
        if path.name.endswith(ARCHIVES):
            return "archive"
        raise SourceError(f"{path.name} is no kind of file that can become a release.", ACCEPTED)
    if (path / "mix.exs").is_file():
        return "mix"
    if (path / "rebar.config").is_file():
        return "rebar3"
    if adopt.looks_like_release(path):
        return "release"
    if installed_apps(path):
        return "system"
    if not any(path.iterdir()):
        raise SourceError(f"{path} is empty.", ACCEPTED)
    raise SourceError(f"{path} is neither a project nor a release.", ACCEPTED)


def _content(path: Path, kind: str) -> str:
    if kind == "archive":
        return digest_file(path)
    return digest_tree(path, projects.not_a_source if kind in ("mix", "rebar3") else None)


def _tools_of(kind: str) -> list[object]:
    """The identity of what builds this kind, without starting a program: a second build must be quick."""
    found: list[object] = [host_otp().identity()]
    if kind == "mix":
        tools.find("mix")
        found.append(host_elixir().identity())
    if kind == "rebar3":
        found.append(tools.find("rebar3").stat().st_mtime_ns)
    return found


def _from_archive(store: Store, path: Path, tree: Path, ports: tuple[int, ...], applications: tuple[str, ...],
                  flags: tuple[str, ...]) -> Made:
    with store.scratch() as scratch:
        with step(f"Unpacking {path.name}"):
            archive.unpack(path, scratch)
        inside = [entry for entry in scratch.iterdir() if entry.is_dir()]
        root = scratch if adopt.looks_like_release(scratch) or len(inside) != 1 else inside[0]
        if not adopt.looks_like_release(root):
            raise SourceError(f"{path.name} holds no release.",
                              "It should hold lib and releases, as 'rebar3 tar' makes it.")
        with step("Assembling the release"):
            return adopt.adopt(store, root, tree, ports=ports, applications=applications, flags=flags)


def _from_system(store: Store, name: str, path: Path, tree: Path, ports: tuple[int, ...],
                 applications: tuple[str, ...], flags: tuple[str, ...]) -> Made:
    otp = host_otp()
    apps = installed_apps(path)
    system = known_system(apps)
    if system is None and not applications:
        raise SourceError(f"{path} is an OTP system that unibeam does not know.",
                          f"Name the applications to start; it holds {', '.join(sorted(apps)[:8])}.")
    with step(f"Assembling {system.title if system else name}"):
        if system is None:
            projects.assemble_apps(store, tree, otp, "system", "1", list(applications), otp.apps() | apps)
            launch = assemble.launch(otp.erts, "1", flags=flags,
                                     distributed=bool({"-name", "-sname"} & set(flags)))
            return Made(version="1", otp=otp.version, erts=otp.erts, launch=launch, ports=ports,
                        system=frozenset(otp.apps()))
        version = read_app(apps[system.application]).version
        projects.assemble_apps(store, tree, otp, system.application, version, list(system.base), otp.apps() | apps,
                               (system.application, *system.undeclared, *applications))
    environment = [*system.environment, ("UNIBEAM_PORT_VARIABLE", system.port_variable)]
    if applications:
        environment.append((system.plugins_variable, ",".join(applications)))
    launch = assemble.launch(otp.erts, version, words=(*system.flags, *system.start), flags=flags,
                             environment=environment, distributed=True, wait=system.wait)
    return Made(version=version, otp=otp.version, erts=otp.erts, launch=launch, ports=ports or system.ports,
                system=frozenset(otp.apps()))

