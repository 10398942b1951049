"""The initramfs format, and the lz4 frame around it."""

from __future__ import annotations

import shutil
import stat
import struct
from pathlib import Path

import lz4.block
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb import process
from unibeam_nb.errors import ArchiveError, ImageError
from unibeam_nb.image.formats import cpio
from unibeam_nb.image.formats import lz4 as frame
from unibeam_nb.image.tree import Entry, device, directory, file, link, tree

NAME = st.text("abcxyzé.-_ ", min_size=1, max_size=12).filter(lambda n: n.strip("."))
ENTRIES = st.lists(st.one_of(
    st.builds(file, NAME, st.binary(max_size=50), st.sampled_from([0o644, 0o755])),
    st.builds(link, NAME, NAME),
    st.builds(directory, NAME, st.sampled_from([0o755, 0o1777])),
    st.builds(device, NAME, st.integers(0, 255), st.integers(0, 255), st.just(0o600)),
), unique_by=lambda entry: entry.path)


def archive(entries: list[Entry]) -> bytes:
    return b"".join(cpio.write(tree(entries).values()))


@given(ENTRIES)
def test_what_is_written_is_read_back(entries: list[Entry]) -> None:
    whole = tree(entries)
    members = list(cpio.read(b"".join(cpio.write(whole.values()))))
    assert [(m.name, m.mode, m.device) for m in members] == [(e.path, e.mode, e.device) for e in whole.values()]
    for member, entry in zip(members, whole.values(), strict=True):
        assert member.data == (entry.target.encode() if stat.S_ISLNK(entry.mode) else entry.content)
        assert (member.owner, member.mtime) == ((0, 0), 0)
    assert [m.inode for m in members] == list(range(1, len(members) + 1))


@given(ENTRIES)
def test_equal_trees_become_equal_bytes_of_a_multiple_of_four(entries: list[Entry]) -> None:
    packed = archive(entries)
    assert packed == archive(entries[::-1])
    assert len(packed) % 4 == 0


@given(ENTRIES, st.data())
def test_an_archive_that_is_cut_short_is_refused(entries: list[Entry], data: st.DataObject) -> None:
    packed = archive(entries)
    end = data.draw(st.integers(0, len(packed) - len("TRAILER!!!\0") - 4))
    with pytest.raises(ArchiveError):
        list(cpio.read(packed[:end]))


def test_a_header_is_what_the_kernel_documents() -> None:
    packed = archive([file("a", b"hello", 0o755)])
    assert packed.startswith(b"070701" b"00000001" b"000081ED" b"00000000" b"00000000" b"00000001" b"00000000"
                             b"00000005" b"00000000" b"00000000" b"00000000" b"00000000" b"00000002" b"00000000"
                             b"a\0" b"hello\0\0\0")


def test_a_header_that_is_no_number_is_refused() -> None:
    packed = archive([file("a", b"hello")])
    with pytest.raises(ArchiveError) as caught:
        list(cpio.read(packed[:20] + b"zz" + packed[22:]))
    assert caught.value.message == "The cpio header at byte 0 is not hexadecimal."


def test_a_file_of_four_gib_is_refused(tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as stream:
        stream.truncate(1 << 32)
    with pytest.raises(ImageError) as caught:
        next(cpio.write([file("data/huge", huge)]))
    assert caught.value.message == \
        "/data/huge has 4294967296 bytes, and an initramfs cannot hold files of 4 GiB or more."


@pytest.mark.skipif(shutil.which("cpio") is None, reason="the cpio program is not on this host")
def test_the_cpio_program_lists_the_same_names() -> None:
    whole = tree([file("etc/hosts", "x"), link("lib", "usr/lib"), directory("tmp", 0o1777),
                  device("dev/null", 1, 3, 0o666)])
    listed = process.run(["cpio", "--quiet", "-t"], input=b"".join(cpio.write(whole.values()))).stdout.split()
    assert listed == list(whole)


def unframe(packed: bytes) -> list[bytes]:
    """What the kernel's decompressor does: the magic, then blocks of at most 8 MiB each."""
    assert struct.unpack_from("<I", packed) == (0x184C2102,)
    at, blocks = 4, []
    while at < len(packed):
        size, = struct.unpack_from("<I", packed, at)
        blocks.append(lz4.block.decompress(packed[at + 4:at + 4 + size], uncompressed_size=8 << 20))
        at += 4 + size
    return blocks


@given(st.lists(st.binary(max_size=100)))
def test_lz4_unpacks_to_what_went_in(pieces: list[bytes]) -> None:
    assert b"".join(unframe(b"".join(frame.compress(pieces)))) == b"".join(pieces)


def test_lz4_blocks_are_full_but_for_the_last_however_the_pieces_come() -> None:
    data = bytes(range(256)) * ((20 << 20) // 256)
    one = b"".join(frame.compress([data]))
    many = b"".join(frame.compress(data[i:i + 1_000_003] for i in range(0, len(data), 1_000_003)))
    assert one == many
    assert [len(block) for block in unframe(one)] == [8 << 20, 8 << 20, 4 << 20]
