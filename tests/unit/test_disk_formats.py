"""Partition tables, a firmware's file system and its executables: what is written is read back, damage is refused."""

from __future__ import annotations

import contextlib
import struct
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unibeam_nb.errors import ArchiveError, ImageError
from unibeam_nb.image.formats import fat, gpt, pe

SHORT = st.from_regex(r"[A-Z0-9_]{1,8}(\.[A-Z0-9_]{1,3})?", fullmatch=True)


def disk_of(table: gpt.Table) -> bytes:
    return table.head.ljust(table.blocks * gpt.BLOCK - len(table.tail), b"\0") + table.tail


@given(st.lists(st.tuples(st.just(gpt.LINUX_DATA), st.text(st.characters(codec="ascii"), max_size=36).map(
    lambda t: t.replace("\0", "")), st.integers(1, 5 << 20)), min_size=1, max_size=4), st.text(max_size=8))
@settings(max_examples=30)
def test_partitions_are_read_back_and_do_not_overlap(wanted: list[tuple[uuid.UUID, str, int]], seed: str) -> None:
    table = gpt.lay_out(wanted, seed)
    found = gpt.read(disk_of(table))
    assert found == table.partitions
    assert [p.name for p in found] == [name for _, name, _ in wanted]
    ends = [p.last for p in found]
    assert all(p.first % 2048 == 0 and p.bytes >= size for p, (_, _, size) in zip(found, wanted, strict=True))
    assert all(later.first > end for end, later in zip(ends, found[1:], strict=False))
    assert table == gpt.lay_out(wanted, seed)


def test_a_damaged_table_is_refused_with_the_reason() -> None:
    disk = bytearray(disk_of(gpt.lay_out([(gpt.EFI_SYSTEM, "EFI", 1000)], "x")))
    for at, message in ((512 + 40, "its header has another checksum."), (1024, "its entries have another checksum.")):
        broken = bytearray(disk)
        broken[at] ^= 1
        with pytest.raises(ArchiveError) as caught:
            gpt.read(bytes(broken))
        assert caught.value.message == f"The disk's partition table is damaged: {message}"
    with pytest.raises(ArchiveError) as cut:
        gpt.read(bytes(disk[:-512]))
    assert cut.value.message == f"The disk is cut short: it has {len(disk) - 512} bytes of {len(disk)}."
    with pytest.raises(ArchiveError) as none:
        gpt.read(bytes(2048))
    assert none.value.message == "This is not a disk with a GUID partition table."


@given(st.dictionaries(SHORT, st.binary(max_size=3000), max_size=4), st.dictionaries(SHORT, st.binary(max_size=900),
                                                                                     max_size=3))
@settings(max_examples=40)
def test_files_are_read_back(above: dict[str, bytes], below: dict[str, bytes]) -> None:
    files = {f"EFI/{name}": data for name, data in below.items()} | {
        name: data for name, data in above.items() if name != "EFI"}
    image = b"".join(fat.write(files, "ESP", 7))
    assert fat.read(image) == files
    assert image == b"".join(fat.write(dict(reversed(files.items())), "ESP", 7))


@pytest.mark.parametrize("size", [1, 512, 513, 33 << 20])
def test_small_and_large_file_systems_hold_their_file(size: int) -> None:
    """33 MiB in clusters of 512 bytes is the first that needs the wide table."""
    image = b"".join(fat.write({"A.BIN": b"a" * size}, "ESP", 7))
    assert fat.read(image) == {"A.BIN": b"a" * size}
    assert (b"FAT32   " in image[:512]) == (size > 32 << 20)


@given(st.integers(0, 70000), st.integers(1, 255))
@settings(max_examples=60)
def test_a_damaged_file_system_ends_in_our_error_or_is_read(at: int, flip: int) -> None:
    image = bytearray(b"".join(fat.write({"EFI/BOOT/BOOTX64.EFI": b"x" * 3000}, "ESP", 7)))
    image[at] ^= flip
    with contextlib.suppress(ArchiveError):
        fat.read(bytes(image))


def test_a_long_name_is_refused() -> None:
    with pytest.raises(ImageError) as caught:
        b"".join(fat.write({"EFI/BOOT/bootx64.efi": b""}, "ESP", 7))
    assert caught.value.message == "'bootx64.efi' is not a name of 8 and 3 capitals, which a firmware's disk needs."


def executable(headers: int = 1024) -> bytes:
    """A PE32+ executable with one section, laid out by hand."""
    optional = struct.pack("<HBBIIIIIQIIHHHHHHIIIIHHQQQQII", 0x20B, 0, 0, 512, 512, 0, 4096, 4096, 0x400000, 4096, 512,
                           0, 0, 0, 0, 0, 0, 0, 8192, headers, 0, pe.EFI_APPLICATION, 0, 0, 0, 0, 0, 0, 0)
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    head += struct.pack("<4sHHIIIHH", b"PE\0\0", pe.MACHINE_X86_64, 1, 12345, 0, 0, len(optional), 0x22) + optional
    head += struct.pack("<8sIIIIIIHHI", b".text", 100, 4096, 512, headers, 0, 0, 0, 0, 0x60000020)
    return head.ljust(headers, b"\0") + b"\xc3" * 512


@given(st.lists(st.binary(max_size=5000), max_size=5))
@settings(max_examples=50)
def test_added_sections_are_read_back_and_overlap_nowhere(contents: list[bytes]) -> None:
    added = [(f".s{index}", data) for index, data in enumerate(contents)]
    whole = b"".join(pe.with_sections(executable(), added))
    for name, data in added:
        assert pe.section(whole, name) == data
    layout = pe.read(whole)
    assert layout.sections[0].name == ".text"
    for before, after in zip(layout.sections, layout.sections[1:], strict=False):
        assert after.address >= before.address + before.size
        assert after.offset >= before.offset + before.bytes
        assert after.address % 4096 == 0


def test_headers_without_room_are_refused() -> None:
    with pytest.raises(ImageError) as caught:
        b"".join(pe.with_sections(executable(512), [(f".s{n}", b"x") for n in range(9)]))
    assert caught.value.message == "The EFI stub's headers have no room for 9 sections more."


@pytest.mark.parametrize(("data", "message"), [
    (b"ELF", "This is not an executable of a UEFI firmware."),
    (b"MZ", "The executable is cut short."),
    (executable()[:1100], "The executable is cut short."),
])
def test_what_is_no_executable_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        pe.read(data)
    assert caught.value.message == message
