"""An emulator with its helpers, ready to be put into a release."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.errors import UsageError
from unibeam_nb.release.assemble import ERTS_PROGRAMS
from unibeam_nb.release.otp import host_otp
from unibeam_nb.store import digest, digest_file

_PT_INTERP, _PROGRAM_HEADER = 3, 56
LARGEST_PROGRAM = 1 << 40
"""No file is so large that its headers could lie behind this byte."""


@dataclass(frozen=True)
class Erts:
    """An Erlang runtime. ``path`` is the directory that holds ``bin``; ``version`` is that of ERTS (``13.1.5``),
    ``otp`` that of OTP, empty where it is not known; ``static`` tells that it loads no native code."""

    name: str
    otp: str
    version: str
    path: Path
    source: str
    static: bool
    sha256: str
    bytes: int

    def __repr__(self) -> str:
        return f"<Erts {self.name}: erts-{self.version}{', static' if self.static else ''}, from {self.source}>"


def erts_at(path: Path, *, name: str | None = None, otp: str = "", source: str | None = None) -> Erts:
    """The runtime in a directory ``erts-VSN``, or in the one such directory of an installation.

    Raises UsageError naming what is missing.
    """
    path = path.expanduser().absolute()
    inside = [path] if path.name.startswith("erts-") else sorted(path.glob("erts-*"))
    found = re.fullmatch(r"erts-(\d+(?:\.\d+)*)", inside[0].name) if len(inside) == 1 else None
    if found is None:
        raise UsageError(f"{path} is not an Erlang runtime.", "Name a directory erts-VERSION, or one that holds one.")
    missing = [program for program in ERTS_PROGRAMS if not (inside[0] / "bin" / program).is_file()]
    if missing:
        raise UsageError(f"{inside[0]} lacks {missing[0]}.", "It should be a whole Erlang runtime.")
    programs = [inside[0] / "bin" / program for program in ERTS_PROGRAMS]
    return Erts(name or str(path), otp, found[1], inside[0], source or str(path), is_static(programs[0]),
                digest(*(digest_file(program) for program in programs)),
                sum(program.stat().st_size for program in programs))


def host_erts() -> Erts:
    """The runtime of the OTP that ``erl`` belongs to. Raises ToolMissing, SourceError."""
    otp = host_otp()
    return erts_at(otp.erts_dir, name="host", otp=otp.version)


def is_static(program: Path) -> bool:
    """Whether a 64-bit little-endian ELF program asks for no loader (it has no ``PT_INTERP``; elf(5))."""
    with program.open("rb") as stream:
        head = stream.read(64)
        if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
            return False
        offset, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
        if offset > LARGEST_PROGRAM or size != _PROGRAM_HEADER:
            return False
        stream.seek(offset)
        table = stream.read(size * count)
    kinds = [struct.unpack_from("<I", table, at)[0] for at in range(0, len(table) - 3, size)] if size else []
    return _PT_INTERP not in kinds
