"""Editing compiled boot scripts, byte for byte, without an emulator.

A ``.boot`` file is one term in the external term format: ``{script, {Name, Vsn}, Instructions}``. An
instruction is put in, or taken out, by copying the bytes of the others, so nothing of the original changes.
Sources: "External Term Format" in the ERTS manual, and ``script(4)`` in SASL's.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence

from unibeam_nb.errors import SourceError

VERSION, COMPRESSED = 131, 80
MAX_UNPACKED = 64 * 1024 * 1024
MAX_DEPTH = 200

# Sizes of the terms that hold no others: tag -> bytes after the tag, or how to find them.
_FIXED = {97: 1, 98: 4, 70: 8, 99: 31, 106: 0}
_BYTE_LENGTH = {115: 0, 119: 0, 110: 1}          # u8 length, plus this many bytes
_SHORT_LENGTH = {100: 0, 118: 0, 107: 0}         # u16 length
_LONG_LENGTH = {109: 0, 111: 1, 77: 1}           # u32 length


class BootScriptError(SourceError):
    """A boot script cannot be read."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The release's boot script is damaged: {reason}.", "Build the release again.")


def skip(data: bytes, at: int, depth: int = 0) -> int:
    """Where the term that begins at ``at`` ends. Raises BootScriptError beyond the data's bounds."""
    if at >= len(data):
        raise BootScriptError("it is cut short")
    if depth > MAX_DEPTH:
        raise BootScriptError("it is nested too deep")
    tag, body = data[at], at + 1
    if tag in _FIXED:
        end = body + _FIXED[tag]
    elif tag in _BYTE_LENGTH:
        end = body + 1 + _number(data, body, 1) + _BYTE_LENGTH[tag]
    elif tag in _SHORT_LENGTH:
        end = body + 2 + _number(data, body, 2)
    elif tag in _LONG_LENGTH:
        end = body + 4 + _number(data, body, 4) + _LONG_LENGTH[tag]
    elif tag in (104, 105, 108, 116):
        width = 1 if tag == 104 else 4
        count = _number(data, body, width)
        end = body + width
        for _ in range({108: count + 1, 116: 2 * count}.get(tag, count)):  # a list has its tail last
            end = skip(data, end, depth + 1)
    else:
        raise BootScriptError(f"it holds a term of the unknown kind {tag}")
    if end > len(data):
        raise BootScriptError("it is cut short")
    return end


def _number(data: bytes, at: int, width: int) -> int:
    if at + width > len(data):
        raise BootScriptError("it is cut short")
    return int.from_bytes(data[at:at + width], "big")


def _split(data: bytes, tags: Sequence[int]) -> list[bytes]:
    """The members of the list or tuple that ``data`` is, each as its bytes."""
    if not data or data[0] not in tags:
        raise BootScriptError("it is not a script")
    if data[0] == 106:
        return []
    width = 1 if data[0] == 104 else 4
    count, at = _number(data, 1, width), 1 + width
    parts = []
    for _ in range(count):
        end = skip(data, at)
        parts.append(data[at:end])
        at = end
    return parts


def split_list(data: bytes) -> list[bytes]:
    return _split(data, (108, 106))


def split_tuple(data: bytes) -> list[bytes]:
    return _split(data, (104, 105))


def make_list(parts: Sequence[bytes]) -> bytes:
    return b"l" + struct.pack(">I", len(parts)) + b"".join(parts) + b"j" if parts else b"j"


def make_tuple(*parts: bytes) -> bytes:
    return bytes([104, len(parts)]) + b"".join(parts)


def make_atom(name: str) -> bytes:
    return bytes([119, len(name.encode())]) + name.encode()


def make_string(text: str) -> bytes:
    return b"k" + struct.pack(">H", len(text)) + text.encode("latin-1")


def apply(module: str, function: str) -> bytes:
    """The instruction that calls ``module:function()``."""
    return make_tuple(make_atom("apply"), make_tuple(make_atom(module), make_atom(function), b"j"))


