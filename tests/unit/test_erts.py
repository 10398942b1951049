"""The lean emulator's parts that need no compiler: apt's lists, versions, ELF headers, logs, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from unibeam_nb.apt import for_sources
from unibeam_nb.errors import ImageError, UsageError
from unibeam_nb.model import Launch, Release
from unibeam_nb.release.assemble import ERTS_PROGRAMS
from unibeam_nb.release.erts.lean import telling
from unibeam_nb.release.erts.runtime import Erts, erts_at, is_static
from unibeam_nb.release.erts.source import newest, otp_of
from unibeam_nb.release.erts.swap import refuse_misfits, with_erts
from unibeam_nb.store import Store


def elf(path: Path, *kinds: int) -> Path:
    """A 64-bit ELF file with program headers of these kinds and nothing else."""
    head = b"\x7fELF\x02\x01" + bytes(26) + struct.pack("<QQIHHH", 64, 0, 0, 64, 56, len(kinds)) + bytes(6)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + b"".join(struct.pack("<I", kind) + bytes(52) for kind in kinds))
    return path


def runtime(path: Path, *kinds: int) -> Path:
    for name in ERTS_PROGRAMS:
        elf(path / "bin" / name, *kinds)
    return path


def release(path: Path, *natives: str, flags: tuple[str, ...] = (), erts: str = "13.1.5") -> Release:
    """A release in ``path`` that holds these files of native code, as ``crypto-5.1.2/priv/lib/crypto.so``."""
    runtime(path / f"erts-{erts}", 1, 3)
    (path / "lib" / "kernel-8.5.3" / "ebin").mkdir(parents=True)
    (path / "lib" / "kernel-8.5.3" / "ebin" / "kernel.app").write_text("{application,kernel,[]}.\n")
    for native in natives:
        elf(path / "lib" / native, 1)
    return Release("shop", "1", path, "key", "sha", "25.2.3", erts, "cell", (), Launch(f"erts-{erts}", flags))


LEAN = Erts("lean", "25.2.3", "13.1.5", Path("erts-13.1.5"), "erlang 1:25.2.3", True, "sha", 4)


@pytest.mark.parametrize(("suffix", "text", "wanted"), [
    (".list", "deb https://deb.example bookworm main contrib\n", "deb-src https://deb.example bookworm main contrib\n"),
    (".list", "  deb [signed-by=/k.gpg arch=amd64] http://a b c\n",
     "deb-src [signed-by=/k.gpg arch=amd64] http://a b c\n"),
    (".list", "# deb http://a b c\n\ndeb-src http://a b c\n", "deb-src http://a b c\n"),
    (".sources", "Types: deb\nURIs: http://a\nSuites: b\n", "Types: deb-src\nURIs: http://a\nSuites: b\n"),
    (".sources", "Enabled: no\nTypes: deb deb-src\n", "Enabled: no\nTypes: deb-src\n"),
])
def test_lists_of_packages_become_lists_of_sources(suffix: str, text: str, wanted: str) -> None:
    assert for_sources(text, suffix) == wanted


@pytest.mark.parametrize(("version", "otp"), [
    ("1:25.2.3+dfsg-1+deb12u4", "25.2.3"), ("1:25.3.2.8+dfsg-1ubuntu4", "25.3.2.8"), ("27.0-1", "27.0"), ("", "")])
def test_a_package_version_tells_the_otp_version(version: str, otp: str) -> None:
    assert otp_of(version) == otp


def test_the_newest_version_counts_numbers_by_value() -> None:
    assert newest(["1:25.2.3-1+deb12u4", "1:25.2.3-1+deb12u10", "1:25.2.3-1"]) == "1:25.2.3-1+deb12u10"


def test_a_program_without_a_loader_is_static(tmp_path: Path) -> None:
    assert is_static(elf(tmp_path / "static", 1, 7))
    assert not is_static(elf(tmp_path / "dynamic", 1, 3, 2))
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert not is_static(tmp_path / "script")


def test_a_runtime_is_found_in_its_installation(tmp_path: Path) -> None:
    runtime(tmp_path / "erts-14.2", 1)
    found = erts_at(tmp_path)
    assert (found.version, found.static, found.path) == ("14.2", True, tmp_path / "erts-14.2")
    assert found.sha256 == erts_at(tmp_path / "erts-14.2").sha256


def test_what_is_no_runtime_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        erts_at(tmp_path)
    assert (caught.value.message, caught.value.hint) == (
        f"{tmp_path} is not an Erlang runtime.", "Name a directory erts-VERSION, or one that holds one.")
    elf(tmp_path / "erts-14.2" / "bin" / "beam.smp", 1)
    with pytest.raises(UsageError) as caught:
        erts_at(tmp_path)
    assert caught.value.message == f"{tmp_path / 'erts-14.2'} lacks erlexec."


@pytest.mark.parametrize(("natives", "message"), [
    (("crypto-5.1.2/priv/lib/crypto.so",), "crypto needs a NIF that a static emulator cannot load."),
    (("crypto-5.1.2/priv/lib/crypto.so", "asn1-5.0.21/priv/lib/asn1rt_nif.so", "bcrypt-1/priv/b.so.1"),
     "asn1, bcrypt and crypto need NIFs that a static emulator cannot load."),
])
def test_a_release_with_native_code_is_refused(tmp_path: Path, natives: tuple[str, ...], message: str) -> None:
    with pytest.raises(ImageError) as caught:
        refuse_misfits(release(tmp_path, *natives), LEAN)
    assert (caught.value.message, caught.value.hint) == (
        message, "Leave lean out: the release runs on the emulator it comes with.")


def test_a_dynamic_emulator_takes_native_code(tmp_path: Path) -> None:
    made = release(tmp_path / "release", "crypto-5.1.2/priv/lib/crypto.so")
    refuse_misfits(made, erts_at(runtime(tmp_path / "erts-13.1.5", 1, 3)))


def test_a_flag_of_the_jit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        refuse_misfits(release(tmp_path, flags=("+JPperf", "true")), LEAN)
    assert (caught.value.message, caught.value.hint) == (
        "The flag +JPperf is for the JIT, which a static emulator does without.",
        "Build without the flag, or leave lean out.")


def test_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        refuse_misfits(release(tmp_path, erts="15.0"), LEAN)
    assert (caught.value.message, caught.value.hint) == (
        "The release shop runs on erts-15.0, and erlang 1:25.2.3 is erts-13.1.5.",
        "Use a runtime of the release's own version.")


def test_the_other_emulator_replaces_the_first_and_nothing_else(tmp_path: Path, fresh_store: Store) -> None:
    first = release(tmp_path / "release")
    made = with_erts(fresh_store, first, erts_at(runtime(tmp_path / "erts-13.1.5", 1)))
    assert is_static(made.path / "erts-13.1.5" / "bin" / "beam.smp")
    assert not is_static(first.path / "erts-13.1.5" / "bin" / "beam.smp")
    assert (made.path / "lib" / "kernel-8.5.3" / "ebin" / "kernel.app").is_file()
    assert (made.origin, made.launch, made.name) == (first.sha256, first.launch, first.name)
    assert made.sha256 != first.sha256
    assert with_erts(fresh_store, made, erts_at(tmp_path / "erts-13.1.5")).origin == first.sha256


LOG = """make[1]: Entering directory '/b/erts/emulator'
 CC\tbeam_emu.o
erl_error.c:12:3: warning: unused variable 'error' [-Wunused-variable]
sys.c:30:10: fatal error: sys/epoll.h: No such file or directory
   30 | #include <sys/epoll.h>
make[1]: *** [Makefile:900: sys.o] Error 1
make[1]: Leaving directory '/b/erts/emulator'
"""


def test_a_log_is_cut_to_the_lines_that_tell() -> None:
    assert telling(LOG) == ["sys.c:30:10: fatal error: sys/epoll.h: No such file or directory",
                            "make[1]: *** [Makefile:900: sys.o] Error 1"]
    assert telling("checking for gcc... gcc\nconfigure: giving up\n\n") == ["configure: giving up"]
