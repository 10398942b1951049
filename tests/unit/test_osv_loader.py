"""OSv kernels are read, not believed."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from unibeam_nb.errors import ImageError, UsageError
from unibeam_nb.image import osv_loader
from unibeam_nb.image.formats import mbr
from unibeam_nb.store import Store


def elf(text: bytes = b"OSv\0rofs\0v0.57.0-12-gabcdef01\0", *, machine: int = 62, note: int = 18) -> bytes:
    """A small ELF file for x86-64 with one note of Xen's, laid out by hand (elf(5))."""
    body = struct.pack("<III4s", 4, 4, note, b"Xen\0") + struct.pack("<I", 0x100000)
    header = struct.pack("<4sBBBB8xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 2, machine, 1, 0x100000, 64, 0, 0,
                         64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(body), len(body), 4)
    return header + segment + body + text


@pytest.fixture
def loader(tmp_path: Path) -> Path:
    path = tmp_path / "loader.elf"
    path.write_bytes(elf())
    return path


def test_a_loader_tells_its_version(loader: Path, store: Store) -> None:
    assert osv_loader.read_loader(loader) == osv_loader.Loader("elf", "v0.57.0-12-gabcdef01")


def test_a_bootable_loader_is_told_from_a_disk(tmp_path: Path) -> None:
    head = bytearray(mbr.KERNEL_AT)
    struct.pack_into("<H", head, mbr.UNITS_FIELD, 1)
    head[0x1FE:0x200] = mbr.SIGNATURE
    image = tmp_path / "loader.img"
    image.write_bytes(bytes(head) + elf())
    assert osv_loader.read_loader(image).form == "img"
    image.write_bytes(bytes(head) + b"no kernel")
    with pytest.raises(ImageError) as caught:
        osv_loader.read_loader(image)
    assert caught.value.message == f"{image} is a disk, but no kernel lies where OSv's boot sector looks for it."


@pytest.mark.parametrize(("data", "words"), [
    (b"GIF89a", "is neither an ELF file nor a bootable disk, so it is not an OSv kernel."),
    (elf(b"Linux"), "is an ELF file, but not OSv with its read-only file system."),
    (elf(note=1), "cannot be started without firmware: it has no PVH note."),
    (elf(machine=183), "is for another processor (AArch64, 64 bits)."),
    (elf()[:100], "is not a whole ELF file"),
    (b"", "is neither an ELF file nor a bootable disk, so it is not an OSv kernel."),
])
def test_what_is_not_osv_is_refused_with_the_reason(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        osv_loader.read_loader(path)
    assert caught.value.message.startswith(f"{path} {words}")


def test_an_added_kernel_is_found_by_name_and_survives_the_cache(loader: Path, fresh_store: Store) -> None:
    added = osv_loader.add_osv(fresh_store, str(loader))
    assert (added.name, added.platform, added.source) == ("osv-v0.57.0-12-gabcdef01", "osv", str(loader))
    assert osv_loader.osv_kernel(fresh_store).sha256 == hashlib.sha256(elf()).hexdigest()
    assert osv_loader.osv_kernel(fresh_store, added.name) == added
    assert not added.path.is_relative_to(fresh_store.cache)
    assert osv_loader.add_osv(fresh_store, str(loader)) == added


def test_what_is_not_osv_is_refused_by_the_name_it_was_given(tmp_path: Path, fresh_store: Store) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"#!/bin/sh\n")
    with pytest.raises(ImageError) as caught:
        osv_loader.add_osv(fresh_store, str(other))
    assert caught.value.message == f"{other} is neither an ELF file nor a bootable disk, so it is not an OSv kernel."
    assert osv_loader.known_osv(fresh_store) == []


def test_a_kernel_with_another_sha256_is_not_kept(loader: Path, fresh_store: Store) -> None:
    with pytest.raises(ImageError) as caught:
        osv_loader.add_osv(fresh_store, str(loader), "0" * 64)
    assert caught.value.message == \
        f"{loader} has the sha256 {hashlib.sha256(elf()).hexdigest()}, not {'0' * 64}."
    assert osv_loader.known_osv(fresh_store) == []


def test_a_url_needs_a_sha256(fresh_store: Store) -> None:
    with pytest.raises(UsageError) as caught:
        osv_loader.add_osv(fresh_store, "https://example.org/loader.elf")
    assert caught.value.message == "A kernel from the network needs its sha256, so that it is the one you mean."


def test_a_kernel_that_cannot_be_had_is_named(tmp_path: Path, fresh_store: Store) -> None:
    with pytest.raises(ImageError) as caught:
        osv_loader.add_osv(fresh_store, str(tmp_path / "nothing"))
    assert caught.value.message == f"The OSv kernel {tmp_path / 'nothing'} cannot be had (No such file or directory)."


def test_without_a_kernel_the_hint_says_how_to_add_one(fresh_store: Store) -> None:
    with pytest.raises(ImageError) as caught:
        osv_loader.osv_kernel(fresh_store)
    assert caught.value.message == "There is no OSv kernel yet, and unibeam cannot ship one."
    assert caught.value.hint == "Add yours with '%unibeam kernel add osv PATH_OR_URL'."
