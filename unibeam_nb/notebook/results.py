"""What commands return when it is not one of the nouns: text, lines, lists with a table for a face, a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unibeam_nb.model import Finding

if TYPE_CHECKING:
    from unibeam_nb.image.kernels import Kernel
    from unibeam_nb.lab import Lab
    from unibeam_nb.notebook.board import Form
    from unibeam_nb.release.erts.runtime import Erts
    from unibeam_nb.release.portability import Verdict


class Text(str):
    """Text that a notebook shows as it is, not as a quoted string: help, a console."""

    __slots__ = ()

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(str(self))


@dataclass(frozen=True)
class Lines:
    """What was done, one line each."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """What in the release ``name`` needs more than a BEAM around it."""

    name: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Verdicts:
    """What becomes of the findings of the release ``name`` in an image of ``target``."""

    name: str
    target: str
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Kernels:
    """The kernels that images can be made with."""

    kernels: tuple[Kernel, ...]


@dataclass(frozen=True)
class Runtimes:
    """The emulators that releases can run on."""

    runtimes: tuple[Erts, ...]


@dataclass(frozen=True)
class Board:
    """A dashboard: of the experiment whose ``journal`` is given, or of one that ``form`` is to describe."""

    lab: Lab
    form: Form
    journal: Path | None = None


@dataclass(frozen=True)
class Saved:
    """A file that was written; works wherever a path does."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)
