"""User data, looked at before a machine is started."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from unibeam_nb.arms import Arm
from unibeam_nb.errors import UsageError
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
