"""Disks with a master boot record, as OSv reads them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.errors import ArchiveError, ImageError
from unibeam_nb.image.formats import mbr


def loader(units: int = 2, size: int | None = None) -> bytes:
    """Something with the shape of loader.img: a boot sector that reads ``units`` of 32 KiB from block 128."""
    head = bytearray(mbr.SECTOR)
    head[0:3] = b"\xea\x05\x00"
    struct.pack_into("<H", head, 0x10, units)
    head[0x1FE:] = mbr.SIGNATURE
    whole = bytes(head).ljust(mbr.KERNEL_AT, b"\0") + b"\x7fELF" + b"k" * (units * mbr.KERNEL_UNIT - 4)
    return whole if size is None else whole[:size]


def test_the_root_is_the_second_entry_with_a_start_sector() -> None:
    disk = mbr.record(1, 4) + bytes(4 * 512)
    assert disk[0x1BE:0x1CE] == bytes(16)
    second = disk[0x1CE:0x1DE]
    assert (second[4], second[2] & 0x3F) == (0x83, 2)
    assert struct.unpack_from("<II", second, 8) == (1, 4)
    assert mbr.root_of(disk) == (512, 2048)


@given(st.integers(1, 1 << 20), st.integers(1, 40))
def test_what_a_record_says_is_read_back(first: int, sectors: int) -> None:
    assert struct.unpack_from("<II", mbr.record(first, sectors), 0x1CE + 8) == (first, sectors)
    with pytest.raises(ArchiveError, match=f"^The disk is cut short: its root needs {(first + sectors) * 512} bytes"):
        mbr.root_of(mbr.record(first, sectors))


def test_a_bootable_disk_keeps_the_loader_and_gets_a_command_line() -> None:
    whole = loader(3)
    head = mbr.bootable(whole, "--rootfs=rofs /hello")
    disk = mbr.with_root(head, 8) + bytes(8 * 512)
    assert len(head) == 2 << 20
    assert disk[:3] == whole[:3]
    assert disk[0x10:0x12] == whole[0x10:0x12]
    assert disk[512:].split(b"\0")[0] == b"--rootfs=rofs /hello"
    assert disk[mbr.KERNEL_AT:len(whole)] == whole[mbr.KERNEL_AT:]
    assert mbr.root_of(disk) == (2 << 20, 8 * 512)


def test_a_command_line_too_long_for_the_disk_is_refused() -> None:
    longest = "x" * (mbr.LONGEST_COMMAND_LINE - 1)
    assert mbr.bootable(loader(), longest)
    with pytest.raises(ImageError) as caught:
        mbr.bootable(loader(), longest + "y")
    assert caught.value.message == "OSv's command line has 32256 bytes, and a disk has room for 32255."


@pytest.mark.parametrize(("data", "message"), [
    (b"\x7fELF" + bytes(70000), "The file is not a bootable OSv loader (loader.img)."),
    (loader(2, 70000 - 5000), "The file is not a bootable OSv loader (loader.img)."),
    (loader(4, mbr.KERNEL_AT + 40000), "The boot sector of the OSv loader reads past its end."),
    (loader(1)[:0x10] + b"\0\0" + loader(1)[0x12:], "The boot sector of the OSv loader reads past its end."),
])
def test_what_is_no_loader_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        mbr.bootable(data, "")
    assert caught.value.message == message


@pytest.mark.parametrize(("disk", "message"), [
    (bytes(512), "This is not a disk with a master boot record."),
    (bytes(510) + b"\x55\xaa", "The disk has no partition in its second entry, where OSv looks for its root."),
    (mbr.record(1, 10) + bytes(512), "The disk is cut short: its root needs 5632 bytes, and it has 1024."),
])
def test_a_disk_without_a_root_is_refused(disk: bytes, message: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        mbr.root_of(disk)
    assert caught.value.message == message
