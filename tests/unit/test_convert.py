"""Taking chance out of what qemu-img writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from unibeam_nb.errors import ImageError
from unibeam_nb.image.convert import fix_vmdk

DESCRIPTOR = b'# Disk DescriptorFile\nversion=1\nCID=%s\nparentCID=ffffffff\ncreateType="streamOptimized"\n'


@pytest.mark.parametrize("chance", [b"3", b"deadbee", b"deadbeef"])
def test_an_identifier_of_any_length_is_replaced_and_nothing_moves(tmp_path: Path, chance: bytes) -> None:
    disk = tmp_path / "disk.vmdk"
    disk.write_bytes(b"KDMV".ljust(512, b"\1") + (DESCRIPTOR % chance).ljust(10240, b"\0") + b"data")
    fix_vmdk(disk, "1234567890")
    assert disk.read_bytes() == b"KDMV".ljust(512, b"\1") + (DESCRIPTOR % b"01234567").ljust(10240, b"\0") + b"data"


def test_a_disk_without_an_identifier_is_refused(tmp_path: Path) -> None:
    disk = tmp_path / "disk.vmdk"
    disk.write_bytes(b"KDMV" * 100)
    with pytest.raises(ImageError) as caught:
        fix_vmdk(disk, "1234567890")
    assert caught.value.message == "qemu-img wrote a vmdk without a content identifier."
