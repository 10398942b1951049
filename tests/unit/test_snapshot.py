"""Snapshots: what they belong to, when they are refused, what copies are told, and QEMU's command line for them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from unibeam_nb.arms import Arm
from unibeam_nb.errors import MachineError, UsageError
from unibeam_nb.jsonable import dump
from unibeam_nb.machine import snapshot
from unibeam_nb.machine.memory import of_mapping
from unibeam_nb.machine.options import BootOptions, Seat, Snapshot
from unibeam_nb.machine.qemu_arguments import Guest, arguments, kernel_command_line
from unibeam_nb.machine.snapshot_facts import Facts, Manifest, damage, facts_of, order, refusal
from unibeam_nb.model import Image, Launch, Probe
from unibeam_nb.store import Store

GUEST = Guest(Path("/k/kernel"), Path("/k/initramfs"), "0123456789abcdef", "tcg", 128, 1, ((9000, 8080),))
FACTS = Facts("1" * 64, "7.2.22 (aaaa)", "Some CPU (1234)", "tcg", ("-machine", "q35,accel=tcg"), "http:8080/")


def option(words: tuple[str, ...], name: str) -> str:
    return words[words.index(name) + 1]


def seat(**options: object) -> Seat:
    image = Image("hello", "linux", "", Path("/images/1"), "key", "1" * 64, "2" * 64, 1, 1, (), (), Launch("erts-13"))
    chosen = BootOptions(**{"mem_mb": 128, **options})  # type: ignore[arg-type]
    return Seat(Store(Path("/c"), Path("/s")), Path("/m"), "id", "hello", "0123456789abcdef", Arm.parse("linux@qemu"),
                image, chosen, "tcg", ((9000, 8080),), Snapshot(Path("/ram")))


def test_an_ordinary_machine_knows_nothing_of_snapshots() -> None:
    words = arguments(GUEST)
    assert option(words, "-object") == "memory-backend-memfd,id=ram,size=128M,share=on"
    assert "-incoming" not in words
    assert "unibeam.snapshot" not in kernel_command_line(GUEST)


def test_a_snapshot_is_taken_into_a_shared_file_and_mapped_privately_by_copies() -> None:
    taken, resumed = (arguments(dataclasses.replace(GUEST, snapshot=how)) for how in ("taken", "resumed"))
    assert option(taken, "-object") == "memory-backend-file,id=ram,size=128M,share=on,mem-path=ram"
    assert option(resumed, "-object") == "memory-backend-file,id=ram,size=128M,share=off,mem-path=ram"
    assert option(resumed, "-incoming") == "defer"
    # The devices of both must be the same ones in the same order, or the state does not fit.
    rest = [word for word in resumed if word not in ("-incoming", "defer") and "memory-backend" not in word]
    assert rest == [word for word in taken if "memory-backend" not in word and word != "-preconfig"]
    assert "-preconfig" not in resumed, "the kernel of a copy reads its command line no more"
    line = kernel_command_line(dataclasses.replace(GUEST, snapshot="taken"))
    assert line.split().count("unibeam.snapshot") == 1


def test_erlangs_clock_waits_for_the_copy_only_where_there_is_one() -> None:
    assert seat().variables["ERL_AFLAGS"].endswith("+C single_time_warp")
    assert "+C" not in dataclasses.replace(seat(), snapshot=None).variables["ERL_AFLAGS"]


def test_facts_do_not_depend_on_what_differs_between_two_copies() -> None:
    one = seat()
    other = dataclasses.replace(one, directory=Path("/n"), id="other", nonce="f" * 16, ports=((9001, 8080),))
    assert facts_of(one, "q", "c") == facts_of(other, "q", "c")


@pytest.mark.parametrize("options", [
    {"mem_mb": 129}, {"vcpus": 2}, {"env": (("GREETING", "hi"),)}, {"probe": Probe(8080), "until": "http"}])
def test_another_machine_has_other_facts(options: dict[str, object]) -> None:
    assert facts_of(seat(**options), "q", "c") != facts_of(seat(), "q", "c")


def test_a_snapshot_of_the_same_facts_is_not_refused() -> None:
    assert refusal(FACTS, dataclasses.replace(FACTS)) is None


@pytest.mark.parametrize(("changed", "wording"), [
    ({"image": "2" * 64}, f"it was taken with another image: {'1' * 64} instead of {'2' * 64}"),
    ({"qemu": "8.0.0 (bbbb)"}, "it was taken with another QEMU: 7.2.22 (aaaa) instead of 8.0.0 (bbbb)"),
    ({"cpu": "Other (1)"}, "it was taken with another processor: Some CPU (1234) instead of Other (1)"),
    ({"accelerator": "kvm"}, "it was taken with another accelerator: tcg instead of kvm"),
    ({"words": ("-machine", "pc,accel=tcg")},
     "it was taken with another virtual machine: q35,accel=tcg instead of pc,accel=tcg"),
    ({"ready": "app"}, "it was taken with another instant: http:8080/ instead of app")])
def test_a_snapshot_of_something_else_is_refused_with_the_reason(changed: dict[str, object], wording: str) -> None:
    assert refusal(FACTS, dataclasses.replace(FACTS, **changed)) == wording  # type: ignore[arg-type]


def test_a_copy_is_told_its_name_the_time_and_random_bytes_in_one_line() -> None:
    line = order("0123456789abcdef", "beam-1.unibeam", 1_700_000_000_000_000_042, bytes(range(32)))
    assert line == (b"resume 0123456789abcdef 1700000000 42 beam-1.unibeam " + bytes(range(32)).hex().encode() + b"\n")
    assert len(line) < 512  # what PID 1 reads at once


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """A snapshot's directory, with files of our own."""
    for name, data in (("ram", b"ram" * 5000), ("state", b"state" * 100)):
        (tmp_path / name).write_bytes(data)
    manifest = Manifest(FACTS, snapshot._content(tmp_path / "ram"), snapshot._content(tmp_path / "state"))
    (tmp_path / "manifest.json").write_text(dump(manifest))
    return tmp_path


