"""The modules that an emulator has built in, read out of its program: there code begins."""

from __future__ import annotations

from pathlib import Path

from unibeam_nb.release.beamfile import Beam, BeamError, read_beam

_MAGIC = b"FOR1"


class Words:
    """The names that an emulator knows: every text in its program that ends as texts in C do."""

    def __init__(self, program: Path) -> None:
        self.data = program.read_bytes()

    def __contains__(self, name: object) -> bool:
        return str(name).encode() + b"\0" in self.data


def preloaded(program: Path) -> dict[str, Beam]:
    """The compiled modules inside ``beam.smp``, by name. They lie in it as they are in their files."""
    data = program.read_bytes()
    found: dict[str, Beam] = {}
    at = 0
    while (at := data.find(_MAGIC, at)) >= 0:
        size = 8 + int.from_bytes(data[at + 4:at + 8], "big")
        if data[at + 8:at + 12] == b"BEAM" and at + size <= len(data):
            try:
                beam = read_beam(data[at:at + size])
                found[beam.module] = beam
                at += size - 1
            except BeamError:
                pass
        at += 1
    return found
