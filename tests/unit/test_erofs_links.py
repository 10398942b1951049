"""Links of an EROFS image's directories: the checksum, and what is no such image. The rest is in the integration tests,
where mkfs.erofs writes some."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.errors import ArchiveError
from unibeam_nb.image.formats.erofs_links import MAGIC, crc32c, with_links


def test_the_checksum_is_crc_32c() -> None:
    """RFC 3720, B.4, which turns the last value over."""
    assert crc32c(bytes(32)) ^ 0xFFFFFFFF == 0x8A9136AA
    assert crc32c(b"123456789") ^ 0xFFFFFFFF == 0xE3069283


@given(st.binary(max_size=300))
def test_what_is_no_image_is_refused(rest: bytes) -> None:
    with pytest.raises(ArchiveError):
        with_links(bytearray(bytes(1024) + rest))
    with pytest.raises(ArchiveError):
        with_links(bytearray(bytes(1024) + struct.pack("<IIIB", MAGIC, 0, 1, 12) + rest))
