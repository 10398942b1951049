"""A kernel that is entered directly: only what is loaded, where it is loaded."""

from __future__ import annotations

import struct

import pytest

from unibeam_nb.errors import ImageError
from unibeam_nb.image.vmlinux import pack

BASE, SHIFT = 0xFFFFFFFF81000000, 0xFFFFFFFF80000000
ZEROS = 0x123000
"""How much memory the variables take that begin as zeros."""
PROGBITS, NOTE, NOBITS = 1, 7, 8

SECTIONS = (  # kind, flags, address, bytes
    (PROGBITS, 6, BASE, b"text" * 2000),
    (PROGBITS, 2, BASE + 0x200000, b"rodata" * 1000),
    (NOTE, 2, BASE + 0x200000 + 6000, b"note" * 9),
    (PROGBITS, 3, BASE + 0x400000, b"data" * 100),
    (NOBITS, 3, BASE + 0x401000, b""),
    (PROGBITS, 0, 0, b"GCC: a compiler"))


PER_CPU = 0x500000
"""Where in the file, and in memory, the section lies whose addresses count from 0."""


def kernel(sections: tuple[tuple[int, int, int, bytes], ...] = SECTIONS) -> bytes:
    """An ELF file as the kernel's linker lays it out: padded to 2 MiB, sections at the end."""
    body, table = bytearray(0x200000), [struct.pack("<IIQQQQIIQQ", *([0] * 10))]
    for kind, flags, address, content in sections:
        at = 0x200000 + (address - BASE if address else len(body) - 0x200000)
        body.extend(bytes(max(at + len(content) - len(body), 0)))
        body[at:at + len(content)] = content
        table.append(struct.pack("<IIQQQQIIQQ", 0, kind, flags, address, at, len(content) or 4096, 0, 0, 1, 0))
    load = struct.pack("<IIQQQQQQ", 1, 7, 0x200000, BASE, BASE - SHIFT, len(body), len(body), 0x200000)
    body.extend(bytes(0x200000 + PER_CPU - len(body)) + b"processor" * 9)
    table.append(struct.pack("<IIQQQQIIQQ", 0, PROGBITS, 3, 0, 0x200000 + PER_CPU, 81, 0, 0, 1, 0))
    own = struct.pack("<IIQQQQQQ", 1, 7, 0x200000 + PER_CPU, 0, BASE - SHIFT + PER_CPU, 81, 81 + ZEROS, 0x200000)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, BASE - SHIFT, 64, len(body), 0,
                         64, 56, 2, 64, len(table), 0)
    body[:176] = header + own + load
    return bytes(body) + b"".join(table)


def test_what_is_loaded_lies_where_it_did_and_nothing_else_is_in_it() -> None:
    whole = kernel()
    packed = pack(whole)
    assert len(packed) < 20_000 < len(whole)
    header = struct.unpack_from("<16sHHIQQQIHHHHHH", packed)
    assert (header[1], header[2], header[4], header[12]) == (2, 62, BASE - SHIFT, 0)
    heads = [struct.unpack_from("<IIQQQQQQ", packed, 64 + 56 * i) for i in range(header[10])]
    loaded = {at: packed[offset:offset + size] for kind, _, offset, at, _, size, *_ in heads if kind == 1}
    assert loaded == {BASE: b"text" * 2000, BASE + 0x200000: b"rodata" * 1000 + b"note" * 9,
                      BASE + 0x400000: b"data" * 100, 0: b"processor" * 9}
    assert all(virtual - place == SHIFT or (virtual, place) == (0, BASE - SHIFT + PER_CPU)
               for _, _, _, virtual, place, *_ in heads)
    assert [packed[offset:offset + size] for kind, _, offset, _, _, size, *_ in heads if kind == 4] == [b"note" * 9]
    assert b"compiler" not in packed


def test_the_kernel_says_how_much_memory_it_takes_with_what_begins_as_zeros() -> None:
    """Xen puts the initramfs behind it."""
    packed = pack(kernel())
    heads = [struct.unpack_from("<IIQQQQQQ", packed, 64 + 56 * i) for i in range(packed[56])]
    ends = [place + memory for kind, _, _, _, place, _, memory, _ in heads if kind == 1]
    assert max(ends) == BASE - SHIFT + PER_CPU + 81 + ZEROS
    assert [memory - size for kind, _, _, _, _, size, memory, _ in heads if kind == 1] == [0, 0, 0, ZEROS]


def test_the_same_kernel_becomes_the_same_bytes() -> None:
    assert pack(kernel()) == pack(kernel())


def beyond_memory() -> bytes:
    """A kernel whose second segment takes all that 64 bits can say."""
    return kernel()[:64 + 56 + 40] + b"\xff" * 8 + kernel()[64 + 56 + 48:]


@pytest.mark.parametrize(("content", "message"), [
    (beyond_memory(), "vmlinux is not a whole ELF file of 64 bits (it lies beyond all memory)."),
    (b"MZ" + bytes(100), "vmlinux is not a whole ELF file of 64 bits (it does not begin as one)."),
    (kernel(SECTIONS[:2]), "vmlinux cannot be entered directly.")])
def test_other_files_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        pack(content)
    assert caught.value.message == message
