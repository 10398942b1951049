"""A bill of materials as data. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unibeam_nb.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("kernel", "kernel module", "firmware", "program", "runtime", "application", "library", "package", "data")
"""What a component is: ``program`` is one of ours, ``runtime`` an emulator, ``application`` one of OTP, ``package`` one
of a distribution's below the release, ``data`` configuration."""


@dataclass(frozen=True)
class Package:
    """A package of a distribution (``vendor``: ``debian``, ``ubuntu``), its release (``debian-12``), and the licence
    that its machine-readable copyright file gives for all files but those it lists apart; empty where it has none."""

    name: str
    version: str
    architecture: str
    vendor: str = "debian"
    distribution: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Component:
    """One thing that an image is made of. ``ref`` names it among its fellows; ``needs`` are the refs of what it cannot
    be without. ``sha256`` is that of its one file, or, where it has more ``files``, of their list (:func:`listing`).
    ``package`` and ``locked`` tell where it came from, as a package of the distribution or ``hex``; ``licence`` is an
    SPDX expression or what its package says. ``facts`` are told besides."""

    ref: str
    kind: str
    name: str
    version: str = ""
    sha256: str = ""
    bytes: int = 0
    files: int = 0
    package: Package | None = None
    purl: str = ""
    cpe: str = ""
    licence: str = ""
    needs: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def origin(self) -> str:
        """Where it came from, in words for a table."""
        if self.package is not None:
            return f"{self.package.name} {self.package.version}"
        return self.purl.removeprefix("pkg:") if self.purl else dict(self.facts).get("origin", "")


@dataclass(frozen=True)
class Bom:
    """What an image is made of. ``text`` is the whole as CycloneDX JSON; equal images have equal texts."""

    name: str
    kind: str
    sha256: str
    components: tuple[Component, ...]
    text: str

    def __repr__(self) -> str:
        known = sum(1 for each in self.components if each.purl)
        return f"<Bom {self.name} {self.kind}: {len(self.components)} components, {known} of known origin>"

    def save(self, path: Path) -> Path:
        """Write the CycloneDX JSON. Raises UsageError for a file that does not end in ``.json``."""
        from unibeam_nb.store import write_atomically

        if path.suffix != ".json":
            raise UsageError(f"{path.name} does not end in .json.", "A bill of materials is CycloneDX JSON: -o "
                             f"{self.name}.cdx.json")
        write_atomically(path, self.text)
        path.chmod(0o644)
        return path

    def to_frame(self) -> pd.DataFrame:
        """One row a component."""
        import pandas as pd

        return pd.DataFrame([{"kind": each.kind, "name": each.name, "version": each.version, "origin": each.origin,
                              "licence": each.licence, "bytes": each.bytes, "files": each.files, "purl": each.purl,
                              "sha256": each.sha256, "needs": list(each.needs)} for each in self.components])


def listing(files: dict[str, str]) -> str:
    """Files (path to sha256) as ``sha256sum`` prints them, in the order of their paths."""
    return "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(files.items()))
