"""A Debian or Ubuntu root made by mmdebstrap: the layer below the release in ``oci+slim`` images, which is a minimal
one, and in ``oci+full`` images, which has the distribution's whole Erlang in it as well.

It is made once per suite and set of packages and then stays in the store (``bases/KEY``), so that builds are the
same tomorrow. What mmdebstrap makes is reproducible; what it copies from this host (its name, its resolver) and what
nobody reads in a container (manuals, translations, caches) is left out.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import ImageError, ProgramFailed
from unibeam_nb.image.formats.oci import layer_writer
from unibeam_nb.model import Release
from unibeam_nb.progress import step
from unibeam_nb.store import Store, digest

KIND = "bases"
HOOK = Path("/usr/share/mmdebstrap/hooks/merged-usr")
EXCLUDED = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/doc/*")
INCLUDED = ("/usr/share/doc/*/copyright",)
DROPPED = re.compile(r"dev/.+|etc/hostname|etc/resolv\.conf|etc/machine-id|var/lib/dpkg/.+-old|var/cache/.+/.+"
                     r"|var/log/.+|var/lib/apt/lists/.+|usr/share/(man|info|locale)/.+")


@dataclass(frozen=True)
class Base:
    """A base root. ``layer`` is its gzip-compressed tar, with the sha256 of the blob and of the tar inside; ``links``
    its symbolic links (path to target), ``paths`` everything in it, ``bytes`` the size of its files."""

    suite: str
    title: str
    layer: Path
    digest: str
    diff_id: str
    bytes: int
    layer_bytes: int
    tar_bytes: int
    links: Mapping[str, str]
    paths: frozenset[str]
    tool: str


def erlang_packages(release: Release) -> tuple[str, ...]:
    """What people install to run a release like this one: Erlang but for its graphical applications, and Elixir."""
    return ("erlang-nox", *(["elixir"] if any(app.name == "elixir" for app in release.applications) else []))


def base_root(store: Store, packages: tuple[str, ...] = ()) -> Base:
    """The minimal root for this host's own distribution, with ``packages`` and what they depend on, fetched where the
    store has none yet.

    Raises ToolMissing without mmdebstrap, ImageError when the distribution cannot be reached.
    """
    suite = host_suite()
    # The merged-usr hook spares the package that would do the merging, and with it the whole of perl.
    hook = (f"--hook-dir={HOOK}", "--include=usr-is-merged") if HOOK.is_dir() else ()
    options = ("--variant=minbase", "--format=tar", *hook, *(f"--include={name}" for name in packages),
               *(f"--dpkgopt=path-exclude={p}" for p in EXCLUDED),
               *(f"--dpkgopt=path-include={p}" for p in INCLUDED))

    title = f"{suite} root with {' and '.join(packages)}" if packages else f"minimal {suite} root"

    def make(place: Path) -> None:
        command = tools.find("mmdebstrap")
        with step(f"Making a {title} (once)"), store.scratch() as scratch:
            raw = scratch / "root.tar"
            _mmdebstrap(command, options, suite, host_sources(), raw)
            _rewrite(raw, place, suite, title, tools.version("mmdebstrap"))

    entry, _ = store.build(KIND, digest(suite, options, DROPPED.pattern)[:32], make)
    about = json.loads((entry / "base.json").read_text())
    return Base(layer=entry / "layer.tar.gz", **{"title": title} | about | {"paths": frozenset(about["paths"])})


def host_suite(release: Path = Path("/etc/os-release")) -> str:
    """The code name of this host's distribution. Raises ImageError where it has none."""
    text = release.read_text() if release.is_file() else ""
    found = re.search(r'^VERSION_CODENAME="?([a-z]+)', text, re.MULTILINE)
    if not found or not re.search(r"^ID(_LIKE)?=.*(debian|ubuntu)", text, re.MULTILINE):
        raise ImageError("The slim and full flavours are made on Debian or Ubuntu hosts only.",
                         "Use the scratch flavour, which holds the release and its libraries.")
    return found[1]


def host_sources() -> tuple[str, ...]:
    """The distribution's own archives as apt knows them on this host, as lines of a sources.list.

    Empty when apt has none, and mmdebstrap then takes the distribution's usual ones.
    """
    wanted = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    shown = process.run((tools.find("apt-get"), "indextargets", "--format", wanted, "Created-By: Packages"),
                        check=False)
    found: dict[tuple[str, str], list[str]] = {}
    for line in shown.stdout.splitlines():
        origin, uri, suite, component = (line.split("|") + [""] * 3)[:4]
        if origin in ("Debian", "Ubuntu") and component in ("main", "universe") and "backports" not in suite:
            components = found.setdefault((uri, suite), [])
            components += [component] if component not in components else []
    return tuple(f"deb {uri} {suite} {' '.join(components)}" for (uri, suite), components in found.items())


def _mmdebstrap(command: Path, options: tuple[str, ...], suite: str, sources: tuple[str, ...], target: Path) -> None:
    try:
        process.run([command, *options, suite, target, *(["-"] if sources else [])], timeout=1800,
                    env={"SOURCE_DATE_EPOCH": "0"}, input="".join(f"{s}\n" for s in sources).encode())
    except ProgramFailed as error:
        raise ImageError(f"mmdebstrap could not make a {suite} root.",
                         "See to it that apt-get update works (as a normal user, user namespaces and newuidmap are "
                         "needed too), or use the scratch flavour.", error.details) from error


def _rewrite(raw: Path, place: Path, suite: str, title: str, number: str) -> None:
    """mmdebstrap's tar as our layer: sorted names, the time 0, without what the host or nobody needs."""
    links, paths, size = {}, [], 0
    with tarfile.open(raw) as source, layer_writer(place / "layer.tar.gz", title) as writer:
        kept = {name: member for member in source.getmembers() if (name := member.name.removeprefix("./").rstrip("/"))
                not in ("", ".") and not DROPPED.fullmatch(name)}
        # A hard link has to follow the file it names, and members have come in an order that makes it so.
        for name, member in kept.items():
            member.name, member.linkname = name, member.linkname.removeprefix("./")
            member.mtime, member.uname, member.gname, member.pax_headers = 0, "", "", {}
            writer.tar.addfile(member, source.extractfile(member) if member.isreg() else None)
            paths.append(name)
            size += member.size if member.isreg() else 0
            if member.issym():
                links[name] = member.linkname
    layer = writer.layer
    assert layer is not None
    about = {"suite": suite, "digest": layer.digest, "diff_id": layer.diff_id, "bytes": size,
             "title": title, "layer_bytes": layer.bytes, "tar_bytes": layer.unpacked, "links": links,
             "paths": sorted(paths), "tool": number}
    (place / "base.json").write_text(json.dumps(about, sort_keys=True))


def unpack(base: Base, target: Path) -> None:
    """Lay the base out in the empty directory ``target``: with its owners where we may, else all as our own."""
    with _trusting(base.layer) as tar:
        tar.extractall(target, numeric_owner=True)  # nosec B202 # written by _rewrite


@contextmanager
def _trusting(path: Path) -> Iterator[tarfile.TarFile]:
    """An archive that we wrote ourselves, unpacked as it is (owners, setuid bits, absolute link targets)."""
    with tarfile.open(path) as tar:
        # Newer Pythons have a filter for strangers' archives; an attribute of this name is ignored by older ones.
        tar.extraction_filter = lambda member, _: member
        yield tar
