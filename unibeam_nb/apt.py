"""The distribution's packages, fetched by any user and never installed.

apt gets a state and a cache of its own in the store; the host's configuration is read and left as it is, and signatures
and checksums are checked as ever. What apt knows of packages it takes from the host's lists, until those prove empty or
too old. Lists of sources are made from the host's own, since few hosts ask for sources.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from unibeam_nb import process, tools
from unibeam_nb.errors import ImageError, ProgramFailed, ToolMissing
from unibeam_nb.private import private
from unibeam_nb.progress import step
from unibeam_nb.store import Store

T = TypeVar("T")

UPDATE = "See to it that apt-get update works, then try again."
_FIELD = re.compile(r"^(Package|Version): (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Apt:
    """apt with state and cache below ``home``; for source packages with ``sources``, where its lists are its own."""

    command: Path
    query: Path
    home: Path
    sources: bool = False

    @classmethod
    def of(cls, store: Store, *, sources: bool = False) -> Apt:
        """The one of this store. Raises ToolMissing without apt."""
        apt = cls(tools.find("apt-get"), tools.find("apt-cache"),
                  private(store.cache) / ("apt-source" if sources else "apt"), sources)
        for folder in ("cache/archives/partial", "state/lists/partial", "lists"):
            (apt.home / folder).mkdir(parents=True, exist_ok=True)
        return apt

    def options(self, *, own_lists: bool | None = None) -> list[str]:
        """apt's options. ``own_lists`` says whose package lists are used; by default our own once there are any."""
        # The sandbox user cannot write below a private directory; signatures are checked all the same.
        words = ["-q", "-o", f"Dir::Cache={self.home / 'cache'}", "-o", "APT::Sandbox::User=root",
                 "-o", "Acquire::Languages=none"]
        if self.sources:
            words += ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={self.home / 'lists'}"]
        elif own_lists is None:
            own_lists = any((self.home / "state" / "lists").glob("*_Packages*"))
        if own_lists or self.sources:
            words += ["-o", f"Dir::State={self.home / 'state'}", "-o", "Dir::State::status=/var/lib/dpkg/status"]
        return words

    def update(self) -> str:
        """Fetch lists of our own; returns what apt said. A list that fails is no error here: whether what is wanted
        is known afterwards is what counts."""
        if self.sources:
            for old in (self.home / "lists").iterdir():
                old.unlink()
            for path in host_lists():
                (self.home / "lists" / path.name).write_text(for_sources(path.read_text(), path.suffix))
        with step("Asking the distribution what it has"):
            done = process.run([self.command, *self.options(own_lists=True), "update"], timeout=600, check=False)
        return done.stdout + done.stderr

    def named_by(self, meta: str, pattern: re.Pattern[str]) -> dict[str, str]:
        """The first package of this name that ``meta`` depends on, with its version; empty when apt knows none."""
        shown = process.run([self.query, *self.options(), "depends", "--important", meta], check=False).stdout
        names = [word for line in shown.splitlines()[1:] for word in line.split() if pattern.fullmatch(word)]
        return {name: version for name in names[:1] if (version := self.version(name))}

    def version(self, package: str) -> str | None:
        """The version of a package that apt would fetch, or None."""
        shown = process.run([self.query, *self.options(), "show", "--no-all-versions", package], check=False).stdout
        found = re.search(r"^Version: (.+)$", shown, re.MULTILINE)
        return found[1] if found else None

    def source_versions(self, package: str) -> list[str]:
        """The versions of a source package that apt knows."""
        shown = process.run([self.query, *self.options(), "showsrc", package], check=False).stdout
        stanzas = (dict(_FIELD.findall(stanza)) for stanza in shown.split("\n\n"))
        return [stanza["Version"] for stanza in stanzas if stanza.get("Package") == package and "Version" in stanza]

    def download(self, packages: Mapping[str, str], place: Path) -> None:
        """Fetch packages (name to version) into ``place``, or, with ``sources``, their source packages. Raises
        ProgramFailed when the archive no longer has them."""
        words = ("source", "--download-only") if self.sources else ("download",)
        names = [f"{name}={version}" for name, version in packages.items()]
        process.run([self.command, *self.options(), *words, *names], cwd=place, timeout=1800)

    def unpack(self, packages: Mapping[str, str], scratch: Path) -> Path:
        """Fetch packages into ``scratch`` and unpack them; returns the directory that holds what they would install."""
        self.download(packages, scratch)
        root = scratch / "root"
        for package in sorted(scratch.glob("*.deb")):
            process.run([tools.find("dpkg-deb"), "-x", package, root])
        return root


def obtain(store: Store, what: str, meta: str, named: Callable[[Apt], Mapping[str, str]],
           use: Callable[[Apt, Mapping[str, str]], T], otherwise: str) -> T:
    """What ``use`` makes of the packages that ``meta`` stands for, with the host's package lists or newer ones.

    ``named`` gives the packages with their versions, none when apt does not know ``meta``; ``what`` is their
    word for people, ``otherwise`` how they can go on without. Raises ImageError when they cannot be had.
    """
    try:
        apt = Apt.of(store)
    except ToolMissing:
        raise ImageError(f"The distribution's {what} cannot be fetched, because apt-get is not on this host.",
                         otherwise) from None
    try:
        packages = named(apt)
        if packages:
            return use(apt, packages)
    except ProgramFailed:
        pass  # The host's lists are old and name files that are gone; new ones are asked for next.
    told = apt.update()
    packages = named(apt)
    if not packages:
        why = reason(told) or f"apt does not know the package {meta}."
        raise ImageError(f"The distribution's {what} cannot be fetched: {why}", f"{UPDATE} {otherwise}")
    try:
        return use(apt, packages)
    except ProgramFailed as error:
        raise ImageError(f"The distribution's {what} cannot be fetched: {reason(error.output) or error.message}",
                         f"{UPDATE} {otherwise}") from error


def complaints(output: str) -> list[str]:
    """apt's own complaints in what it printed."""
    return [line for line in output.splitlines() if line.startswith(("E: ", "W: "))]


def reason(output: str) -> str:
    """apt's first complaint as a sentence, or nothing."""
    told = [line[3:].strip() for line in complaints(output)]
    return (told[0].rstrip(".") + ".") if told else ""


def for_sources(text: str, suffix: str) -> str:
    """An apt source list (``sources.list(5)``, both forms by ``suffix``) with its entries asking for sources."""
    if suffix == ".sources":
        return re.sub(r"^Types:.*\bdeb\b.*$", "Types: deb-src", text, flags=re.MULTILINE)
    lines = (re.sub(r"^\s*deb\s", "deb-src ", line) for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line.startswith("deb-src "))


def host_lists() -> Iterator[Path]:
    """The files in which this host's apt keeps its sources."""
    names = ("LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d")
    shown = process.run([tools.find("apt-config"), "shell", *names], check=False).stdout
    where = dict(word.split("=", 1) for word in shlex.split(shown) if "=" in word)
    single = Path(where.get("LIST", "/etc/apt/sources.list"))
    parts = Path(where.get("PARTS", "/etc/apt/sources.list.d"))
    if single.is_file():
        yield single
    if parts.is_dir():
        yield from (path for path in sorted(parts.iterdir()) if path.suffix in (".list", ".sources"))
