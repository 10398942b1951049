"""A root file system as data: what lies where, before it becomes a cpio archive, a tar layer or a directory.

Paths are relative to the root, with ``/`` and without a leading one (``etc/hosts``). Everything belongs to
root and has the time 0, so equal trees become equal bytes. Each entry belongs to a part of the image
(:class:`unibeam_nb.model.Part`), which is how sizes are accounted for.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from unibeam_nb.errors import ImageError
from unibeam_nb.model import Part
from unibeam_nb.store import walk

CHUNK = 1 << 20
_LINKS_FOLLOWED = 40


@dataclass(frozen=True)
class Entry:
    """One thing in a tree. ``mode`` holds the kind as in ``st_mode``; a file has ``content`` (bytes, or the path to
    copy from), a symbolic link has ``target``, a character device has ``device`` (major, minor)."""

    path: str
    mode: int
    content: Path | bytes = b""
    target: str = ""
    device: tuple[int, int] = (0, 0)
    part: str = "configuration"

    @property
    def size(self) -> int:
        """Bytes of content: of a file its length, of a link that of its target, else 0."""
        if stat.S_ISLNK(self.mode):
            return len(self.target.encode())
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def chunks(self) -> Iterator[bytes]:
        """The file's content in pieces. Raises ImageError when the source vanished or changed its length meanwhile."""
        if isinstance(self.content, bytes):
            yield self.content
            return
        left = self.size
        with self.content.open("rb") as stream:
            while piece := stream.read(CHUNK):
                left -= len(piece)
                yield piece
        if left:
            raise ImageError(f"{self.content} changed its length while it was being packed.",
                             "Build again when nothing writes to it.")


def directory(path: str, mode: int = 0o755, *, part: str = "configuration") -> Entry:
    return Entry(path, stat.S_IFDIR | mode, part=part)


def file(path: str, content: Path | bytes | str, mode: int = 0o644, *, part: str = "configuration") -> Entry:
    return Entry(path, stat.S_IFREG | mode, content.encode() if isinstance(content, str) else content, part=part)


def link(path: str, target: str, *, part: str = "configuration") -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target=target, part=part)


def device(path: str, major: int, minor: int, mode: int, *, part: str = "configuration") -> Entry:
    return Entry(path, stat.S_IFCHR | mode, device=(major, minor), part=part)


Tree = Mapping[str, Entry]
"""Entries by path, parents before children, siblings in the order of their names."""


def tree(entries: Iterable[Entry]) -> Tree:
    """The entries as a tree, parent directories added where they are missing.

    Raises ImageError for a path that is not plain and relative, for two different entries at one path, and
    for an entry below something that is not a directory.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        if str(PurePosixPath(entry.path)) != entry.path or entry.path.startswith("/") or \
                not entry.path.strip(".") or ".." in entry.path.split("/"):
            raise ImageError(f"{entry.path!r} is not a plain path inside an image.")
        other = found.setdefault(entry.path, entry)
        if other != entry and not (stat.S_ISDIR(other.mode) and stat.S_ISDIR(entry.mode)):
            raise ImageError(f"Two different things want to be /{entry.path} in the image.")
        if stat.S_ISDIR(entry.mode):
            found[entry.path] = entry
    for path in list(found):
        for parent in PurePosixPath(path).parents:
            name = str(parent)
            if name == ".":
                continue
            above = found.setdefault(name, directory(name))
            if not stat.S_ISDIR(above.mode):
                raise ImageError(f"/{path} cannot be in the image, because /{name} is not a directory.")
    return {path: found[path] for path in sorted(found, key=lambda p: p.split("/"))}


def from_directory(root: Path, at: str, part_of: Callable[[str], str]) -> Iterator[Entry]:
    """What lies in a directory on disk, as entries below ``at``; ``part_of`` names the part of each relative path.

    Of the modes only the execute bit is kept, and links are kept as they are. Sockets and devices are refused.
    """
    for path in walk(root):
        relative = path.relative_to(root).as_posix()
        inside, part = f"{at}/{relative}", part_of(relative)
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            yield link(inside, str(path.readlink()), part=part)
        elif stat.S_ISDIR(status.st_mode):
            yield directory(inside, part=part)
        elif stat.S_ISREG(status.st_mode):
            yield file(inside, path, 0o755 if status.st_mode & 0o111 else 0o644, part=part)
        else:
            raise ImageError(f"{path} is neither a file, a directory nor a link.", "Remove it from the release.")


def through_links(entries: Iterable[Entry], links: Mapping[str, str]) -> Iterator[Entry]:
    """The entries at the places where they land when ``links`` (path to target) lie below them.

    A merged-/usr root has ``lib -> usr/lib``. A layer on top that brings a *directory* ``lib`` would replace
    the link, and with it everything that the base keeps there; so ``lib/x`` has to travel as ``usr/lib/x``.
    """
    for entry in entries:
        path = _land(entry.path, links)
        if path != "":
            yield replace(entry, path=path)


def _land(path: str, links: Mapping[str, str]) -> str:
    for _ in range(_LINKS_FOLLOWED):
        whole = PurePosixPath(path)
        hit = next((str(p) for p in (*reversed(whole.parents), whole) if str(p) in links), None)
        if hit is None:
            return path
        rest = whole.relative_to(hit)
        target = PurePosixPath("/", *PurePosixPath(hit).parts[:-1]) / links[hit]
        parts: list[str] = []
        for word in (target / rest).parts[1:]:
            if word == "..":
                parts = parts[:-1]
            else:
                parts.append(word)
        path = "/".join(parts)
    raise ImageError(f"/{path} leads through a circle of symbolic links in the base.")


def parts(whole: Tree) -> tuple[Part, ...]:
    """The sizes of the tree's parts, in the order of their names; parts without bytes are left out."""
    sizes: dict[str, int] = {}
    for entry in whole.values():
        if not stat.S_ISDIR(entry.mode):
            sizes[entry.part] = sizes.get(entry.part, 0) + entry.size
    return tuple(Part(name, size) for name, size in sorted(sizes.items()) if size)


def write_directory(whole: Tree, root: Path) -> None:
    """Lay the tree out on disk below ``root``, which exists. Devices are left to whoever mounts it."""
    for path, entry in whole.items():
        place = root / path
        if stat.S_ISDIR(entry.mode):
            place.mkdir(exist_ok=True)
            place.chmod(stat.S_IMODE(entry.mode))
        elif stat.S_ISLNK(entry.mode):
            place.symlink_to(entry.target)
        elif stat.S_ISREG(entry.mode):
            with place.open("wb") as stream:
                for piece in entry.chunks():
                    stream.write(piece)
            place.chmod(stat.S_IMODE(entry.mode))
