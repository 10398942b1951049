"""OSv kernels, which are the user's own: no distribution has one, and it is not ours to ship.

Two forms exist, and both are read rather than believed: ``loader.elf`` (also called ``kernel.elf``), which QEMU,
Firecracker and Xen start by its PVH note, and ``loader.img``, whose boot sector lets a disk boot by itself. What was
added lies in the state tree (``osv/SHA256/kernel``, ``about.json``), where cleaning the cache does not reach it.
"""

from __future__ import annotations

import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from unibeam_nb import process, tools
from unibeam_nb.errors import ArchiveError, ImageError, UsageError
from unibeam_nb.image.formats import mbr
from unibeam_nb.image.formats.elf64 import X86_64, Elf
from unibeam_nb.image.kernels import Kernel, version_key
from unibeam_nb.jsonable import dump, from_json, loads
from unibeam_nb.progress import checkpoint, progress, step
from unibeam_nb.store import Store, digest_file

KIND = "osv"
PLATFORM = "osv"

LARGEST = 256 << 20
"""Bytes of the largest file that is looked at: OSv's kernels have 5 to 30 MB."""

ELF = b"\x7fELF"
"""How an ELF file begins."""

PVH_NOTE = 18
"""``XEN_ELFNOTE_PHYS32_ENTRY`` (xen/include/public/elfnote.h): where a machine without firmware enters the kernel."""

_VERSION = re.compile(rb"\bv\d+\.\d+(?:\.\d+)?(?:-\d+-g[0-9a-f]+)?(?:-[a-z]+)?(?=\0)")
_ADD = "Build OSv, or take a release of it: its kernel is called loader.elf, kernel.elf or loader.img."
PIECE = 1 << 20


@dataclass(frozen=True)
class Loader:
    """What a file says of itself. ``form`` is ``elf`` or ``img``; ``version`` is ``unknown`` where it is packed."""

    form: str
    version: str


def read_loader(path: Path, where: str | None = None) -> Loader:
    """What ``path`` is; ``where`` is what the user calls it. Raises ImageError, with the reason, for anything that is
    not an OSv kernel for x86-64."""
    where = where or str(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ImageError(f"{where} is too large for an OSv kernel.", _ADD)
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"The OSv kernel {where} cannot be read ({error.strerror}).",
                         "Give the path of a file you may read.") from None
    if data[:len(ELF)] == ELF:
        _check_elf(where, data)
        return Loader("elf", _version(data))
    if data[0x1FE:0x200] == mbr.SIGNATURE:
        mbr.check_loader_image(data)
        if data[mbr.KERNEL_AT:mbr.KERNEL_AT + len(ELF)] != ELF:
            raise ImageError(f"{where} is a disk, but no kernel lies where OSv's boot sector looks for it.", _ADD)
        return Loader("img", _version(data))
    raise ImageError(f"{where} is neither an ELF file nor a bootable disk, so it is not an OSv kernel.", _ADD)


def _check_elf(where: str, data: bytes) -> None:
    try:
        elf = Elf(data)
        if not elf.plain or elf.machine != X86_64:
            raise ImageError(f"{where} is for another processor ({elf.machine_name}, {elf.bits} bits).",
                             "unibeam needs OSv for x86-64.")
        kinds = {kind for owner, kind in elf.notes() if owner == "Xen"}
    except ArchiveError as error:
        raise ImageError(f"{where} is not a whole ELF file ({error}).", "It is cut short: fetch it again.") from None
    if b"OSv" not in data or b"rofs" not in data:
        raise ImageError(f"{where} is an ELF file, but not OSv with its read-only file system.", _ADD)
    if PVH_NOTE not in kinds:
        raise ImageError(f"{where} cannot be started without firmware: it has no PVH note.",
                         "OSv has one since version 0.54; give a newer kernel, or its loader.img.")


def _version(data: bytes) -> str:
    found = _VERSION.search(data)
    return found[0].decode() if found else "unknown"


