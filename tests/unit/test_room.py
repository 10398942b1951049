"""Memory that is too little is told before a boot, with the number that would do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from unibeam_nb.errors import MachineError
from unibeam_nb.machine.room import MIB, Room, refuse_more_than_there_is, refuse_too_little, room_of
from unibeam_nb.model import Image, Launch, Part

IMAGE = Image("hello", "linux", "", Path(), "k", "s", "r", 0, 0,
              (Part("linux kernel", 5 * MIB), Part("erts", 10 * MIB)),
              (("kernel", "kernel"), ("initramfs", "initramfs")), Launch("erts-13"))


@pytest.mark.parametrize(("options", "packed", "direct", "room"), [
    ((), 4 * MIB, False, Room(15, 20, 80)),
    (("lean",), 4 * MIB, False, Room(15, 20, 64)),
    (("lean",), 0, True, Room(5, 0, 32)),
    ((), 0, True, Room(5, 0, 48))])
def test_a_root_in_memory_counts_twice_and_one_on_a_disk_not_at_all(
        options: tuple[str, ...], packed: int, direct: bool, room: Room) -> None:
    assert room_of(replace(IMAGE, options=options), 5 * MIB, packed, direct=direct) == room


def test_too_little_memory_is_refused_with_the_number_that_would_do(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(bytes(5 * MIB))
    (tmp_path / "initramfs").write_bytes(bytes(4 * MIB))
    image = replace(IMAGE, path=tmp_path)
    refuse_too_little(image, 35)
    with pytest.raises(MachineError) as caught:
        refuse_too_little(image, 34)
    assert caught.value.message == ("hello cannot start in 34 MB: it takes 15 MB for its kernel and 20 MB for a root "
                                    "that is unpacked into memory.")
    assert caught.value.hint == "Give it more: --mem 80."


def test_an_image_on_a_disk_is_refused_for_its_kernel_alone(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"\x7fELF" + bytes(5 * MIB))
    image = replace(IMAGE, path=tmp_path, files=(("kernel", "kernel"), ("root", "root")), options=("lean",))
    with pytest.raises(MachineError) as caught:
        refuse_too_little(image, 5)
    assert caught.value.message == "hello cannot start in 5 MB: it takes 6 MB for its kernel."


def test_other_images_are_none_of_this() -> None:
    refuse_too_little(replace(IMAGE, target="oci", files=(("layout", "layout"),)), 1)


def test_a_virtual_machine_that_the_host_cannot_hold_is_refused_with_what_it_can() -> None:
    refuse_more_than_there_is("web", 256, 256 << 20)
    with pytest.raises(MachineError) as caught:
        refuse_more_than_there_is("web", 4096, 1000 << 20)
    assert str(caught.value) == ("web may come to take 4096 MB, and this host has 1000 MB left.\n"
                                 "  Hint: Stop another machine, or give it less: --mem 496.")
