"""How a BIOS finds its way on a disk: places written into GRUB's pieces, and commands that name blocks."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from unibeam_nb.errors import ImageError
from unibeam_nb.image import bios
from unibeam_nb.image.formats import fat


def test_what_grub_is_told_names_blocks_and_no_file() -> None:
    text = bios.commands(bios.extent(512 * 2048, 1000), bios.extent(512 * 4096, 512), "quiet unibeam.ip=dhcp")
    assert text == "linux (hd0)2048+2 quiet unibeam.ip=dhcp\ninitrd (hd0)4096+1\nboot\n"


def test_a_section_inside_a_block_is_refused() -> None:
    with pytest.raises(ImageError) as caught:
        bios.extent(1000, 1)
    assert caught.value.message == "What lies at byte 1000 of the disk does not begin with a block."


def test_the_pieces_know_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "grub"
    place.mkdir()
    (place / "boot.img").write_bytes(b"\xee" * 512)
    monkeypatch.setattr(bios, "PLACE", place)
    code, core = bios.placed(bytes(1300), 4096)
    assert len(code) == 440
    assert struct.unpack_from("<Q", code, 0x5C) == (4096,)
    assert code[0x66:0x68] == b"\x90\x90"
    assert struct.unpack_from("<QHH", core, 0x1F4) == (4097, 2, 0x820)
    assert len(core) == 1300


@pytest.mark.parametrize("size", [1, 512, 40_000_000])
def test_a_file_lies_where_the_file_system_says(size: int) -> None:
    content = bytes(range(1, 200)) + bytes(size) + b"end"
    files = {"EFI/BOOT/BOOTX64.EFI": content, "A.TXT": b"first"}
    whole = b"".join(fat.write(files, "LABEL", 1))
    at = fat.offset_of(files, "EFI/BOOT/BOOTX64.EFI")
    assert whole[at:at + len(content)] == content
