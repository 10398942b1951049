"""The ELF kernel inside a bzImage, in every compression that kernels are packed with."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import struct
from collections.abc import Callable

import lz4.block
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.errors import ArchiveError
from unibeam_nb.image.formats.bzimage import elf_inside

ELF = b"\x7fELF" + bytes(range(256)) * 64


def legacy(data: bytes) -> bytes:
    block = lz4.block.compress(data, store_size=False)
    return b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "xz": lzma.compress, "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress, "zstd": zstandard.compress, "lz4": legacy, "none": bytes}


def bzimage(payload: bytes, size: int) -> bytes:
    head = bytearray(5 * 512 + 64)
    head[0x1F1] = 4
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, 0x20F)
    struct.pack_into("<II", head, 0x248, 64, len(payload) + 4)
    return bytes(head) + payload + struct.pack("<I", size) + b"behind it"


@pytest.mark.parametrize("packer", PACKERS)
def test_the_elf_file_comes_out_as_it_went_in(packer: str) -> None:
    assert elf_inside(bzimage(PACKERS[packer](ELF), len(ELF))) == ELF


def test_an_elf_file_is_one_already() -> None:
    assert elf_inside(ELF) == ELF


@pytest.mark.parametrize(("kernel", "message"), [
    (b"MZ" * 600, "The kernel is not a bzImage that tells where its payload is (boot protocol 2.08)."),
    (bzimage(gzip.compress(ELF), len(ELF))[:2800], "The kernel is cut short: its payload is not all there."),
    (bzimage(b"LZO?" * 9, 9), "The kernel is compressed in a way that is not known here (LZO perhaps)."),
    (bzimage(gzip.compress(ELF), len(ELF) + 1), f"The kernel's payload unpacks to {len(ELF)} bytes, and {len(ELF) + 1} "
     "of an ELF file were promised."),
    (bzimage(gzip.compress(ELF), 9), "The kernel's payload is damaged (it unpacks to more than 9 bytes)."),
    (bzimage(gzip.compress(ELF), 1 << 30), "The kernel would unpack to 1073741824 bytes, which is no kernel's size.")])
def test_what_is_no_kernel_is_refused(kernel: bytes, message: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        elf_inside(kernel)
    assert caught.value.message == message


@given(st.sampled_from(sorted(set(PACKERS) - {"none"})), st.integers(0, 300), st.integers(1, 255))
def test_a_damaged_payload_is_an_error_of_ours_or_the_same_file(packer: str, at: int, flip: int) -> None:
    payload = bytearray(PACKERS[packer](ELF))
    payload[at % len(payload)] ^= flip
    with contextlib.suppress(ArchiveError):
        assert len(elf_inside(bzimage(bytes(payload), len(ELF)))) == len(ELF)
