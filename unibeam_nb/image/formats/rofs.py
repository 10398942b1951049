"""ROFS, version 1: OSv's read-only file system.

Source: OSv's ``fs/rofs/rofs.hh`` and ``scripts/gen-rofs-img.py`` (the layout, not the code). Everything is
little-endian, in blocks of 512 bytes:

    block 0     eight u64: magic, version 1, block size 512, first block and number of blocks of the structure,
                numbers of directory entries, symbolic links and inodes
    block 1...  the contents of the files, each from the start of a block
    structure   directory entries {u64 inode, u16 length, name}, then links {u16 length, target}, then inodes
                {u64 mode, u64 inode, u64 offset, u64 count}, packed without gaps

Inodes are numbered from 1 in their order, 1 is the root. ``offset`` and ``count`` of an inode are: of a directory the
index of its first entry and how many it has, which follow each other; of a file its first block and its bytes; of a
link its index and 1. There are neither owners, times, nor devices, so equal trees become equal bytes.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from unibeam_nb.errors import ArchiveError, ImageError
from unibeam_nb.image.tree import Entry, Tree

MAGIC, VERSION, BLOCK = 0xDEADBEAD, 1, 512
DIRECTORY, FILE, LINK = 0x4000, 0x8000, 0xA000

_HEADER = struct.Struct("<8Q")
_DIRENT = struct.Struct("<QH")
_LENGTH = struct.Struct("<H")
_INODE = struct.Struct("<4Q")


@dataclass(frozen=True)
class Node:
    """What a reader finds: ``kind`` is one of ``directory``, ``file``, ``link``; ``data`` a file's content or a link's
    target."""

    path: str
    kind: str
    data: bytes = b""


@dataclass(frozen=True)
class _Plan:
    """Where everything goes: computed from names and sizes alone, before a file is read."""

    files: tuple[Entry, ...]
    structure: bytes
    first_block: int
    counts: tuple[int, int, int]


def write(whole: Tree) -> Iterator[bytes]:
    """The file system in pieces, a whole number of blocks in all. The tree holds parents before children.

    Raises ImageError for a device, which the format cannot hold, and for a file that changes its length meanwhile.
    """
    plan = _plan(whole)
    blocks = -(-len(plan.structure) // BLOCK)
    yield _padded(_HEADER.pack(MAGIC, VERSION, BLOCK, plan.first_block, blocks, *plan.counts))
    for entry in plan.files:
        written = 0
        for piece in entry.chunks():
            written += len(piece)
            yield piece
        if written != entry.size:
            raise ImageError(f"/{entry.path} changed its length while it was being packed.",
                             "Build again when nothing writes to it.")
        yield bytes(-written % BLOCK)
    yield _padded(plan.structure)


def _plan(whole: Tree) -> _Plan:
    children: dict[str, list[str]] = {"": []}
    for path in whole:
        parent, _, _ = path.rpartition("/")
        children.setdefault(parent, []).append(path)
        if stat.S_ISDIR(whole[path].mode):
            children.setdefault(path, [])
    # Level by level: the children of one directory get entries, and inodes, that follow each other.
    dirents, links = bytearray(), bytearray()
    inodes: list[bytes] = []
    files: list[Entry] = []
    n_dirents = n_links = 0
    block, next_inode = 1, 2
    queue = [""]
    for path in queue:
        number = len(inodes) + 1
        entry = whole.get(path)
        if path == "" or (entry is not None and stat.S_ISDIR(entry.mode)):
            inodes.append(_INODE.pack(DIRECTORY, number, n_dirents, len(children[path])))
            for child in children[path]:
                name = child.rpartition("/")[2].encode()
                dirents += _DIRENT.pack(next_inode, len(name)) + name
                next_inode += 1
            n_dirents += len(children[path])
            queue += children[path]
        elif entry is not None and stat.S_ISLNK(entry.mode):
            target = entry.target.encode()
            inodes.append(_INODE.pack(LINK, number, n_links, 1))
            links += _LENGTH.pack(len(target)) + target
            n_links += 1
        elif entry is not None and stat.S_ISREG(entry.mode):
            inodes.append(_INODE.pack(FILE, number, block, entry.size))
            files.append(entry)
            block += -(-entry.size // BLOCK)
        else:
            raise ImageError(f"/{path} is a device, which OSv's read-only file system cannot hold.")
    structure = bytes(dirents) + bytes(links) + b"".join(inodes)
    return _Plan(tuple(files), structure, block, (n_dirents, n_links, len(inodes)))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def read(image: bytes) -> Iterator[Node]:
    """Everything in a file system but its root, parents first. Raises ArchiveError when it is damaged or cut short,
    or leads in a circle."""
    try:
        magic, version, block, first, blocks, *counts = _HEADER.unpack_from(image)
    except struct.error:
        raise ArchiveError("The ROFS image is shorter than its first block.") from None
    if (magic, version, block) != (MAGIC, VERSION, BLOCK):
        raise ArchiveError("This is not an ROFS image of version 1.", "OSv's loader would refuse it too.")
    if first * BLOCK + blocks * BLOCK > len(image):
        raise ArchiveError(f"The ROFS image is cut short at byte {len(image)}.")
    structure = image[first * BLOCK:(first + blocks) * BLOCK]
    try:
        yield from _walk(image, *_tables(structure, *counts))
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ArchiveError("The ROFS image's structure is damaged.") from None


def _tables(structure: bytes, n_dirents: int, n_links: int, n_inodes: int) -> \
        tuple[list[tuple[int, str]], list[bytes], list[tuple[int, ...]]]:
    """Directory entries, links and inodes. The counts are not believed: each thing is read from what is there."""
    at = 0
    dirents: list[tuple[int, str]] = []
    for _ in range(n_dirents):
        inode, length = _DIRENT.unpack_from(structure, at)
        at += _DIRENT.size
        dirents.append((inode, _exactly(structure, at, length).decode()))
        at += length
    links: list[bytes] = []
    for _ in range(n_links):
        (length,) = _LENGTH.unpack_from(structure, at)
        at += _LENGTH.size
        links.append(_exactly(structure, at, length))
        at += length
    if n_inodes * _INODE.size > len(structure) - at:
        raise ArchiveError("The ROFS image's structure is damaged.")
    inodes = [_INODE.unpack_from(structure, at + i * _INODE.size) for i in range(n_inodes)]
    return dirents, links, inodes


def _exactly(data: bytes, at: int, length: int) -> bytes:
    piece = data[at:at + length]
    if len(piece) != length:
        raise ArchiveError("The ROFS image's structure is damaged.")
    return piece


def _walk(image: bytes, dirents: list[tuple[int, str]], links: list[bytes],
          inodes: list[tuple[int, ...]]) -> Iterator[Node]:
    seen = {1}
    queue = [("", 1)]
    left = len(image)  # No two files share a block, so they hold no more than the image does.
    for directory, number in queue:
        _, _, first, count = inodes[number - 1]
        if first + count > len(dirents):
            raise ArchiveError("The ROFS image's structure is damaged.")
        for inode, name in dirents[first:first + count]:
            if inode in seen or not 1 <= inode <= len(inodes) or name in ("", ".", "..") or "/" in name:
                raise ArchiveError("The ROFS image's structure is damaged.")
            seen.add(inode)
            path = f"{directory}/{name}".lstrip("/")
            mode, _, offset, size = inodes[inode - 1]
            if mode == DIRECTORY:
                queue.append((path, inode))
                yield Node(path, "directory")
            elif mode == LINK:
                yield Node(path, "link", links[offset])
            elif mode == FILE:
                left -= size
                if left < 0:
                    raise ArchiveError("The ROFS image's structure is damaged.")
                yield Node(path, "file", _exactly(image, offset * BLOCK, size))
            else:
                raise ArchiveError("The ROFS image's structure is damaged.")
