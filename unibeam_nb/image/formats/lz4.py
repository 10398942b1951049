"""lz4 in the legacy frame, the only one that the kernel's initramfs decompressor reads.

Source: ``lib/decompress_unlz4.c`` of the Linux kernel: the magic 0x184C2102, then blocks, each a little-endian
32-bit length and that many bytes which unpack to at most 8 MiB.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator

MAGIC = 0x184C2102
BLOCK = 8 << 20
LEVEL = 12


def compress_block(block: bytes) -> bytes:
    """A block of at most 8 MiB, compressed, without its length."""
    import lz4.block

    return bytes(lz4.block.compress(block, mode="high_compression", compression=LEVEL, store_size=False))


def compress(pieces: Iterable[bytes], pack: Callable[[bytes], bytes] = compress_block) -> Iterator[bytes]:
    """The compressed stream in pieces. An empty piece says where a block should end.

    Blocks are independent of each other, so ``pack`` may find one where it was packed before.
    """
    yield struct.pack("<I", MAGIC)
    for block in _blocks(pieces, BLOCK):
        packed = pack(block)
        yield struct.pack("<I", len(packed)) + packed


def _blocks(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    held = bytearray()
    for piece in pieces:
        if not piece and held:
            yield bytes(held)
            held.clear()
        held += piece
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)
