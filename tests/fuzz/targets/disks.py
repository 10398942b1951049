"""File systems and partition tables."""

from __future__ import annotations

from tests.fuzz import seeds
from tests.fuzz.target import Target, in_file
from unibeam_nb.image.formats import cpio, fat, gpt, mbr, rofs
from unibeam_nb.machine.data import is_ours


def _disk(data: bytes) -> None:
    for partition in gpt.read(data):
        _ = partition.offset, partition.bytes, repr(partition)


TARGETS = (
    Target(
        "cpio",
        lambda: [seeds.cpio_archive()],
        lambda data: [member.name for member in cpio.read(data)],
        words=(b"070701", b"070702", b"TRAILER!!!\0", b"FFFFFFFF", b"00000000", b"0000000B", b"\0", b"../", b"\xff"),
        share=110,
    ),
    Target(
        "rofs",
        lambda: [seeds.rofs_image()],
        lambda data: [(node.path, len(node.data)) for node in rofs.read(data)],
        words=(
            b"\xad\xbe\xad\xde\0\0\0\0",
            b"\x00\x40\0\0\0\0\0\0",
            b"\x00\x80\0\0\0\0\0\0",
            b"\x00\xa0\0\0\0\0\0\0",
            b"\x01\0\0\0\0\0\0\0",
            b"\xff" * 8,
            b"\x05\0\0\0\0\0\0\0",
            b"..",
            b"/",
        ),
        share=110,
    ),
    Target(
        "fat",
        lambda: [seeds.fat_image()],
        fat.read,
        words=(
            b"\x55\xaa",
            b"\xff\xff\xff\xff",
            b"\0\0\0\0",
            b"\x10",
            b"\x20",
            b"\x08",
            b"\xe5",
            b"\x00\x02",
            b"BOOTX64 EFI",
        ),
        share=30,
    ),
    Target(
        "gpt",
        lambda: [seeds.gpt_disk()],
        _disk,
        dress=seeds.gpt_whole,
        words=(b"EFI PART", b"\x80\0\0\0\x80\0\0\0", b"\xff" * 8, b"\0" * 8, b"\x5c\0\0\0", b"\0\xd8"),
        share=50,
    ),
    Target(
        "mbr",
        lambda: [seeds.mbr_disk(), seeds.osv_image()[:70000]],
        lambda data: mbr.root_of(data) if len(data) < 10000 else mbr.bootable(data, "--x"),
        words=(b"\x55\xaa", b"\x83", b"\xff\xff\xff\xff", b"\0\0\0\0"),
        share=6,
        longest=1 << 17,
    ),
    Target(
        "data-disk",
        lambda: [bytes(1024) + bytes(56) + b"\x53\xef" + bytes(62) + b"unibeam-data\0\0\0\0" + bytes(99)],
        in_file("disk", is_ours),
        share=20,
        words=(b"unibeam", b"\x53\xef", b"\0", b"\xff"),
    ),
)
