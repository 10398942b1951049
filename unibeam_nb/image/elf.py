"""The shared libraries that programs need, found by reading their ELF headers and those of what they need.

This follows the rules of ``ld.so(8)``: RPATH (of the object and of those that loaded it) where there is no
RUNPATH, then RUNPATH, then ``/etc/ld.so.cache``, then the default directories; ``$ORIGIN`` is the directory of
the object. glibc 2.34 and later has the name services ``files`` and ``dns`` built in, so an image needs no
``libnss_*`` beside it; ``libgcc_s``, which threads load when they are cancelled, is among the emulator's own
needs.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from unibeam_nb.bounded import Bounded
from unibeam_nb.errors import ArchiveError, ImageError
from unibeam_nb.image.formats.elf64 import EXECUTABLE, MAGIC, SHARED, Elf
from unibeam_nb.progress import checkpoint
from unibeam_nb.store import digest_file

DEFAULT_DIRECTORIES = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
"""Where the loader looks without a cache, so a library that lies elsewhere here moves to the second of them."""

HOME_OF_STRANGERS = "/usr/lib/x86_64-linux-gnu"
CACHE = Path("/etc/ld.so.cache")
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_HEAD, _CACHE_ROW = 48, struct.Struct("<iIIIQ")
_X86_64_LIBC6 = 0x0303


@dataclass(frozen=True)
class Binary:
    """What the loader reads of one ELF file. ``machine`` is what it is for (``x64``)."""

    machine: str
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()


def is_elf(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == MAGIC


def read_binary(path: Path) -> Binary | None:
    """What the loader needs to know of ``path``, or None for an object file, which nobody loads.

    Raises ImageError when the file begins like ELF and is not.
    """
    return _read(digest_file(path), path)


_KNOWN: dict[str, Binary | None] = {}
"""What was read before, by the digest of the file: a release built anew has the same programs in another place."""


def _read(sha256: str, path: Path) -> Binary | None:
    if sha256 in _KNOWN:
        return _KNOWN[sha256]
    try:
        # Libraries can be large, and only their ends are looked at.
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _KNOWN.setdefault(sha256, _parse(Elf(data)))
    except (ArchiveError, ValueError) as error:  # An empty file cannot be mapped.
        raise ImageError(f"{path} is not a whole ELF file ({error}).", "Build or install it again.") from None


def _parse(elf: Elf) -> Binary | None:
    if elf.kind not in (EXECUTABLE, SHARED):
        return None
    wanted = elf.wanted
    return Binary(elf.machine_name, elf.interpreter, wanted.needed, wanted.rpath, wanted.runpath)


def parse_cache(data: bytes) -> dict[str, Path]:
    """The 64-bit libraries listed in an ``ld.so.cache`` (format of ``dl-cache.h`` in glibc), by name.

    Builds for newer processors (``glibc-hwcaps``) are left out, because an image has to run everywhere.
    Empty when the data has another format.
    """
    start = data.find(_CACHE_MAGIC)
    if start < 0 or len(data) < start + _CACHE_HEAD:
        return {}
    held = Bounded(data[start:], ArchiveError)
    count = min(int.from_bytes(held.piece(20, 4), "little"), (len(held) - _CACHE_HEAD) // _CACHE_ROW.size)
    found: dict[str, Path] = {}
    for flags, name, value, _, hwcap in held.rows(_CACHE_ROW, _CACHE_HEAD, count):
        if flags == _X86_64_LIBC6 and hwcap == 0:
            with contextlib.suppress(ArchiveError):  # One entry that leads nowhere does not spoil the others.
                found.setdefault(held.text(name), Path(held.text(value)))
    return found


@dataclass(frozen=True)
class Host:
    """Where this host keeps libraries: its loader's cache and directories, and ``extra`` ones looked at last."""

    cache: Path = CACHE
    directories: tuple[str, ...] = DEFAULT_DIRECTORIES
    extra: tuple[Path, ...] = ()

    @classmethod
    def here(cls) -> Host:
        """This host. In a conda environment, the environment's own libraries are found too."""
        prefix = os.environ.get("CONDA_PREFIX")
        return cls(extra=(Path(prefix) / "lib",) if prefix else ())

    @cached_property
    def _cached(self) -> dict[str, Path]:
        return parse_cache(self.cache.read_bytes()) if self.cache.is_file() else {}

    def find(self, name: str) -> Path | None:
        """The library called ``name`` that the loader would take without any RPATH."""
        listed = self._cached.get(name)
        candidates = [listed] if listed else []
        candidates += [folder / name for folder in (*map(Path, self.directories), *self.extra)]
        return next((path for path in candidates if path.is_file()), None)


def libraries(programs: Sequence[Path], root: Path, host: Host | None = None) -> dict[str, Path]:
    """Every library and loader that the ELF files ``programs``, which lie below ``root``, need: its path inside
    the image to the file on this host. What ``root`` itself holds is left out, and object files are ignored.

    Raises ImageError for a program of another architecture, and for a library that this host lacks.
    """
    host = host or Host.here()
    found: dict[str, Path] = {}
    done: set[Path] = set()
    waiting: list[tuple[Path, str, tuple[Path, ...]]] = [(path, str(path.relative_to(root)), ()) for path in programs]
    while waiting:
        checkpoint()
        path, wanted_by, inherited = waiting.pop()
        real = path.resolve()
        if real in done:
            continue
        done.add(real)
        binary = read_binary(path)
        if binary is None:
            continue
        _check_machine(binary, wanted_by)
        if binary.interpreter:
            found[binary.interpreter] = _loader(binary.interpreter, wanted_by)
        own = _expand(binary.rpath, path) + inherited if not binary.runpath else ()
        for name in binary.needed:
            library = _search(name, own + _expand(binary.runpath, path), host)
            if library is None:
                raise ImageError(f"{wanted_by} needs the library {name}, which is not on this host.",
                                 f"Install the package that has {name} (apt-file search {name}), or leave out the "
                                 "application that needs it.")
            if not library.resolve().is_relative_to(root.resolve()):
                place = _place(library)
                if found.setdefault(place, library.resolve()) != library.resolve():
                    raise ImageError(f"Two different libraries want to be {place}: {found[place]} and {library}.",
                                     "Remove one of them from this host.")
            waiting.append((library, name, own))
    return dict(sorted(found.items()))


def _check_machine(binary: Binary, name: str) -> None:
    if binary.machine != "x64":
        raise ImageError(f"{name} is a program for {binary.machine}, and images are made for x86-64.",
                         "Build the release with an x86-64 Erlang, on an x86-64 host.")


def _loader(name: str, wanted_by: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise ImageError(f"{wanted_by} needs the loader {name}, which is not on this host.",
                         "Build the release on this host, or on one with the same C library.")
    return path.resolve()


def _expand(paths: Iterable[str], origin: Path) -> tuple[Path, ...]:
    folder = str(origin.parent)
    return tuple(Path(p.replace("${ORIGIN}", folder).replace("$ORIGIN", folder)) for p in paths)


def _search(name: str, first: Sequence[Path], host: Host) -> Path | None:
    if "/" in name:
        return Path(name) if Path(name).is_file() else None
    return next((folder / name for folder in first if (folder / name).is_file()), None) or host.find(name)


def _place(library: Path) -> str:
    """Where a library goes in the image: where the loader looks for it without a cache.

    What lies elsewhere (``/usr/local/lib``, a conda environment, an RPATH) moves into a default directory.
    """
    folder = os.path.normpath(library.parent)
    return str(PurePosixPath(folder if folder in DEFAULT_DIRECTORIES else HOME_OF_STRANGERS, library.name))
