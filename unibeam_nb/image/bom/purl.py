"""Where kernels, emulators, applications and libraries come from, as package URLs (github.com/package-url/purl-spec)
and, for what vulnerabilities are filed under, CPE 2.3 names (NIST IR 7695)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from unibeam_nb.errors import UnibeamError
from unibeam_nb.image.bom import debian
from unibeam_nb.image.bom.model import Component, Package
from unibeam_nb.image.drivers import CONFIG
from unibeam_nb.image.kernels import Kernel, known_kernels
from unibeam_nb.image.osv_loader import known_osv
from unibeam_nb.image.uml import uml_kernel
from unibeam_nb.model import Image, Locked, Release
from unibeam_nb.release.erts.lean import known_lean
from unibeam_nb.release.otp import App, host_elixir, host_otp
from unibeam_nb.store import Store, digest_file

OUR_LICENCE = "Apache-2.0"
OTP_LICENCE = "Apache-2.0"
"""Of Erlang/OTP since 18 and of Elixir."""

LINUX_LICENCE = "GPL-2.0-only WITH Linux-syscall-note"

_PACKAGE = re.compile(r"(linux-(?:image|source)-[\w.+-]+|user-mode-linux)=(\S+?)[ )]")
_GITHUB = re.compile(r"(?:https://|git://|git@|ssh://git@)github\.com[/:]([\w.-]+)/([\w.-]+?)(?:\.git)?/?")


def of_package(component: Component, package: Package | None) -> Component:
    """The component as it comes from a package of the distribution; as it is, where that is not known."""
    if package is None:
        return component
    return replace(component, package=package, purl=deb(package), version=component.version or package.version,
                   licence=component.licence or package.licence)


def deb(package: Package) -> str:
    """``pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12``."""
    from packageurl import PackageURL

    qualifiers = {key: value for key, value in (("arch", package.architecture), ("distro", package.distribution))
                  if value}
    return PackageURL("deb", package.vendor or "debian", package.name, package.version, qualifiers).to_string()


def kernel_origin(store: Store, image: Image, sha256: str) -> Component:
    """The kernel with this sha256."""
    kernel = next((each for each in _kernels(store) if each.sha256 == sha256), None)
    if image.target == "osv":
        return Component("kernel", "kernel", "osv", image.kernel,
                         facts=(("origin", kernel.source if kernel else "the user's own"),))
    made = Component("kernel", "kernel", "linux", image.kernel, licence=LINUX_LICENCE, cpe=_linux_cpe(image.kernel))
    if kernel is None:
        return made
    config = kernel.path.with_name(CONFIG)
    facts = [("kernel", kernel.name), ("origin", kernel.source)]
    if config.is_file():
        facts.append(("config-sha256", digest_file(config)))
    made = replace(made, facts=tuple(facts))
    if kernel.platform == "uml":
        return of_package(made, debian.owners([kernel.path]).get(kernel.path))
    found = _PACKAGE.search(f"{kernel.source} ")
    if found is None:
        return made
    whose, distribution = debian.vendor()
    source = found[1].startswith("linux-source")
    return of_package(made, Package(found[1], found[2], "all" if source else "amd64", whose, distribution))


def _kernels(store: Store) -> list[Kernel]:
    try:
        uml = [uml_kernel()]
    except UnibeamError:
        uml = []
    return [*known_kernels(store), *known_osv(store), *uml]


def _linux_cpe(version: str) -> str:
    found = re.match(r"\d+(?:\.\d+)+", version)
    return f"cpe:2.3:o:linux:linux_kernel:{found[0]}:*:*:*:*:*:*:*" if found else ""


def runtime_origin(store: Store, release: Release) -> Component:
    """The emulator of a release: the host's, the lean one, or one of which nothing more is known."""
    made = Component("runtime/erts", "runtime", "erts", release.erts, licence=OTP_LICENCE,
                     cpe=f"cpe:2.3:a:erlang:erlang\\/otp:{release.otp}:*:*:*:*:*:*:*", facts=(("otp", release.otp),))
    program = Path("bin") / "beam.smp"
    sha256 = digest_file(release.path / release.launch.erts / program)
    for lean in known_lean(store):
        if digest_file(lean.path / program) == sha256:
            whose, distribution = debian.vendor()
            source = Package("erlang", lean.source.removeprefix("erlang "), "source", whose, distribution)
            return of_package(replace(made, facts=(*made.facts, ("origin", f"compiled from {lean.source}"),
                                                   ("linked", "static"))), source)
    try:
        host = host_otp().erts_dir / program
    except UnibeamError:
        return made
    if host.is_file() and digest_file(host) == sha256:
        return of_package(made, debian.owners([host.resolve()]).get(host.resolve()))
    return made


def musl_origin(store: Store, init: str) -> Component | None:
    """The C library that a PID 1 with this sha256 is linked with; None where this host would compile another one."""
    from unibeam_nb.image.init import compiled_init
    from unibeam_nb.musl import c_library

    try:
        if digest_file(compiled_init(store)) != init:
            return None
    except UnibeamError:
        return None
    library = c_library()
    made = Component("library/musl", "library", "musl", sha256=digest_file(library), licence="MIT",
                     facts=(("linked", "static"),))
    return of_package(made, debian.owners([library]).get(library))


def application_origin(made: Component, app: App, locked: Locked | None) -> Component:
    """An application as a package of hex or a repository, or as one of the host's own OTP or Elixir; those of the user
    have no other origin than the user."""
    if locked is not None:
        return replace(made, purl=locked_purl(locked), facts=(*made.facts, ("locked-version", locked.version)))
    host = _host_applications().get(app.name)
    specification = Path("ebin") / f"{app.name}.app"
    if host is None or digest_file(host / specification) != digest_file(app.path / specification):
        return made
    path = (host / specification).resolve()
    return of_package(replace(made, licence=OTP_LICENCE), debian.owners([path]).get(path))


def _host_applications() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for installed in (host_elixir, host_otp):
        try:
            found |= installed().apps()
        except UnibeamError:
            continue
    return found


def locked_purl(locked: Locked) -> str:
    """The package URL of what a lock file names."""
    from packageurl import PackageURL

    if locked.kind == "hex":
        return PackageURL("hex", None, locked.package, locked.version,
                          {"checksum": f"sha256:{locked.sha256}"} if locked.sha256 else {}).to_string()
    if github := _GITHUB.fullmatch(locked.package):
        return PackageURL("github", github[1], github[2], locked.version).to_string()
    return PackageURL("generic", None, locked.name, locked.version,
                      {"vcs_url": f"git+{locked.package}@{locked.version}"}).to_string()