def add_osv(store: Store, where: str, sha256: str | None = None) -> Kernel:
    """Keep the OSv kernel at a path or URL. Raises UsageError for a URL without ``sha256``, ImageError when the file
    cannot be had, has another sha256, or is not OSv; then nothing is kept."""
    remote = re.match(r"[a-z]+://", where) is not None
    if remote and sha256 is None:
        raise UsageError("A kernel from the network needs its sha256, so that it is the one you mean.",
                         f"Write --sha256 SHA256 behind {where}.")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UsageError(f"{sha256!r} is not a sha256.", "It has 64 hexadecimal digits, as sha256sum prints it.")
    with step("Adding the OSv kernel"), store.scratch() as scratch:
        file = scratch / "kernel"
        with _opened(where) as (stream, length), file.open("wb") as out:
            _copy(stream, out, length, where)
        found = digest_file(file)
        if sha256 is not None and found != sha256.lower():
            raise ImageError(f"{where} has the sha256 {found}, not {sha256.lower()}.",
                             "It is another file than you mean, or it was damaged on its way.")
        loader = read_loader(file, where)
        place = store.directory(KIND) / found
        if not place.is_dir():
            # The state may lie on another file system than the cache: copied beside its place, then renamed.
            fresh = place.with_name(f".{found}")
            fresh.mkdir(exist_ok=True)
            shutil.copyfile(file, fresh / "kernel")
            if loader.form == "elf":
                _strip(fresh / "kernel")
            (fresh / "about.json").write_text(dump({"version": loader.version, "form": loader.form, "source": where}))
            fresh.rename(place)
    return _load(place)


def _strip(path: Path) -> None:
    """Leave out what only a debugger reads, nine tenths of a kernel as it comes from the compiler. One that was
    stripped already stays as it is, as does any where binutils are not there."""
    strip = tools.locate("strip")
    if strip is not None:
        process.run([strip, "--strip-debug", path], check=False)


@contextmanager
def _opened(where: str) -> Iterator[tuple[IO[bytes], int | None]]:
    try:
        if re.match(r"[a-z]+://", where):
            with urllib.request.urlopen(where, timeout=60) as answer:  # nosec B310 # its sha256 is known
                length = answer.headers.get("Content-Length")
                yield answer, int(length) if length else None
        else:
            path = Path(where).expanduser()
            with path.open("rb") as stream:
                yield stream, path.stat().st_size
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ImageError(f"The OSv kernel {where} cannot be had ({reason}).",
                         "Check the path, or the network and the address.") from None


def _copy(stream: IO[bytes], out: IO[bytes], length: int | None, where: str) -> None:
    done = 0
    while piece := stream.read(PIECE):
        checkpoint()
        done += len(piece)
        if done > LARGEST:
            raise ImageError(f"{where} is too large for an OSv kernel.", _ADD)
        out.write(piece)
        progress(done / length if length else None)
    if length is not None and done != length:
        raise ImageError(f"{where} ended after {done} of {length} bytes.", "Try again.")


def known_osv(store: Store) -> list[Kernel]:
    """The OSv kernels that were added, the newest version last."""
    found = [_load(path.parent) for path in (store.state / KIND).glob("[0-9a-f]*/about.json")]
    return sorted(found, key=lambda kernel: (version_key(kernel.version), kernel.sha256))


def osv_kernel(store: Store, wanted: str | None = None) -> Kernel:
    """The OSv kernel called ``wanted`` (a name, a file), or the newest; ImageError tells how to get the first."""
    known = known_osv(store)
    if wanted is None and known:
        return known[-1]
    if wanted is None:
        raise ImageError("There is no OSv kernel yet, and unibeam cannot ship one.",
                         "Add yours with '%unibeam kernel add osv PATH_OR_URL'.")
    named = [kernel for kernel in known if kernel.name == wanted]
    if named:
        return named[-1]
    path = Path(wanted).expanduser().absolute()
    if not path.is_file():
        raise ImageError(f"There is no OSv kernel {wanted!r}.",
                         f"There are: {', '.join(k.name for k in known) or 'none yet'}; or give the path of one.")
    loader = read_loader(path)
    return _kernel(loader.version, path, digest_file(path), str(path))


@dataclass(frozen=True)
class _About:
    """What is noted of a kernel when it is added (``about.json``)."""

    version: str
    source: str


def _load(entry: Path) -> Kernel:
    try:
        about = from_json(_About, loads((entry / "about.json").read_text(encoding="utf-8")))
        kernel = entry / "kernel"
        return _kernel(about.version, kernel, digest_file(kernel), about.source)
    except (OSError, ValueError):
        raise ArchiveError(f"The OSv kernel in {entry} is damaged.", f"Remove {entry} and add it again.") from None


def _kernel(version: str, path: Path, sha256: str, source: str) -> Kernel:
    name = f"osv-{version if version != 'unknown' else sha256[:8]}"
    return Kernel(name, version, path, None, sha256, source, PLATFORM, None, ())
