"""A release that a build tool made (rebar3, relx, mix, or by hand) becomes one of ours.

Only what a node needs is taken over; its boot script, ``sys.config``, ``vm.args`` and the environment that
its own start script would set are honoured, the start script itself is not: there is no shell in an image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.errors import SourceError
from unibeam_nb.model import Finding
from unibeam_nb.release import assemble, bootscript, compiler, vmargs
from unibeam_nb.release.beamfile import read_beam
from unibeam_nb.release.manifest import Made
from unibeam_nb.release.otp import Otp, app_dirs, host_otp, version_key
from unibeam_nb.release.terms import consult
from unibeam_nb.store import Store

LONGEST_NAME = 100
"""Bytes of the longest name of a release or an application, or of a version."""

# Parts of a release that a start script needs, or that running it left behind.
_NOT_TAKEN = ("bin", "lib", "releases", "tmp", "log", "logs", "erl_crash.dump")
_A_NAME = re.compile(r"[^/\0]*[^/\0.][^/\0]*")
_NOT_TAKEN_BELOW = re.compile(
    r".*\.(?:script|boot|sh|bat|bak)$|^(?:elixir|iex|vm\.args.*|remote\.vm\.args|.*\.tar\.gz)$")


@dataclass(frozen=True)
class Layout:
    """Where the parts of a release directory are: ``erts`` is None when it brings none."""

    root: Path
    name: str
    version: str
    erts_version: str
    erts: Path | None
    boot: Path
    apps: tuple[tuple[str, str], ...]

    @property
    def directory(self) -> Path:
        return self.root / "releases" / self.version


def looks_like_release(path: Path) -> bool:
    return (path / "lib").is_dir() and (path / "releases").is_dir()


def layout(root: Path) -> Layout:
    """Find the parts of a release directory. Raises SourceError naming what is missing."""
    directories = sorted((p.parent for p in (root / "releases").glob("*/*.rel")), key=lambda p: version_key(p.name))
    if not directories:
        raise SourceError(f"{root} is not a whole release: it has no releases/VSN/NAME.rel.",
                          "Build it with 'rebar3 release' or 'mix release'.")
    data = root / "releases" / "start_erl.data"
    wanted = data.read_text(errors="replace").split()[1:2] if data.is_file() else []
    directory = next((d for d in directories if [d.name] == wanted), directories[-1])
    rels = [p for p in sorted(directory.glob("*.rel")) if p.stem not in ("no_dot_erlang", "start_clean")]
    try:
        _release, (name, _version), (_erts, erts_version), apps = consult(rels[0].read_text(errors="replace"))[0][:4]
        listed = tuple((str(app[0]), str(app[1])) for app in apps)
        # They become parts of paths.
        words = (str(name), str(erts_version), *(word for app in listed for word in app))
        if not all(len(word.encode()) <= LONGEST_NAME and _A_NAME.fullmatch(word) for word in words):
            raise ValueError("no names")
    except (SourceError, ValueError, IndexError, TypeError) as error:
        raise SourceError(f"{directory} holds no readable release description.",
                          "Build the release again.") from error
    boots = [directory / f"{stem}.boot" for stem in ("start", name, rels[0].stem, assemble.BOOT)]
    boot = next((b for b in boots if b.is_file()), None)
    if boot is None:
        raise SourceError(f"{directory} holds no boot script.", "Build the release again.")
    erts = root / f"erts-{erts_version}"
    return Layout(root, str(name), directory.name, str(erts_version), erts if erts.is_dir() else None, boot, listed)


def adopt(store: Store, source: Path, tree: Path, *, ports: tuple[int, ...], applications: tuple[str, ...],
          flags: tuple[str, ...]) -> Made:
    """Make our tree from the release in ``source``. Raises SourceError, ToolMissing."""
    found = layout(source)
    if applications:
        missing = sorted(set(applications) - {name for name, _ in found.apps})
        if missing:
            raise SourceError(f"The release does not hold the application {missing[0]}.",
                              "Add it to the project's release configuration.")
    otp = host_otp()  # at least for compiling the agent
    erts = found.erts or _borrowed_erts(found, otp)
    assemble.add_erts(erts, tree)
    _add_libraries(found, otp, tree)
    _add_rest(found, tree)
    release = _otp_release(found) or otp.release
    agent = compiler.compile_agent(store, otp, release)
    assemble.add_application(agent, tree / "lib" / compiler.AGENT_APP)
    return _configure(found, tree, release if release != otp.release else otp.version, ports, flags, otp)


def _configure(found: Layout, tree: Path, otp_version: str, ports: tuple[int, ...], flags: tuple[str, ...],
               otp: Otp) -> Made:
    boot = found.boot.read_bytes()
    target = tree / "releases" / found.version
    config, environment, restarts = _configuration(found)
    args = _vm_args(found.directory)
    text = bootscript.with_agent(boot, f"$ROOT/lib/{compiler.AGENT_APP}/ebin", restarts)
    assemble.write_file(target / f"{assemble.BOOT}.boot", text)
    variables = [word for name in sorted(bootscript.variables(boot)) for word in ("-boot_var", name, "{root}/lib")]
    distributed = args.distributed or bool({"-name", "-sname"} & set(flags))
    launch = assemble.launch(found.erts_version, found.version, words=(*variables, *args.words), flags=flags,
                             environment=environment, distributed=distributed, config=config, extra=args.extra)
    return Made(version=found.version, otp=otp_version, erts=found.erts_version, launch=launch, ports=ports,
                system=frozenset(otp.apps()) | ELIXIR_APPS, findings=tuple(_notes(found, args)))


ELIXIR_APPS = frozenset({"elixir", "logger", "eex", "iex", "mix", "ex_unit"})


def _borrowed_erts(found: Layout, otp: Otp) -> Path:
    if otp.erts == found.erts_version:
        return otp.erts_dir
    raise SourceError(f"The release brings no Erlang runtime and wants erts-{found.erts_version}, but this host has "
                      f"{otp.erts}.",
                      "Build the release with include_erts, or on a host with the same OTP version.")


def _otp_release(found: Layout) -> str | None:
    """The OTP release number, known from kernel's neighbour erts: erts 13 is OTP 25, 14 is 26, and so on."""
    major = found.erts_version.split(".")[0]
    return str(int(major) + 12) if major.isdigit() and int(major) >= 10 else None


