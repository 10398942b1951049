"""What lies in an image, file by file: ``contents.json`` beside its manifest, for whoever looks inside.

It is written from the tree that the image is packed from, so it is the same for an initramfs, EROFS, OSv's disk, a
firmware's disk and container layers, and nothing has to be unpacked to read it. The bytes of the items of a part add
up to that of the image's :class:`~unibeam_nb.model.Part`.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from unibeam_nb.errors import ImageError
from unibeam_nb.image.root import part_of
from unibeam_nb.image.tree import Entry, from_directory
from unibeam_nb.jsonable import loads
from unibeam_nb.model import IMAGE_ROOT, Image
from unibeam_nb.progress import checkpoint
from unibeam_nb.release.archive import BROKEN, listing
from unibeam_nb.release.suspect import opened
from unibeam_nb.store import Store, digest

CONTENTS = "contents.json"

FORMAT = 2
"""Counts up whenever an item would be another one."""


@dataclass(frozen=True)
class Item:
    """One file or link. ``path`` is that in the image's root, or the artefact's name for what lies beside it.
    ``packed`` is what lz4 makes of it alone: how well it packs, compared with its neighbours, since a whole image is
    compressed at once. ``digest`` is the content's sha256."""

    path: str
    part: str
    bytes: int
    packed: int
    digest: str


def item(path: str, part: str, content: bytes) -> Item:
    import lz4.block

    return Item(path, part, len(content), min(len(content), len(lz4.block.compress(content, store_size=False))),
                hashlib.sha256(content).hexdigest())


def of_entries(entries: Iterable[Entry]) -> Iterator[Item]:
    """The files and links among the entries of a tree."""
    for entry in entries:
        checkpoint()
        if stat.S_ISREG(entry.mode):
            yield item(entry.path, entry.part, b"".join(entry.chunks()))
        elif stat.S_ISLNK(entry.mode):
            yield item(entry.path, entry.part, entry.target.encode())


def of_layer(store: Store, layer: Path, key: str, part: str) -> tuple[Item, ...]:
    """The files of a layer (a tar archive, compressed or not), looked at once for its ``key``. A link of either kind
    counts nothing there."""
    def found() -> Iterator[Item]:
        try:
            with opened(layer) as (tar, stream):
                for member in listing(layer, tar):
                    checkpoint()
                    stream.listing = False
                    file = tar.extractfile(member) if member.isreg() else None
                    if file is not None:
                        yield item(member.name, part, file.read())
                    stream.listing = True
        except BROKEN as error:
            raise ImageError(f"The layer {layer} is damaged ({error}).", "Build it again.") from None

    entry, _ = store.build("contents", digest(FORMAT, key, part)[:32], lambda place: write(place, found()))
    return _items(entry / CONTENTS)


def write(place: Path, items: Iterable[Item]) -> None:
    """Write ``contents.json`` into an image's directory: one item a line, in the order of their paths."""
    lines = (json.dumps(astuple(each), ensure_ascii=False) for each in sorted(items, key=lambda i: (i.path, i.part)))
    (place / CONTENTS).write_text("[" + ",\n".join(lines) + "]\n", encoding="utf-8")


def _items(path: Path) -> tuple[Item, ...]:
    return tuple(Item(*row) for row in loads(path.read_text(encoding="utf-8")))


def noted(image: Image) -> bool:
    """Whether it is known what lies in an image."""
    return image.target == "release" or (image.path / CONTENTS).is_file()


def read(image: Image) -> tuple[Item, ...]:
    """What lies in an image. A bare release is looked at where it is. Raises ImageError where nothing was noted."""
    if image.target == "release":
        return tuple(of_entries(from_directory(image.path, IMAGE_ROOT.lstrip("/"), part_of)))
    try:
        return _items(image.path / CONTENTS)
    except (OSError, ValueError, TypeError):
        raise ImageError(f"What lies in the {image.kind} image of {image.name} was not noted when it was built.",
                         "Build it again.") from None
