"""Hostile input: every fault that was ever found stays mended, and a slice of the inputs of every reader."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import resource
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import runner, seeds
from tests.fuzz.mutate import Mutator
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS, guest, guest_init
from unibeam_nb.errors import ArchiveError
from unibeam_nb.image import contents
from unibeam_nb.image.formats import cpio, rofs
from unibeam_nb.release.archive import unpack
from unibeam_nb.store import Store

SEED = 20260
SLICE = 60
"""Inputs of each target here; scripts/torture.py gives them a million."""

KEPT = sorted(path for path in runner.FINDINGS.glob("*/*") if path.parent.name in TARGETS)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_stays_mended(path: Path) -> None:
    with TARGETS[path.parent.name].opened() as judge:
        assert judge([path.read_bytes()])[0].fault is None


@pytest.mark.parametrize("name", TARGETS)
def test_a_slice_of_the_inputs_of_every_reader(name: str) -> None:
    mutator = Mutator(TARGETS[name])
    with mutator.target.opened() as judge:
        assert [verdict.fault for verdict in judge(mutator.seeds) if verdict.fault] == []
        report = runner.batches(mutator, judge, range(SLICE), SEED)
    assert [(found.fault, found.index) for found in report.findings] == []
    assert report.inputs == SLICE


def test_the_same_seed_makes_the_same_inputs() -> None:
    first, again = Mutator(TARGETS["term"]), Mutator(TARGETS["term"])
    assert [first.input(SEED, index) for index in range(50)] == [again.input(SEED, index) for index in range(50)]
    assert first.input(SEED, 1) != first.input(SEED + 1, 1)


def test_whatever_is_not_an_error_of_ours_is_a_fault() -> None:
    def read(data: bytes) -> None:
        if data == b"slow":
            while True:
                pass
        if data == b"ours":
            raise ArchiveError("It is damaged.")
        int(data)

    with Target("made up", list, read).opened() as judge:
        fine, ours, slow, wrong = judge([b"1", b"ours", b"slow", b"x"])
    assert (fine.fault, fine.taken, ours.fault, ours.taken) == (None, True, None, False)
    assert slow.fault == "more than 1 s"
    assert (wrong.fault or "").startswith("ValueError in tests/unit/test_bad_input.py:")


@pytest.mark.skipif("pid1-orders" not in TARGETS, reason="there is no C compiler here")
def test_a_buffer_of_pid_1_that_is_too_short_is_a_fault_and_the_next_input_is_judged(tmp_path: Path) -> None:
    shutil.copytree(guest_init.GUEST, tmp_path / "guest")
    orders = tmp_path / "guest/orders.c"
    text = orders.read_text(encoding="utf-8")
    assert "char line[1024];" in text
    orders.write_text(text.replace("char line[1024];", "char line[64];"), encoding="utf-8")
    order, *_, secret = TARGETS["pid1-orders"].seeds()
    with guest_init.reader("orders", tmp_path / "guest") as judge:
        found, fine = judge([order, secret])
    assert (found.fault or "").startswith("stack-buffer-overflow in orders.c:")
    assert (fine.fault, fine.taken) == (None, True)


def test_a_finding_is_made_as_short_as_it_can_be() -> None:
    def read(data: bytes) -> None:
        if b"bad" in data:
            raise KeyError("bad")

    with Target("made up", list, read).opened() as judge:
        fault = judge([b"bad"])[0].fault
        assert fault is not None
        assert runner.minimised(judge, b"x" * 500 + b"bad" + b"y" * 300, fault) == b"bad"


@pytest.mark.skipif("yaml" not in TARGETS, reason="there is no Erlang here")
def test_a_crash_of_the_guests_own_reader_is_a_fault() -> None:
    with guest.node("no such reader") as judge:
        verdict = judge([b"a: 1"])[0]
    assert (verdict.fault or "").startswith("{error,function_clause,[{guest_driver,read,2,")


@pytest.mark.parametrize("packer", [gzip.compress, bz2.compress, lzma.compress])
def test_a_small_archive_cannot_become_a_large_one(tmp_path: Path, packer: Callable[[bytes], bytes]) -> None:
    """400 MB of zeros: as a file, and as a header that says that it has as many bytes."""
    for kind in (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        info = tarfile.TarInfo("zeros")
        info.size, info.type = 400 << 20, kind
        path = tmp_path / f"bomb-{kind.decode()}.tar.gz"
        path.write_bytes(packer(info.tobuf(tarfile.GNU_FORMAT) + bytes(8 << 20)))
        target = tmp_path / f"target-{kind.decode()}"
        target.mkdir()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ArchiveError):
            unpack(path, target)
        assert list(target.iterdir()) == []
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < runner.ROOM >> 10


def test_a_header_of_digits_alone_is_refused_before_it_is_searched(tmp_path: Path) -> None:
    info = tarfile.TarInfo("digits")
    info.size, info.type = 200_000, tarfile.XHDTYPE
    path = tmp_path / "digits.tar"
    path.write_bytes(info.tobuf() + b"1" * 200_000 + bytes(10240))
    (tmp_path / "target").mkdir()
    with pytest.raises(ArchiveError) as caught:
        unpack(path, tmp_path / "target")
    assert caught.value.message == "digits.tar has a header with a number that nothing has so many of."


def test_a_map_of_holes_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("holes")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # the map goes on in the next block, which is not there
    path = tmp_path / "holes.tar"
    path.write_bytes(seeds.tar_whole(bytes(header)))
    (tmp_path / "target").mkdir()
    with pytest.raises(ArchiveError) as caught:
        unpack(path, tmp_path / "target")
    assert caught.value.message == "holes.tar is not a readable archive."


def test_an_archive_that_asks_for_gigabytes_to_be_unpacked_in_is_refused(tmp_path: Path) -> None:
    packed = bytearray(lzma.compress(seeds.archives()[0], lzma.FORMAT_ALONE))
    packed[1:5] = (3 << 30).to_bytes(4, "little")  # the size of the dictionary
    path = tmp_path / "greedy.tar.xz"
    path.write_bytes(packed)
    (tmp_path / "target").mkdir()
    with pytest.raises(ArchiveError) as caught:
        unpack(path, tmp_path / "target")
    assert caught.value.message == "greedy.tar.xz is not a readable archive."
    assert "Memory usage limit exceeded" in str(caught.value.__cause__)


@pytest.mark.parametrize("format", [lzma.FORMAT_XZ, lzma.FORMAT_ALONE])
def test_an_archive_that_xz_has_packed_is_unpacked_as_it_is(tmp_path: Path, format: int) -> None:
    content = {f"lib/{number}.beam": bytes([number]) * 200_000 for number in range(5)}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path = tmp_path / "release.tar.xz"
    path.write_bytes(lzma.compress(plain.getvalue(), format))
    target = tmp_path / "target"
    target.mkdir()
    unpack(path, target)
    assert {name: (target / name).read_bytes() for name in content} == content


def test_a_layer_cannot_become_a_large_one_either(tmp_path: Path) -> None:
    """A file of one hole, as large as its header says."""
    info = tarfile.TarInfo("hole")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"77777777777\0"  # its size with its hole: 8 GB
    path = tmp_path / "layer.tar"
    path.write_bytes(seeds.tar_whole(bytes(header)) + bytes(1024))
    with pytest.raises(ArchiveError) as caught:
        contents.of_layer(Store(tmp_path / "cache", tmp_path / "state"), path, "key", "part")
    assert caught.value.message == "layer.tar unpacks to more than 64.0 MB."


def test_a_signed_size_in_a_cpio_header_is_refused() -> None:
    header = b"070701" + b"00000001" * 6 + b"-0000074" + b"00000000" * 4 + b"00000002" + b"00000000"
    with pytest.raises(ArchiveError, match="is not hexadecimal"):
        list(cpio.read(header + b"a\0" + bytes(200)))


def test_files_that_share_their_blocks_are_refused() -> None:
    names = [f"n{i}".encode() for i in range(300)]
    dirents = b"".join(struct.pack("<QH", i + 2, len(name)) + name for i, name in enumerate(names))
    inodes = struct.pack("<4Q", rofs.DIRECTORY, 1, 0, 300) + b"".join(
        struct.pack("<4Q", rofs.FILE, i + 2, 1, 100_000) for i in range(300))
    head = struct.pack("<8Q", rofs.MAGIC, rofs.VERSION, rofs.BLOCK, 200, 40, 300, 0, 301)
    image = head.ljust(200 * 512, b"\0") + (dirents + inodes).ljust(40 * 512, b"\0")
    with pytest.raises(ArchiveError):
        list(rofs.read(image))
