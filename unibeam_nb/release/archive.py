"""Unpacking a release archive that somebody else made, into a directory and nowhere else.

Refused: absolute paths, ``..``, links that point out of the directory, devices and pipes, more entries or
bytes than a release can have. Nothing is written before the whole listing has been judged.
"""

from __future__ import annotations

import gzip
import lzma
import posixpath
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from unibeam_nb.errors import ArchiveError
from unibeam_nb.progress import checkpoint
from unibeam_nb.release.suspect import opened
from unibeam_nb.units import format_bytes

MAX_ENTRIES = 100_000
MAX_BYTES = 2 * 1000 ** 3
MAX_RATIO, SMALL_BYTES = 100, 64 * 1000 ** 2
"""What is more than 64 MB may not be more than a hundred times its archive: code packs to a quarter, zeros to a
thousandth."""

LONGEST_PATH, LONGEST_NAME = 1000, 255
"""Bytes of a path and of each name in it: what Linux takes, with room for the directory around it."""

# tarfile looks behind the end of a map of holes that is cut short, and for targets of links that are not there
# (LookupError). The last four come from entries that contradict each other: a file below a file, a link to itself.
BROKEN = (tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, ValueError,
           LookupError, RecursionError, IsADirectoryError, NotADirectoryError, FileExistsError)


def unpack(archive: Path, target: Path) -> None:
    """Unpack a ``.tar.gz`` into the empty directory ``target``. Raises ArchiveError, then without leftovers there.

    Owners and times are not taken over; of the permissions only the execute bit is.
    """
    try:
        with opened(archive) as (tar, stream):
            members = list(listing(archive, tar))
            _judge(archive, members)
            stream.listing = False
            for member in members:
                checkpoint()
                _write(tar, member, target)
    except BROKEN as error:
        _empty(target)
        raise ArchiveError(f"{archive.name} is not a readable archive.",
                           "A release archive is a .tar.gz, as 'rebar3 tar' and mix make it.") from error
    except FileNotFoundError as error:
        raise ArchiveError(f"{archive} does not exist.", "Check the path.") from error
    except ArchiveError:
        _empty(target)
        raise


def _empty(target: Path) -> None:
    for path in target.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def listing(archive: Path, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The entries of an archive one by one. Raises ArchiveError as soon as they are too many, or too large together."""
    size = 0
    most = min(MAX_BYTES, max(SMALL_BYTES, MAX_RATIO * archive.stat().st_size))
    for number, member in enumerate(tar, start=1):
        size += max(member.size, 0)
        if number > MAX_ENTRIES:
            raise ArchiveError(f"{archive.name} holds more than {MAX_ENTRIES} entries.",
                               "A release has a few thousand; unpack it yourself and give the directory.")
        if size > most:
            raise ArchiveError(f"{archive.name} unpacks to more than {format_bytes(most)}.",
                               "Unpack it yourself and give the directory.")
        yield member


def _judge(archive: Path, members: list[tarfile.TarInfo]) -> None:
    hint = "Do not trust this archive; build the release again."
    links = {_clean(m.name) for m in members if m.issym()}
    for member in members:
        name = member.name
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise ArchiveError(f"{archive.name} would write outside its directory ({name!r}).", hint)
        if not (_writable(name) and _writable(member.linkname)):
            raise ArchiveError(f"{archive.name} holds a name that Linux would not take ({name[:60]!r}).", hint)
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            raise ArchiveError(f"{archive.name} holds something that is neither file, directory nor link ({name!r}).",
                               hint)
        if member.issym() or member.islnk():
            base = posixpath.dirname(_clean(name)) if member.issym() else ""
            aim = posixpath.normpath(posixpath.join(base, member.linkname))
            if member.linkname.startswith("/") or aim == ".." or aim.startswith("../") or _climbs(member.linkname):
                raise ArchiveError(f"{archive.name} holds a link that points outside ({name!r}).", hint)
        parents = _clean(name).split("/")[:-1]
        if any("/".join(parents[:i + 1]) in links for i in range(len(parents))):
            raise ArchiveError(f"{archive.name} would write through a link ({name!r}).", hint)


def _writable(name: str) -> bool:
    """Whether a path is text, and short enough to be written."""
    try:
        raw = name.encode()
    except UnicodeEncodeError:  # Bytes that are no UTF-8 come as halves of characters (PEP 383).
        return False
    return len(raw) <= LONGEST_PATH and all(len(part) <= LONGEST_NAME for part in raw.split(b"/"))


def _climbs(link: str) -> bool:
    """Whether a ``..`` follows a name: that name may be a link itself, and then ``..`` leads anywhere."""
    parts = [part for part in link.split("/") if part not in ("", ".")]
    leading = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    return ".." in parts[leading:]


def _clean(name: str) -> str:
    return posixpath.normpath(name)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    path = target / _clean(member.name)
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.is_file():
        path.unlink()
    if member.issym():
        path.symlink_to(member.linkname)
        return
    source = tar.extractfile(member)
    if source is None:
        raise ArchiveError(f"{member.name!r} is a link to something that is not there.",
                           "The archive is damaged; build the release again.")
    with source, path.open("wb") as stream:
        shutil.copyfileobj(source, stream)
    path.chmod(0o755 if member.mode & 0o100 else 0o644)
