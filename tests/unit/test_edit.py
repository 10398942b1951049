"""From an edit to the next image: only what changed is packed anew, and the bytes are the same all the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import lz4.block
import pytest

from unibeam_nb.image import linux
from unibeam_nb.image.formats import cpio
from unibeam_nb.image.formats import lz4 as frame
from unibeam_nb.image.tree import Tree, file, tree
from unibeam_nb.store import Store


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def image_of(program: bytes) -> Tree:
    return tree([file("a/libc.so", noise(1, 300_000), part="libraries"), file("etc/hosts", b"x", part="configuration"),
                 file("opt/hello.beam", program, part="hello"),
                 file("opt/kernel.beam", noise(2, 200_000), part="kernel"),
                 file("opt/small.beam", noise(3, 2_000), part="small"),
                 file("opt/stdlib.beam", noise(4, 200_000), part="stdlib")])


def blocks(packed: bytes) -> list[bytes]:
    at, found = 4, []
    while at < len(packed):
        size = int.from_bytes(packed[at:at + 4], "little")
        found.append(lz4.block.decompress(packed[at + 4:at + 4 + size], uncompressed_size=8 << 20))
        at += 4 + size
    return found


def written(store: Store, path: Path, whole: Tree) -> bytes:
    linux.pack(store, path, whole, "lz4")
    return path.read_bytes()


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the blocks that were really compressed."""
    sizes: list[int] = []
    real: Callable[[bytes], bytes] = frame.compress_block

    def counting(block: bytes) -> bytes:
        sizes.append(len(block))
        return real(block)

    monkeypatch.setattr(frame, "compress_block", counting)
    return sizes


def test_an_edit_packs_the_changed_application_alone(fresh_store: Store, tmp_path: Path, packed: list[int]) -> None:
    first = written(fresh_store, tmp_path / "one", image_of(b"one"))
    assert b"".join(blocks(first)) == b"".join(cpio.write(image_of(b"one").values()))
    assert len(packed) == len(blocks(first)) > 3
    packed.clear()
    second = written(fresh_store, tmp_path / "two", image_of(b"another"))
    assert len(packed) == 1
    assert packed[0] < 1000
    assert second == written(Store(tmp_path / "c", tmp_path / "s"), tmp_path / "three", image_of(b"another"))


def test_an_empty_piece_ends_a_block_and_none_is_empty() -> None:
    pieces = [b"", b"one", b"", b"", b"two", b"three", b""]
    assert blocks(b"".join(frame.compress(pieces))) == [b"one", b"twothree"]
