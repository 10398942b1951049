from __future__ import annotations

import contextlib
import gzip
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.release.beamfile import BeamError, Function, read_beam
from unibeam_nb.release.findings import of_beam


def atom_table(*names: str) -> bytes:
    return struct.pack(">i", len(names)) + b"".join(bytes([len(n.encode())]) + n.encode() for n in names)


def table(*rows: tuple[int, int, int]) -> bytes:
    return struct.pack(">I", len(rows)) + b"".join(struct.pack(">III", *row) for row in rows)



def raw(chunks: dict[str, bytes]) -> bytes:
    body = b"".join(n.encode() + struct.pack(">I", len(d)) + d + bytes(-len(d) % 4) for n, d in chunks.items())
    return b"FOR1" + struct.pack(">I", len(body) + 4) + b"BEAM" + body


SMALL = {"AtU8": atom_table("m", "start", "os", "cmd", "erlang", "open_port"),
         "ImpT": table((3, 4, 1), (5, 6, 2)), "ExpT": table((2, 0, 7))}


def test_names_imports_and_exports_are_read() -> None:
    beam = read_beam(raw(SMALL))
    assert beam.module == "m"
    assert beam.imports == (Function("os", "cmd", 1), Function("erlang", "open_port", 2))
    assert beam.exported("start", 0)
    assert not beam.exported("start", 2)


def test_a_compressed_module_is_read_and_not_compressed_again() -> None:
    beam = read_beam(gzip.compress(raw(SMALL)))
    assert beam.stripped() == raw(SMALL)


def test_stripping_takes_debug_information_and_keeps_attributes() -> None:
    stripped = read_beam(raw(SMALL | {"Dbgi": b"x" * 5, "CInf": b"/home/me", "Attr": b"abc"})).stripped()
    assert [name for name, _ in read_beam(stripped).chunks] == ["AtU8", "ImpT", "ExpT", "Attr"]
    assert dict(read_beam(stripped).chunks)["Attr"] == b"abc"


def test_the_compact_atom_table_of_otp_28_is_read() -> None:
    long = "a" * 300
    data = struct.pack(">i", -2) + bytes([1 << 4]) + b"m" + bytes([300 >> 8 << 5 | 0x08, 300 & 255]) + long.encode()
    assert read_beam(raw({"AtU8": data})).atoms == ("m", long)


def touch(data: bytes) -> None:
    """Read everything that can be read."""
    beam = read_beam(data)
    _ = beam.module, beam.imports, beam.exports, beam.stripped()


@pytest.mark.parametrize(("data", "reason"), [
    (b"", "it does not begin as one"),
    (b"FOR1\0\0\0\xffBEAM", "it is cut short"),
    (raw({"AtU8": struct.pack(">i", 5)}), "its atom table is cut short"),
    (raw({"AtU8": atom_table("m"), "ImpT": table((1, 9, 0))}), "it refers to atom 9 of 1"),
    (raw({"AtU8": atom_table("m"), "ImpT": struct.pack(">I", 2 ** 31)}), "its ImpT chunk is cut short"),
    (raw({"Code": b""}), "it has no atom table"),
    (b"\x1f\x8bnot gzip at all", "its compression is broken"),
])
def test_a_damaged_module_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(BeamError) as caught:
        touch(data)
    assert caught.value.message == f"A compiled module is damaged: {reason}."


@given(st.binary(max_size=300), st.integers(0, 200), st.booleans())
def test_garbage_is_a_beam_error_and_nothing_else(noise: bytes, at: int, whole: bool) -> None:
    good = raw(SMALL)
    data = noise if whole else good[:at] + noise + good[at + len(noise):]
    with contextlib.suppress(BeamError):
        touch(data)


def test_findings_name_the_calls() -> None:
    found = {f.kind: f for f in of_beam(read_beam(raw(SMALL)))}
    assert set(found) == {"os-cmd", "port"}
    assert found["os-cmd"].where == "m"
    assert found["port"].message == "starts programs or drivers through a port (erlang:open_port/2)"