def atom_name(data: bytes) -> str | None:
    """The name of the atom that ``data`` is; None for another term."""
    if data[:1] in (b"w", b"s"):
        return data[2:].decode("utf-8", "replace")
    if data[:1] in (b"v", b"d"):
        return data[3:].decode("utf-8", "replace")
    return None


def instructions(boot: bytes) -> tuple[bytes, bytes, list[bytes]]:
    """A boot file as (``script`` atom, ``{Name, Vsn}``, instructions). Raises BootScriptError."""
    if boot[:1] != bytes([VERSION]):
        raise BootScriptError("it is not an Erlang term")
    data = boot[1:]
    if data[:1] == bytes([COMPRESSED]):
        data = _inflate(data[5:])
    parts = split_tuple(data[:skip(data, 0)])
    if len(parts) != 3 or atom_name(parts[0]) != "script":
        raise BootScriptError("it is not a script")
    return parts[0], parts[1], split_list(parts[2])


def _inflate(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        whole = unpacker.decompress(data, MAX_UNPACKED)
    except zlib.error:
        raise BootScriptError("its compression is broken") from None
    if unpacker.unconsumed_tail:
        raise BootScriptError("it is too large")
    return whole


def variables(boot: bytes) -> set[str]:
    """The path variables a boot file uses beside ROOT: ``$RELEASE_LIB/...`` needs ``-boot_var RELEASE_LIB``."""
    return {found.decode() for found in re.findall(rb"\$([A-Z][A-Z0-9_]*)/", boot)} - {"ROOT"}


def _of_kind(script: Sequence[bytes], kind: str) -> list[bytes]:
    return [i for i in script if i[:1] in (b"h", b"i") and atom_name(split_tuple(i)[0]) == kind]


LATER = ("erl_eval", "erl_lint", "erl_parse")
"""Modules that OTP's tools put among the first ones to load, and that most programs never use. In interactive
mode they are found when they are; leaving them out saves 4 MB of memory and some start-up time."""


def _lean(step: bytes) -> bytes:
    modules = split_list(split_tuple(step)[1])
    return make_tuple(make_atom("primLoad"), make_list([m for m in modules if atom_name(m) not in LATER]))


def with_agent(boot: bytes, ebin: str, restarts: bool = False) -> bytes:
    """The boot file, for interactive mode, that also loads ``unibeam_agent`` from ``ebin`` and marks ``beam``
    right after the preloaded modules. With ``restarts`` the mark's nonce survives a configuration provider's
    restart."""
    script, name, steps = instructions(boot)
    if apply("unibeam_agent", "beam") in steps:  # a release of ours, given as a source
        return boot
    preloaded = make_tuple(make_atom("progress"), make_atom("preloaded"))
    at = next((i for i, step in enumerate(steps) if _same(step, preloaded)), None)
    if at is None:
        raise BootScriptError("it does not say when the preloaded modules are there")
    first_path = _of_kind(steps[at:], "path")
    kernel = split_list(split_tuple(first_path[0])[1]) if first_path else []
    ours = [make_tuple(make_atom("path"), make_list([make_string(ebin), *kernel])),
            make_tuple(make_atom("primLoad"), make_list([make_atom("os"), make_atom("unibeam_agent")])),
            apply("unibeam_agent", "beam")]
    loads = _of_kind(steps, "primLoad")
    edited = [*steps[:at + 1], *ours, *(_lean(step) if step in loads else step for step in steps[at + 1:])]
    if restarts:
        edited = _around_provider(edited)
    return bytes([VERSION]) + make_tuple(script, name, make_list(edited))


def _same(step: bytes, wanted: bytes) -> bool:
    if step[:1] != b"h":
        return False
    return [atom_name(part) for part in split_tuple(step)] == [atom_name(part) for part in split_tuple(wanted)]


def _around_provider(steps: Sequence[bytes]) -> list[bytes]:
    edited: list[bytes] = []
    for step in steps:
        provider = _of_kind([step], "apply") and \
            atom_name(split_tuple(split_tuple(step)[1])[0]) == "Elixir.Config.Provider"
        edited += [apply("unibeam_agent", "expose"), step, apply("unibeam_agent", "hide")] if provider else [step]
    return edited
