"""What we write is what other people's tools read."""

from __future__ import annotations

from pathlib import Path

import pytest

from unibeam_nb import process, tools
from unibeam_nb.image.formats import fat, gpt


@pytest.mark.parametrize("size", [3_000_000, 40_000_000])
def test_a_firmwares_file_system_is_flawless(tmp_path: Path, size: int) -> None:
    """dosfstools finds nothing to mend, in the narrow form and in the wide one."""
    image = tmp_path / "esp"
    image.write_bytes(b"".join(fat.write({"EFI/BOOT/BOOTX64.EFI": b"x" * size}, "ESP", 7)))
    process.run([tools.find("fsck.fat"), "-n", "-v", image])


def test_a_partition_table_is_flawless(tmp_path: Path) -> None:
    table = gpt.lay_out([(gpt.EFI_SYSTEM, "EFI system", 5_000_000), (gpt.LINUX_DATA, "data", 1 << 20)], "seed")
    disk = tmp_path / "disk"
    disk.write_bytes(table.head.ljust(table.blocks * gpt.BLOCK - len(table.tail), b"\0") + table.tail)
    assert "No problems found." in process.run([tools.find("sgdisk"), "-v", disk]).stdout
