"""How a machine minds its program, as far as no machine is needed: what PID 1 is told, and which disks are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from unibeam_nb.errors import MachineError, UsageError
from unibeam_nb.image import appliance
from unibeam_nb.image.appliance import Appliance
from unibeam_nb.machine import data
from unibeam_nb.machine.marks import times_told
from unibeam_nb.machine.qemu_arguments import Guest, arguments, kernel_command_line
from unibeam_nb.machine.uml_arguments import Guest as UmlGuest
from unibeam_nb.machine.uml_arguments import arguments as uml_arguments
from unibeam_nb.manners import UNWATCHED, Manners
from unibeam_nb.model import AGAIN, FALLBACK, Launch, Release
from unibeam_nb.notebook.minding import of_build
from unibeam_nb.store import Store

NONCE = "0123456789abcdef"
GUEST = Guest(Path("/k"), None, NONCE, "tcg", platform="mmio", root=Path("/root,1"))


def test_only_what_was_asked_for_is_told() -> None:
    assert (UNWATCHED.words(), bool(UNWATCHED)) == ((), False)
    assert Manners(guard=30, restarts=2).words() == ("unibeam.guard=30", "unibeam.restarts=2")
    assert Manners(heart=9).words() == ("unibeam.heart=9",)


@pytest.mark.parametrize(("values", "message"), [
    ({"guard": -1}, "A guard of -1 s makes no sense."), ({"heart": 86401}, "A heart of 86401 s makes no sense."),
    ({"restarts": 1001}, "A program cannot be started again 1001 times.")])
def test_manners_that_make_no_sense_are_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        Manners(**values)
    assert refused.value.message == message


@pytest.mark.parametrize(("text", "size"), [
    ("64M", 64 << 20), ("2G", 2 << 30), ("16MiB", 16 << 20), ("1T", 1 << 40), ("33554432", 32 << 20),
    ("disk", None), ("64m", None), ("./64M", None), ("M", None)])
def test_a_size_is_told_from_a_path(text: str, size: int | None) -> None:
    assert data.size_of(text) == size


def test_a_disk_without_room_for_a_journal_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^A data disk of 15M is too small\."):
        data.size_of("15M")


def ext4(path: Path, label: bytes) -> Path:
    """A file with as much of an ext4 superblock as tells whose it is."""
    block = bytearray(1024)
    block[56:58], block[120:120 + len(label)] = b"\x53\xef", label
    path.write_bytes(bytes(1024) + bytes(block))
    return path


def test_a_disk_of_ours_is_used_as_it_is(tmp_path: Path, fresh_store: Store) -> None:
    disk = ext4(tmp_path / "disk", b"unibeam-data")
    before = disk.read_bytes()
    assert data.provide(fresh_store, str(disk), "hello") == disk
    assert disk.read_bytes() == before


@pytest.mark.parametrize("label", [b"", b"home", b"unibeam-data2"])
def test_a_disk_of_somebody_else_is_left_alone(tmp_path: Path, fresh_store: Store, label: bytes) -> None:
    disk = ext4(tmp_path / "disk", label)
    before = disk.read_bytes()
    with pytest.raises(UsageError, match=r"holds something that is not a data disk of unibeam's, and is left alone\."):
        data.provide(fresh_store, str(disk), "hello")
    assert disk.read_bytes() == before


def test_places_that_cannot_be_disks_are_refused(tmp_path: Path, fresh_store: Store) -> None:
    with pytest.raises(UsageError, match=r"is not a file\."):
        data.provide(fresh_store, str(tmp_path), "hello")
    with pytest.raises(UsageError, match=r"^There is no directory "):
        data.provide(fresh_store, str(tmp_path / "none" / "disk"), "hello")


def test_one_disk_is_for_one_machine(tmp_path: Path) -> None:
    data.refuse_shared(tmp_path / "a", {"one": tmp_path / "b", "two": None})
    with pytest.raises(MachineError, match=r"^The data disk .*/a belongs to two, which is running\."):
        data.refuse_shared(tmp_path / "a", {"one": tmp_path / "b", "two": tmp_path / "a"})


def test_on_microvm_the_kernel_is_told_where_each_device_is() -> None:
    places = [word for word in kernel_command_line(replace(GUEST, data=Path("/d"))).split() if "device=" in word]
    assert places == ["virtio_mmio.device=512@0xfeb00e00:12", "virtio_mmio.device=512@0xfeb00c00:11",
                      "virtio_mmio.device=512@0xfeb00a00:10"]
    assert kernel_command_line(replace(GUEST, root=None)).count("device=") == 1
    assert "device=" not in kernel_command_line(replace(GUEST, platform="pci"))


def test_a_data_disk_can_be_written_and_comes_behind_the_root() -> None:
    guest = replace(GUEST, data=Path("/d,1"), more=("unibeam.data",))
    words = arguments(guest)
    nodes = [words[i + 1] for i, word in enumerate(words) if word == "-blockdev"]
    assert "read-only=on" in nodes[0]
    assert nodes[1] == "driver=file,node-name=data,discard=unmap,filename=/d,,1"
    assert "virtio-blk-device,drive=data,serial=unibeam-data" in words
    assert kernel_command_line(guest).endswith(" unibeam.data")


def test_user_mode_linux_gets_its_disk_by_name() -> None:
    words = uml_arguments(UmlGuest(Path("/i"), NONCE, data=Path("/d"), more=("unibeam.data", "unibeam.heart=3")))
    assert "ubd0=/d" in words
    assert words[-2:] == ("unibeam.data", "unibeam.heart=3")


def release(path: Path, name: str, own: str) -> Release:
    for relative, text, mode in (("erts-1/bin/erlexec", "same", 0o755), ("lib/own", own, 0o644)):
        (path / relative).parent.mkdir(parents=True, exist_ok=True)
        (path / relative).write_text(text)
        (path / relative).chmod(mode)
    return Release(name, "1", path, name, own, "25", "1", "cell", (), Launch("erts-1", arguments=("-boot", "{root}/x")))


def test_a_release_alone_leaves_nothing_in_its_image(tmp_path: Path) -> None:
    alone = release(tmp_path / "a", "a", "1")
    assert (list(appliance.entries(alone, Appliance())), Appliance().inputs()) == ([], {})


def test_of_two_releases_what_both_have_is_there_once(tmp_path: Path) -> None:
    new, old = release(tmp_path / "new", "new", "2"), release(tmp_path / "old", "old", "1")
    both = Appliance(Manners(heart=5), old)
    found = {entry.path: entry for entry in appliance.entries(new, both)}
    assert found["etc/unibeam/options"].content == b"unibeam.guard=60 unibeam.heart=5\n"
    assert found["etc/unibeam/fallback/argv"].content == b"/opt/fallback/erts-1/bin/erlexec\n-boot\n/opt/fallback/x\n"
    assert b"ROOTDIR=/opt/fallback\n" in bytes(found["etc/unibeam/fallback/env"].content)  # type: ignore[arg-type]
    assert found["opt/fallback/erts-1/bin/erlexec"].target == "/opt/release/erts-1/bin/erlexec"
    assert found["opt/fallback/lib/own"].content == old.path / "lib/own"
    assert appliance.identity(new) != appliance.identity(old)


def test_restarts_are_counted_by_marks_of_this_boot_only() -> None:
    console = (f"@unibeam {NONCE} again 1 count=1\r\n@unibeam {'0' * 16} again 2 count=2\r\n"
               f"@unibeam {NONCE} again 3 count=2\n@unibeam {NONCE} fallback 4\n").encode()
    assert (times_told(console, NONCE, AGAIN), times_told(console, NONCE, FALLBACK)) == (2, 1)
    assert times_told(b"nothing", NONCE, AGAIN) == 0


def test_a_build_says_how_its_machines_mind_their_program() -> None:
    from unibeam_nb.lab import Build

    plain = Release("a", "1", Path(), "a", "1", "25", "1", "cell", (), Launch("erts-1"))
    assert of_build(Build("a", plain)) == ()
    assert of_build(Build("a", plain, manners=Manners(30, 10, 2), fallback="b")) == (
        ("falls back to", "b"), ("watched", "up within 30 s, a sign of life every 10 s, restarts 2"))
