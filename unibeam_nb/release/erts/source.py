"""The distribution's own source of Erlang/OTP, fetched with apt by any user.

The host's apt configuration is read and left as it is: its lists are turned into ones for source packages, which
apt uses with a state and a cache of its own in the store. apt checks signatures and checksums as ever.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import ImageError, ProgramFailed
from unibeam_nb.progress import step
from unibeam_nb.store import Store, digest

PACKAGE = "erlang"
INSTALLED = "erlang-base"
KIND = "erts-sources"

_VERSION = re.compile(r"(?:\d+:)?(\d+(?:\.\d+)*)")
_FIELD = re.compile(r"^(Package|Version): (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A source package in the store: ``version`` is the distribution's, ``otp`` that of Erlang/OTP in it."""

    version: str
    otp: str
    path: Path

    @property
    def description(self) -> Path:
        """Its ``.dsc`` file, beside which its archives lie."""
        return next(iter(sorted(self.path.glob("*.dsc"))))


def otp_of(version: str) -> str:
    """The OTP version in a distribution's: ``1:25.2.3+dfsg-1+deb12u4`` holds ``25.2.3``."""
    found = _VERSION.match(version)
    return found[1] if found else ""


def for_sources(text: str, suffix: str) -> str:
    """An apt source list (``sources.list(5)``, both forms by ``suffix``) with its entries asking for sources."""
    if suffix == ".sources":
        return re.sub(r"^Types:.*\bdeb\b.*$", "Types: deb-src", text, flags=re.MULTILINE)
    lines = (re.sub(r"^\s*deb\s", "deb-src ", line) for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line.startswith("deb-src "))


def newest(versions: Iterable[str]) -> str:
    """The newest of some versions of one package and one OTP; numbers in them count by value."""
    return max(versions, key=lambda v: [(int(n or -1), w) for n, w in re.findall(r"(\d+)|([^\d]+)", v)])


def installed_version(otp: str) -> str | None:
    """The source version of the host's own Erlang package, if it is this OTP version."""
    query = tools.locate("dpkg-query")
    if query is None:
        return None
    done = process.run([query, "-W", "-f", "${source:Version}", INSTALLED], check=False)
    return done.stdout if done.code == 0 and otp_of(done.stdout) == otp else None


def erlang_source(store: Store, otp: str) -> Source:
    """The source of this OTP version, from the store or the distribution; the very version that is installed, where
    one is. Raises ImageError when it cannot be had, ToolMissing without apt."""
    wanted = installed_version(otp)
    if wanted is not None:
        kept = store.entry(KIND, _key(wanted))
        if kept.is_dir():
            return Source(wanted, otp, kept)
    apt = Apt.of(store)
    with step("Asking the distribution for Erlang's source"):
        told = apt.update()
        known = apt.versions()
    fitting = [version for version in known if otp_of(version) == otp]
    if not fitting:
        raise _absent(otp, known, told)
    version = wanted if wanted in fitting else newest(fitting)

    def fetch(place: Path) -> None:
        with step(f"Fetching the source of Erlang/OTP {otp}"):
            apt.download(version, place)

    try:
        return Source(version, otp, store.build(KIND, _key(version), fetch)[0])
    except ProgramFailed as error:
        raise ImageError(f"The source of Erlang/OTP {otp} cannot be fetched.", "See to it that apt-get update works.",
                         error.details) from error


def _key(version: str) -> str:
    return digest("erlang source", version)[:32]


def _absent(otp: str, known: Iterable[str], told: str) -> ImageError:
    there = sorted({otp_of(version) for version in known})
    if there:
        return ImageError(f"The distribution has no source of Erlang/OTP {otp}; it has {', '.join(there)}.",
                          "Build the release with the distribution's own Erlang, or leave lean out.")
    complaints = [line for line in told.splitlines() if line.startswith(("E: ", "W: "))]
    return ImageError("The distribution's source of Erlang/OTP cannot be found.",
                      "See to it that apt-get update works, then try again.", complaints[:4])


@dataclass(frozen=True)
class Apt:
    """apt for source packages, with lists, state and cache below ``home``."""

    command: Path
    query: Path
    home: Path

    @classmethod
    def of(cls, store: Store) -> Apt:
        apt = cls(tools.find("apt-get"), tools.find("apt-cache"), store.cache / "apt-source")
        for folder in ("cache/archives/partial", "state/lists/partial", "lists"):
            (apt.home / folder).mkdir(parents=True, exist_ok=True)
        return apt

    @property
    def options(self) -> list[str]:
        # The sandbox user cannot write below a private directory; signatures are checked all the same.
        return ["-q", "-o", f"Dir::State={self.home / 'state'}", "-o", f"Dir::Cache={self.home / 'cache'}",
                "-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={self.home / 'lists'}",
                "-o", "Dir::State::status=/var/lib/dpkg/status", "-o", "APT::Sandbox::User=root",
                "-o", "Acquire::Languages=none"]

    def update(self) -> str:
        """Fetch lists of sources; returns what apt said. A list that fails is no error here: whether the source is
        known afterwards is what counts."""
        for old in (self.home / "lists").iterdir():
            old.unlink()
        for path in _host_lists():
            (self.home / "lists" / path.name).write_text(for_sources(path.read_text(), path.suffix))
        done = process.run([self.command, *self.options, "update"], timeout=600, check=False)
        return done.stdout + done.stderr

    def versions(self) -> list[str]:
        """The versions of Erlang's source package that apt knows."""
        shown = process.run([self.query, *self.options, "showsrc", PACKAGE], check=False).stdout
        stanzas = (dict(_FIELD.findall(stanza)) for stanza in shown.split("\n\n"))
        return [stanza["Version"] for stanza in stanzas if stanza.get("Package") == PACKAGE and "Version" in stanza]

    def download(self, version: str, place: Path) -> None:
        process.run([self.command, *self.options, "source", "--download-only", f"{PACKAGE}={version}"], cwd=place,
                    timeout=1800)


def _host_lists() -> Iterator[Path]:
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
