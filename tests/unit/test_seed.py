"""User data, looked at before a machine is started."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest

from unibeam_nb.arms import Arm
from unibeam_nb.errors import ArchiveError, UsageError
from unibeam_nb.image.formats.iso9660 import without_dates
from unibeam_nb.machine import seed
from unibeam_nb.model import Image, Launch

QEMU = Arm.parse("linux+cloudinit@qemu")


def image(target: str = "linux", platform: str = "pci", options: tuple[str, ...] = ("cloudinit",)) -> Image:
    return Image("web", target, "", Path("i"), "k", "s", "r", 1, 1, (), (), Launch("erts-1"), options=options,
                 platform=platform)


def refusal(made: Image, user_data: str, arm: Arm = QEMU) -> tuple[str, str | None]:
    with pytest.raises(UsageError) as refused:
        seed.refuse(made, arm, user_data)
    return refused.value.message, refused.value.hint


def test_what_cannot_read_them_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "u"
    file.write_text("#cloud-config\n")
    seed.refuse(image(), QEMU, str(file))
    seed.refuse(image("disk", "efi", ()), Arm.parse("disk@qemu"), str(file))
    seed.refuse(image(), QEMU, "http://10.0.2.2/")
    assert refusal(image("osv", "osv", ()), str(file), Arm.parse("osv@qemu")) == (
        "osv@qemu reads no user data.", "Only linux and disk images on qemu do.")
    assert refusal(image(options=()), str(file)) == (
        "The image linux reads no user data.", "Build one that does: linux+cloudinit@qemu.")
    assert refusal(image(platform="mmio"), str(file)) == (
        "A kernel that is made for the fewest bytes reads no disk, and so no seed.",
        "Leave out +small and +initramfs, or serve the user data: --user-data http://...")
    assert refusal(image("disk", "efi", ()), "http://10.0.2.2/", Arm.parse("disk@qemu")) == (
        "A disk image has its command line in it, and cannot be told an address of user data.",
        "Give a file: --user-data FILE.")


@pytest.mark.parametrize("url", ["https://10.0.2.2/", "http://a b/", 'http://a"b/', "http://a;s=b/", "http://é/",
                                 "http://" + "a" * 400])
def test_addresses_that_a_command_line_cannot_carry(url: str) -> None:
    assert refusal(image(), url)[0] == f"{url!r} is no address that a machine reads user data from."


def test_a_seed_is_for_its_user_only(tmp_path: Path) -> None:
    seed.write(tmp_path / "seed", b"#cloud-config\n", "i-1")
    assert stat.S_IMODE((tmp_path / "seed").stat().st_mode) == 0o600
    data = (tmp_path / "seed").read_bytes()
    assert data[16 * 2048 + 1:16 * 2048 + 6] == b"CD001"
    assert data[16 * 2048 + 40:16 * 2048 + 72].decode().strip() == seed.LABEL


def test_a_seed_has_no_time_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes it, and when: the same bytes; and pycdlib reads them as it did."""
    import time

    from pycdlib import PyCdlib

    made = []
    for zone, now in (("UTC", 1e9), ("Pacific/Kiritimati", 1.7e9 + 86399)):
        with monkeypatch.context() as world:
            world.setenv("TZ", zone)
            world.setattr(time, "time", lambda now=now: now)
            time.tzset()
            seed.write(tmp_path / zone.lower()[:3], b"#cloud-config\nhostname: a.b\n", "i-1")
        made.append((tmp_path / zone.lower()[:3]).read_bytes())
    time.tzset()
    assert made[0] == made[1]
    assert b"2001" not in made[0]
    disk, data = PyCdlib(), io.BytesIO()
    disk.open(str(tmp_path / "utc"))
    disk.get_file_from_iso_fp(data, rr_path="/user-data")
    assert data.getvalue() == b"#cloud-config\nhostname: a.b\n"
    assert disk.get_record(rr_path="/user-data").date.years_since_1900 == 70
    disk.close()


def test_only_whole_iso_images_are_mended() -> None:
    with pytest.raises(ArchiveError, match="cut off"):
        without_dates(bytes(100))
    with pytest.raises(ArchiveError, match="not an ISO 9660 image"):
        without_dates(bytes(20 * 2048))
