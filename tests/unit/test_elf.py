"""Which libraries programs need."""

from __future__ import annotations

import shutil
import struct
import sys
from pathlib import Path

import pytest

from unibeam_nb.errors import ImageError
from unibeam_nb.image import elf


def dynamic_elf(path: Path, needed: tuple[str, ...] = (), rpath: str = "", runpath: str = "",
                machine: int = 62) -> Path:
    """A small but whole ELF64 shared object with just a dynamic segment, of the machine given (62 is x86-64)."""
    strings = bytearray(b"\0")

    def string(text: str) -> int:
        at = len(strings)
        strings.extend(text.encode() + b"\0")
        return at

    tags = [(1, string(name)) for name in needed]
    tags += [(15, string(rpath))] if rpath else []
    tags += [(29, string(runpath))] if runpath else []
    table = 64 + 2 * 56
    strtab = table + 16 * (len(tags) + 3)
    tags += [(5, strtab), (10, len(strings)), (0, 0)]
    body = b"".join(struct.pack("<QQ", *tag) for tag in tags) + strings
    size = table + len(body)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    segments = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, 4096)
    segments += struct.pack("<IIQQQQQQ", 2, 6, table, table, table, strtab - table, strtab - table, 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + segments + body)
    return path


def cache(entries: list[tuple[int, str, str, int]]) -> bytes:
    """An ld.so.cache of (flags, name, path, hwcap)."""
    start = 48 + 24 * len(entries)
    strings, records = b"", b""
    for flags, name, path, hwcap in entries:
        records += struct.pack("<iIIIQ", flags, start + len(strings), start + len(strings) + len(name) + 1, 0, hwcap)
        strings += f"{name}\0{path}\0".encode()
    return b"glibc-ld.so.cache1.1" + struct.pack("<II", len(entries), len(strings)) + bytes(20) + records + strings


@pytest.fixture
def host(tmp_path: Path) -> elf.Host:
    (tmp_path / "system").mkdir()
    return elf.Host(tmp_path / "no-cache", (str(tmp_path / "system"),))


def test_headers_are_read_as_the_loader_reads_them(tmp_path: Path) -> None:
    path = dynamic_elf(tmp_path / "x.so", ("liba.so.1", "libb.so.2"), "/r:$ORIGIN/../r", "/u")
    assert elf.read_binary(path) == elf.Binary("x64", "", ("liba.so.1", "libb.so.2"), ("/r", "$ORIGIN/../r"), ("/u",))


def test_needs_are_followed_through_libraries(tmp_path: Path, host: elf.Host) -> None:
    program = dynamic_elf(tmp_path / "release/bin/p", ("liba.so",))
    dynamic_elf(tmp_path / "system/liba.so", ("libb.so",))
    dynamic_elf(tmp_path / "system/libb.so", ("liba.so",))
    found = elf.libraries([program], tmp_path / "release", host)
    assert sorted(path.name for path in found.values()) == ["liba.so", "libb.so"]


def test_a_library_inside_the_release_is_found_by_origin_and_not_copied(tmp_path: Path, host: elf.Host) -> None:
    program = dynamic_elf(tmp_path / "release/bin/p", ("libown.so",), runpath="$ORIGIN/../priv")
    dynamic_elf(tmp_path / "release/priv/libown.so", ("liba.so",))
    dynamic_elf(tmp_path / "system/liba.so")
    found = elf.libraries([program], tmp_path / "release", host)
    assert [path.name for path in found.values()] == ["liba.so"]


def test_an_rpath_reaches_the_libraries_of_libraries_and_a_runpath_does_not(tmp_path: Path, host: elf.Host) -> None:
    dynamic_elf(tmp_path / "far/liba.so", ("libb.so",))
    dynamic_elf(tmp_path / "far/libb.so")
    far = str(tmp_path / "far")
    reached = dynamic_elf(tmp_path / "release/one", ("liba.so",), rpath=far)
    assert len(elf.libraries([reached], tmp_path / "release", host)) == 2
    missed = dynamic_elf(tmp_path / "release/two", ("liba.so",), runpath=far)
    with pytest.raises(ImageError, match=r"needs the library libb\.so"):
        elf.libraries([missed], tmp_path / "release", host)


