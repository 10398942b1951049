"""ROFS: what is written is read back; what is damaged is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.errors import ArchiveError, ImageError
from unibeam_nb.image.formats import rofs
from unibeam_nb.image.tree import Entry, device, directory, file, link, tree

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda name: name.strip(".") and len(name.encode()) < 200)


@st.composite
def trees(draw: st.DrawFn) -> list[Entry]:
    """Trees of up to a few dozen entries."""
    entries: dict[str, Entry] = {}
    folders = [""]
    for name in draw(st.lists(NAMES, max_size=25)):
        path = f"{draw(st.sampled_from(folders))}/{name}".lstrip("/")
        if path in entries:
            continue
        kind = draw(st.sampled_from(("directory", "file", "link")))
        if kind == "directory":
            folders.append(path)
            entries[path] = directory(path)
        elif kind == "file":
            entries[path] = file(path, draw(st.binary(max_size=1600)))
        else:
            entries[path] = link(path, draw(NAMES))
    return list(entries.values())


def kinds(entries: list[Entry]) -> dict[str, tuple[str, bytes]]:
    import stat

    found = {}
    for path, entry in tree(entries).items():
        if stat.S_ISDIR(entry.mode):
            found[path] = ("directory", b"")
        elif stat.S_ISLNK(entry.mode):
            found[path] = ("link", entry.target.encode())
        else:
            found[path] = ("file", b"".join(entry.chunks()))
    return found


@given(trees())
def test_what_is_written_is_read_back(entries: list[Entry]) -> None:
    image = b"".join(rofs.write(tree(entries)))
    assert {node.path: (node.kind, node.data) for node in rofs.read(image)} == kinds(entries)
    assert len(image) % rofs.BLOCK == 0


@given(trees())
def test_equal_trees_become_equal_bytes(entries: list[Entry]) -> None:
    assert b"".join(rofs.write(tree(entries))) == b"".join(rofs.write(tree(reversed(entries))))


@given(trees(), st.data())
def test_a_damaged_image_ends_in_our_error_or_is_read(entries: list[Entry], data: st.DataObject) -> None:
    image = bytearray(b"".join(rofs.write(tree(entries))))
    at = data.draw(st.integers(0, len(image) - 1))
    image[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(image)))
    for damaged in (bytes(image), bytes(image[:cut])):
        try:
            list(rofs.read(damaged))
        except ArchiveError:
            continue


def test_the_layout_is_that_of_osv() -> None:
    """Block by block, as fs/rofs/rofs.hh describes it."""
    image = b"".join(rofs.write(tree([file("etc/a", b"x" * 513), link("b", "etc/a")])))
    header = struct.unpack_from("<8Q", image)
    assert header == (0xDEADBEAD, 1, 512, 3, 1, 3, 1, 4)
    assert image[512:512 + 513] == b"x" * 513
    structure = image[3 * 512:]
    assert structure.startswith(struct.pack("<QH", 2, 1) + b"b" + struct.pack("<QH", 3, 3) + b"etc"
                                + struct.pack("<QH", 4, 1) + b"a" + struct.pack("<H", 5) + b"etc/a")
    inodes = struct.iter_unpack("<4Q", structure[11 + 13 + 11 + 7:][:4 * 32])
    assert list(inodes) == [(0x4000, 1, 0, 2), (0xA000, 2, 0, 1), (0x4000, 3, 2, 1), (0x8000, 4, 1, 513)]


def test_an_empty_tree_is_a_root_without_children() -> None:
    image = b"".join(rofs.write(tree([])))
    assert list(rofs.read(image)) == []
    assert len(image) == 2 * rofs.BLOCK


def test_a_device_is_refused() -> None:
    with pytest.raises(ImageError) as caught:
        b"".join(rofs.write(tree([device("dev/null", 1, 3, 0o666)])))
    assert str(caught.value.message) == "/dev/null is a device, which OSv's read-only file system cannot hold."


@pytest.mark.parametrize(("image", "message"), [
    (b"short", "The ROFS image is shorter than its first block."),
    (bytes(512), "This is not an ROFS image of version 1."),
    (struct.pack("<8Q", 0xDEADBEAD, 1, 512, 1, 9, 0, 0, 1).ljust(512, b"\0"),
     "The ROFS image is cut short at byte 512."),
])
def test_what_is_no_rofs_is_refused_in_words(image: bytes, message: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        list(rofs.read(image))
    assert caught.value.message == message


def test_a_circle_is_refused() -> None:
    """A directory that is its own child, by an entry that names the root's inode."""
    image = bytearray(b"".join(rofs.write(tree([directory("a")]))))
    image[512:520] = struct.pack("<Q", 1)
    with pytest.raises(ArchiveError):
        list(rofs.read(bytes(image)))
