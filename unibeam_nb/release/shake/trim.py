"""A compiled module without the functions that never run. Pure.

Instructions are copied byte for byte, and every table keeps its numbering, so nothing that stays has to be rewritten.
A fun's function that goes leaves a head behind, because the loader looks for the label of every fun; called, it would
raise ``function_clause``, but nobody is left to make it. A literal that nobody refers to becomes the empty list.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection

from unibeam_nb.release.beamfile import NOT_NEEDED, Beam
from unibeam_nb.release.shake.code import END, Body, instructions, literal_terms
from unibeam_nb.release.shake.reach import Module

_JUMP = 61
_NIL = b"\x83j"


def trimmed(module: Module, kept: Collection[int]) -> bytes:
    """The module as file contents with the functions whose numbers are in ``kept``, which is closed under calls."""
    header, code = instructions(module.beam)
    funs = set(module.funs)
    parts: list[bytes] = [code[:module.bodies[0].start]]
    for index, body in enumerate(module.bodies):
        if index in kept:
            parts.append(code[body.start:body.end])
        elif not funs.isdisjoint(body.own):
            parts.append(code[body.start:body.head] + _raise(body))
    count = len(parts) - 1
    header = header[:-4] + struct.pack(">I", count)
    whole = header + b"".join(parts) + bytes([END])
    names = {(module.bodies[index].name, module.bodies[index].arity) for index in kept}
    replaced = {"Code": whole, "ExpT": _exports(module.beam, names), "LitT": _literals(module, kept)}
    chunks = [(name, replaced.get(name, data)) for name, data in module.beam.chunks if name not in NOT_NEEDED]
    return Beam(tuple(chunks)).stripped()


def _raise(body: Body) -> bytes:
    """A jump to the label in front of ``func_info``, which raises ``function_clause``."""
    return bytes([_JUMP]) + compact(5, body.info)


def compact(tag: int, value: int) -> bytes:
    """A small number as a compact term (the inverse of :func:`unibeam_nb.release.shake.code.number`)."""
    if value < 16:
        return bytes([value << 4 | tag])
    if value < 2048:
        return bytes([value >> 8 << 5 | 8 | tag, value & 255])
    data = value.to_bytes((value.bit_length() + 8) // 8, "big")
    return bytes([len(data) - 2 << 5 | 24 | tag]) + data


def _exports(beam: Beam, names: Collection[tuple[str, int]]) -> bytes:
    data = dict(beam.chunks).get("ExpT", b"")
    rows = [data[4 + 12 * i:16 + 12 * i] for i, function in enumerate(beam.exports)
            if (function.name, function.arity) in names]
    return struct.pack(">I", len(rows)) + b"".join(rows)


def _literals(module: Module, kept: Collection[int]) -> bytes:
    terms = literal_terms(module.beam)
    if not terms:
        return dict(module.beam.chunks).get("LitT", b"")
    used = set().union(*(module.bodies[index].literals for index in kept))
    shown = [term if index in used else _NIL for index, term in enumerate(terms)]
    raw = struct.pack(">I", len(shown)) + b"".join(struct.pack(">I", len(term)) + term for term in shown)
    return struct.pack(">I", len(raw)) + zlib.compress(raw, 9)