def test_a_library_from_an_odd_directory_moves_where_the_loader_looks(tmp_path: Path, host: elf.Host) -> None:
    dynamic_elf(tmp_path / "system/liba.so")
    program = dynamic_elf(tmp_path / "release/p", ("liba.so",))
    assert elf.libraries([program], tmp_path / "release", host) == \
        {"/usr/lib/x86_64-linux-gnu/liba.so": tmp_path / "system/liba.so"}


def test_a_missing_library_is_named_with_who_needs_it(tmp_path: Path, host: elf.Host) -> None:
    program = dynamic_elf(tmp_path / "release/lib/odbc-1/priv/server", ("libodbc.so.2",))
    with pytest.raises(ImageError) as caught:
        elf.libraries([program], tmp_path / "release", host)
    assert caught.value.message == "lib/odbc-1/priv/server needs the library libodbc.so.2, which is not on this host."
    assert caught.value.hint == ("Install the package that has libodbc.so.2 (apt-file search libodbc.so.2), or leave "
                                 "out the application that needs it.")


def test_a_program_of_another_architecture_is_refused(tmp_path: Path, host: elf.Host) -> None:
    program = dynamic_elf(tmp_path / "release/erts-1/bin/beam.smp", machine=183)
    with pytest.raises(ImageError) as caught:
        elf.libraries([program], tmp_path / "release", host)
    assert caught.value.message == "erts-1/bin/beam.smp is a program for AArch64, and images are made for x86-64."


def test_a_damaged_program_is_refused(tmp_path: Path, host: elf.Host) -> None:
    program = dynamic_elf(tmp_path / "release/p", ("liba.so",))
    program.write_bytes(program.read_bytes()[:70])
    with pytest.raises(ImageError, match="is not a whole ELF file"):
        elf.libraries([program], tmp_path / "release", host)


def test_two_different_libraries_for_one_place_are_refused(tmp_path: Path, host: elf.Host) -> None:
    for folder in "ab":
        dynamic_elf(tmp_path / folder / "libx.so")
    programs = [dynamic_elf(tmp_path / "release" / folder, ("libx.so",), runpath=str(tmp_path / folder))
                for folder in "ab"]
    with pytest.raises(ImageError, match=r"^Two different libraries want to be /usr/lib/x86_64-linux-gnu/libx\.so"):
        elf.libraries(programs, tmp_path / "release", host)


def test_the_cache_gives_plain_64_bit_libraries_only() -> None:
    data = cache([(0x0303, "libc.so.6", "/lib64/libc.so.6", 0), (0x0803, "libc.so.6", "/libx32/libc.so.6", 0),
                  (0x0303, "libz.so.1", "/hwcaps/libz.so.1", 1 << 62), (0x0303, "libz.so.1", "/lib/libz.so.1", 0)])
    expected = {"libc.so.6": Path("/lib64/libc.so.6"), "libz.so.1": Path("/lib/libz.so.1")}
    assert elf.parse_cache(data) == expected
    assert elf.parse_cache(b"ld.so-1.7.0\0" + bytes(4) + data) == expected


@pytest.mark.parametrize("data", [b"", b"nonsense", cache([(0x0303, "a", "b", 0)])[:60]])
def test_a_cache_of_another_format_is_empty(data: bytes) -> None:
    assert elf.parse_cache(data) == {}


def test_this_python_needs_the_c_library_and_its_loader() -> None:
    python = Path(sys.executable).resolve()
    found = elf.libraries([python], python.parent)
    assert "/lib64/ld-linux-x86-64.so.2" in found
    assert any(path.endswith("/libc.so.6") for path in found)
    assert all(path.is_file() for path in found.values())


def test_text_is_no_elf(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert not elf.is_elf(tmp_path / "script")
    assert elf.is_elf(Path(shutil.which("env") or "/usr/bin/env"))