def refused(directory: Path, facts: Facts = FACTS, **how: bool) -> str:
    with pytest.raises(MachineError) as caught:
        snapshot.check(directory, facts, **how)
    assert caught.value.hint == f"Remove it, and the next boot takes a new one: rm -r {directory}"
    return caught.value.message


def test_a_whole_snapshot_is_good(taken: Path) -> None:
    snapshot.check(taken, FACTS)
    snapshot.check(taken, FACTS, full=True)


@pytest.mark.parametrize("name", ["ram", "state"])
def test_a_truncated_file_is_refused(taken: Path, name: str) -> None:
    size = (taken / name).stat().st_size
    os.truncate(taken / name, size - 100)
    assert refused(taken).startswith(f"The snapshot cannot be used: its file {name} has ")


@pytest.mark.parametrize("name", ["ram", "state"])
def test_a_changed_file_of_the_same_size_and_time_is_refused_by_its_hash(taken: Path, name: str) -> None:
    before = (taken / name).stat()
    with (taken / name).open("r+b") as stream:
        stream.seek(7)
        stream.write(b"!")
    os.utime(taken / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert refused(taken).startswith(f"The snapshot cannot be used: its file {name} was changed: its sha256 is ")


def test_a_file_that_was_only_touched_is_good(taken: Path) -> None:
    os.utime(taken / "ram", ns=(0, 0))
    snapshot.check(taken, FACTS)


def test_a_snapshot_of_another_qemu_is_refused(taken: Path) -> None:
    assert refused(taken, dataclasses.replace(FACTS, qemu="8.0.0 (b)")) == \
        "The snapshot cannot be used: it was taken with another QEMU: 7.2.22 (aaaa) instead of 8.0.0 (b)."


def test_a_snapshot_without_a_file_or_a_readable_manifest_is_refused(taken: Path) -> None:
    (taken / "ram").unlink()
    assert refused(taken) == "The snapshot cannot be used: its file ram is missing."
    (taken / "manifest.json").write_text("{")
    assert refused(taken) == "The snapshot cannot be used: its manifest.json cannot be read."


def test_the_size_is_told_before_the_hash() -> None:
    content = snapshot.Content(10, "a" * 64, (1, 2, 3))
    assert damage("ram", content, 9, "b" * 64) == "its file ram has 9 B instead of 10 B"
    assert damage("ram", content, 10, None) is None


def test_the_ram_of_a_copy_is_found_by_its_files_name() -> None:
    smaps = ("7f0-7f8 rw-p 00000000 fe:00 12 /c/snapshots/k/ram\nRss: 900 kB\nPss: 300 kB\n"
             "7f9-7fa rw-p 00000000 00:00 0\nPss: 5 kB\n")
    assert of_mapping(smaps, "/c/snapshots/k/ram") == 300 * 1024


def test_resume_is_an_option_of_linux_only() -> None:
    assert str(Arm.parse("linux+resume@qemu")) == "linux+resume@qemu"
    with pytest.raises(UsageError, match="unknown option 'resume'"):
        Arm.parse("oci+resume@crun")
