"""The distribution's own source of Erlang/OTP, fetched with apt by any user (:mod:`unibeam_nb.apt`)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.apt import UPDATE, Apt, complaints
from unibeam_nb.errors import ImageError, ProgramFailed
from unibeam_nb.progress import step
from unibeam_nb.store import Store, digest

PACKAGE = "erlang"
INSTALLED = "erlang-base"
KIND = "erts-sources"

_VERSION = re.compile(r"(?:\d+:)?(\d+(?:\.\d+)*)")


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
    apt = Apt.of(store, sources=True)
    with step("Asking the distribution for Erlang's source"):
        told = apt.update()
        known = apt.source_versions(PACKAGE)
    fitting = [version for version in known if otp_of(version) == otp]
    if not fitting:
        raise _absent(otp, known, told)
    version = wanted if wanted in fitting else newest(fitting)

    def fetch(place: Path) -> None:
        with step(f"Fetching the source of Erlang/OTP {otp}"):
            apt.download({PACKAGE: version}, place)

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
    return ImageError("The distribution's source of Erlang/OTP cannot be found.",
                      UPDATE, complaints(told)[:4])
