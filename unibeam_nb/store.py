"""The content-addressed cache, and the directories unibeam keeps on disk.

    <cache>/<kind>/<key>/        one finished entry each; <key> identifies the inputs that made it
    <cache>/tmp/                 entries being made; a crash leaves things here and nowhere else
    <state>/names/               what the user called things
    <state>/machines/            what runs
    <state>/experiments/         journals: never deleted by us

An entry appears by one ``rename``, whole or not at all. ``UNIBEAM_HOME`` puts both trees under one
directory; otherwise they follow the XDG base directories. Both are closed to other users (:mod:`.private`), whatever
the modes inside are.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from unibeam_nb.errors import UnibeamError
from unibeam_nb.held import held_directory, hold, sweep
from unibeam_nb.jsonable import from_json, loads
from unibeam_nb.private import private

PART = ".part"
"""How the name of a small file ends while it is being written."""

_swept: set[Path] = set()
"""The caches that this process has swept."""

T = TypeVar("T")


def digest(*parts: Any) -> str:
    """A sha256 in hex over ``parts``: bytes and text as they are, anything else as sorted JSON."""
    whole = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            part = part.encode()
        elif not isinstance(part, bytes):
            part = json.dumps(part, sort_keys=True, default=str).encode()
        whole.update(len(part).to_bytes(8, "little"))
        whole.update(part)
    return whole.hexdigest()


def digest_file(path: Path) -> str:
    """The sha256 of a file's bytes in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_tree(root: Path, skip: Callable[[Path], bool] | None = None) -> str:
    """A sha256 over a directory: names, kinds, execute bits and contents, in sorted order; no times, no owners.

    ``skip`` gets each path relative to ``root`` and leaves out those for which it holds (a directory with
    everything below it).
    """
    lines: list[list[str | bool]] = []
    for path in walk(root, skip):
        relative = path.relative_to(root).as_posix()
        if path.is_symlink():
            lines.append(["link", relative, str(path.readlink())])
        elif path.is_dir():
            lines.append(["dir", relative])
        elif path.is_file():
            lines.append(["file", relative, bool(path.stat().st_mode & 0o111), digest_file(path)])
    return digest(lines)


def walk(root: Path, skip: Callable[[Path], bool] | None = None, below: Path | None = None) -> Iterator[Path]:
    """Every path below ``root`` in sorted order, parents first, links not followed."""
    for entry in sorted((below or root).iterdir(), key=lambda p: p.name):
        if skip and skip(entry.relative_to(root)):
            continue
        yield entry
        if entry.is_dir() and not entry.is_symlink():
            yield from walk(root, skip, entry)


@dataclass(frozen=True)
class Store:
    """Where unibeam keeps what it made (``cache``, can be deleted) and what it knows (``state``)."""

    cache: Path
    state: Path

    @classmethod
    def default(cls) -> Store:
        home = os.environ.get("UNIBEAM_HOME")
        if home:
            base = Path(home).expanduser().absolute()
            return cls(base / "cache", base / "state")
        import platformdirs

        return cls(platformdirs.user_cache_path("unibeam"), platformdirs.user_data_path("unibeam"))

    def entry(self, kind: str, key: str) -> Path:
        """Where the entry of this kind and key is, or would be."""
        return self.cache / kind / key

    def directory(self, kind: str) -> Path:
        """A directory of the state tree, private to the user; made if it is not there yet."""
        with disk_errors(self.state):
            private(self.state)
            return private(self.state / kind)

    def build(self, kind: str, key: str, make: Callable[[Path], None]) -> tuple[Path, bool]:
        """The entry of this kind and key, made by ``make(directory)`` if it is not there.

        Returns its path and whether it was there already. ``make`` fills a private directory that becomes
        the entry in one rename after it returned; if it raises, or the process dies, no entry appears.
        Two processes that want the same entry make it once.
        """
        from filelock import FileLock

        final = self.entry(kind, key)
        with disk_errors(self.cache):
            private(self.cache)
            if final.is_dir():
                return final, True
            final.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(str(final.parent / f".{key}.lock")):
                if final.is_dir():
                    return final, True
                with self.scratch() as scratch:
                    fresh = scratch / "entry"
                    fresh.mkdir()
                    make(fresh)
                    fresh.rename(final)
        return final, False

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A private temporary directory on the cache's file system, gone afterwards."""
        parent = self.cache / "tmp"
        with disk_errors(self.cache):
            private(self.cache)
            parent.mkdir(parents=True, exist_ok=True)
            if self.cache not in _swept:
                _swept.add(self.cache)
                self.sweep()
            with held_directory(parent) as path:
                yield path

    def sweep(self) -> list[Path]:
        """Remove what processes that were killed left half-made, and end the programs that were making it."""
        return [*sweep(self.cache / "tmp"), *sweep(self.state, f"**/.*{PART}"), *sweep(self.cache, f"*/.*{PART}")]


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn a full or read-only disk into an error for people."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UnibeamError(f"The disk under {where} is full.",
                               "Free some space, run 'unibeam clean --cache', or set UNIBEAM_HOME.") from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and error.filename and \
                Path(str(error.filename)).is_relative_to(where):
            raise UnibeamError(f"{error.filename} cannot be written.",
                               "Set UNIBEAM_HOME to a directory you own.") from error
        raise


def read_record(kind: type[T], path: Path) -> T:
    """The dataclass ``kind`` that is noted in a file of the cache or the state. Raises UnibeamError where the file is
    damaged: it was written whole, so somebody, or a failing disk, has changed it since."""
    try:
        return from_json(kind, loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UnibeamError(f"{path} is damaged ({error}).", f"Remove {path.parent}, and it is made anew.") from None


def refuse_full(where: Path) -> None:
    """Raise OSError, as a write would (:func:`disk_errors`), where not a byte fits on the disk any more."""
    facts = os.statvfs(where)
    if facts.f_blocks and not (facts.f_bfree if os.geteuid() == 0 else facts.f_bavail):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(where))


def write_atomically(path: Path, text: str) -> None:
    """Replace a small file's contents in one step, private to the user."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(path.parent):
        sweep(path.parent, f".{path.name}.*{PART}")
        while True:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
            held = hold(Path(name), wait=True)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as stream:
                    stream.write(text)
                    stream.flush()
                    os.fsync(stream.fileno())
                if held is not None:
                    Path(name).replace(path)
                    return
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            finally:
                if held is not None:
                    os.close(held)