def _add_libraries(found: Layout, otp: Otp, tree: Path) -> None:
    """The release's own lib, and from the host's OTP what its description lists and its lib lacks."""
    present, hosts = app_dirs(found.root / "lib"), otp.apps()
    for path in sorted((found.root / "lib").iterdir()):
        if (path / "ebin").is_dir() and path.name != compiler.AGENT_APP:
            assemble.add_application(path, tree / "lib" / path.name)
    for name, version in found.apps:
        if name in present or (tree / "lib" / f"{name}-{version}").is_dir():
            continue
        host = hosts.get(name)
        if host is None or host.name != f"{name}-{version}":
            raise SourceError(f"The release lacks the application {name} {version}, and this host has no such one.",
                              "Build the release with system_libs, or on a host with the same OTP version.")
        assemble.add_application(host, tree / "lib" / host.name)


def _add_rest(found: Layout, tree: Path) -> None:
    """Overlays: whatever else the release carries, and its configuration files."""
    for path in sorted(found.root.iterdir()):
        if path.name in _NOT_TAKEN or path.name.startswith(("erts-", ".")):
            continue
        if path.is_dir():
            assemble.copy_tree(path, tree / path.name)
        elif path.is_file() and not _NOT_TAKEN_BELOW.match(path.name):
            assemble.copy_file(path, tree / path.name)
    target = tree / "releases" / found.version
    target.mkdir(parents=True)
    for path in sorted(found.directory.iterdir()):
        if _NOT_TAKEN_BELOW.match(path.name):
            continue
        if path.is_dir():
            if any(file.suffix == ".beam" for file in path.iterdir()):  # mix: consolidated protocols
                _add_modules(path, target / path.name)
            else:
                assemble.copy_tree(path, target / path.name)
        else:
            assemble.copy_file(path, target / path.name)
    assemble.write_file(tree / "releases" / "start_erl.data", f"{found.erts_version} {found.version}\n".encode())


def _add_modules(source: Path, target: Path) -> None:
    target.mkdir()
    for path in sorted(source.glob("*.beam")):
        assemble.write_file(target / path.name, read_beam(path.read_bytes()).stripped())


def _configuration(found: Layout) -> tuple[str | None, list[tuple[str, str]], bool]:
    """(``-config`` value, environment, whether a configuration provider restarts the system).

    A ``sys.config.src`` is filled in by the agent at start, into the state directory; so is put there the
    ``sys.config`` that Elixir's configuration providers rewrite.
    """
    here = f"{{root}}/releases/{found.version}"
    template, plain = found.directory / "sys.config.src", found.directory / "sys.config"
    if template.is_file():
        return "{state}/sys", [("UNIBEAM_CONFIG_FROM", f"{here}/sys.config.src"),
                               ("UNIBEAM_CONFIG_TO", "{state}/sys.config")], False
    text = plain.read_text(errors="replace") if plain.is_file() else ""
    environment = _elixir_environment(found) if "elixir" in dict(found.apps) else []
    if "config_provider_init" not in text:
        return (f"{here}/sys" if text else None), environment, False
    restarts = bool(re.search(r"reboot_system_after_config\s*=>\s*true", text))
    config = "{state}/sys" if restarts else f"{here}/sys"
    environment.append(("RELEASE_SYS_CONFIG", config))
    if restarts:
        environment += [("UNIBEAM_CONFIG_FROM", f"{here}/sys.config"), ("UNIBEAM_CONFIG_TO", "{state}/sys.config")]
    return config, environment, restarts


def _elixir_environment(found: Layout) -> list[tuple[str, str]]:
    """What mix' own start script tells a release about itself."""
    return [("RELEASE_ROOT", "{root}"), ("RELEASE_NAME", found.name), ("RELEASE_VSN", found.version),
            ("RELEASE_TMP", "{state}"), ("RELEASE_MODE", "interactive"), ("RELEASE_DISTRIBUTION", "none"),
            ("RELEASE_COMMAND", "start")]


def _vm_args(directory: Path) -> vmargs.VmArgs:
    template, plain = directory / "vm.args.src", directory / "vm.args"
    if template.is_file():
        return vmargs.parse(vmargs.fill_in(template.read_text(errors="replace")))
    return vmargs.parse(plain.read_text(errors="replace") if plain.is_file() else "")


def _notes(found: Layout, args: vmargs.VmArgs) -> Iterable[Finding]:
    where = f"releases/{found.version}"
    if args.heart:
        yield Finding("note", f"{where}/vm.args", "-heart is left out; whoever runs the machine restarts it")
    if args.distributed:
        yield Finding("distribution", f"{where}/vm.args",
                      "the node has a name; no port mapper runs, so other nodes do not find it by that name")
    script = found.directory / "env.sh"
    lines = script.read_text(errors="replace").splitlines() if script.is_file() else []
    if any(line.strip() and not line.lstrip().startswith("#") for line in lines):
        yield Finding("note", f"{where}/env.sh", "is a shell script and is not run; give its variables at boot")
