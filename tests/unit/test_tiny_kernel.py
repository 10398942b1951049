"""Tiny kernels: their names and settings, and a build that fails, is stopped, or finds the store."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from unibeam_nb import process
from unibeam_nb.arms import Arm
from unibeam_nb.errors import Cancelled, ImageError, ToolMissing, UnibeamError, UsageError
from unibeam_nb.image import kbuild, linux_source, tiny
from unibeam_nb.image.kernels import known_kernels
from unibeam_nb.image.linux import build_linux
from unibeam_nb.jsonable import dump
from unibeam_nb.lab import Lab
from unibeam_nb.model import Launch, Release
from unibeam_nb.notebook.commands import KERNEL
from unibeam_nb.progress import StepEvent, listening
from unibeam_nb.store import Store

MAKEFILE = """\
tinyconfig:
\t@: > .config
olddefconfig:
\t@sort -u .config -o .config
bzImage vmlinux:
\t@echo '  CC      init/main.o'
\t@{body}
"""

BZIMAGE = ('import struct;d=bytearray(0x400);d[0x1fe:0x200]=b"\\x55\\xaa";d[0x202:0x206]=b"HdrS";'
           'd[0x20e:0x210]=struct.pack("<H",0x100);d[0x300:0x306]=b"6.1.9 ";'
           'open("arch/x86/boot/bzImage","wb").write(d)')
GOOD = f"mkdir -p arch/x86/boot include/config; echo 6.1.9 > include/config/kernel.release; python3 -c '{BZIMAGE}'"


def source_tree(store: Store, tmp_path: Path, body: str) -> None:
    """A source package in the store whose build does what ``body`` says, with the options of the real one."""
    tree = tmp_path / "linux-source-6.1"
    tree.mkdir()
    names = [s.name for p in tiny.PROFILES for s in tiny.settings_of(p, tiny.OPTIONS)]
    (tree / "Kconfig").write_text("".join(f"config {name}\n\tbool\n" for name in names))
    (tree / "Makefile").write_text(MAKEFILE.format(body=body))
    entry = store.entry(linux_source.KIND, "0" * 32)
    entry.mkdir(parents=True)
    process.run(["tar", "-C", tmp_path, "-cJf", entry / "linux-source-6.1.tar.xz", "linux-source-6.1"])
    (entry / "source.json").write_text(dump(
        {"package": "linux-source-6.1", "version": "6.1.9-1", "archive": "linux-source-6.1.tar.xz"}))


def nothing_is_kept(store: Store) -> bool:
    return known_kernels(store) == [] and list((store.cache / "tmp").iterdir()) == []


@pytest.mark.parametrize(("optimise", "extras", "name"), [
    ("boot", (), "tiny"), ("size", (), "tiny-size"), ("boot", ("ipv6", "block"), "tiny+block+ipv6"),
    ("size", ("smp", "smp"), "tiny-size+smp")])
def test_a_kernel_is_called_by_its_profile_and_options(optimise: str, extras: tuple[str, ...], name: str) -> None:
    assert tiny.name_of(optimise, extras) == name
    assert tiny.is_tiny(name)


def test_kernels_with_other_options_of_ones_own_have_other_names() -> None:
    names = {tiny.name_of("boot", (option,)) for option in ("CONFIG_KEYS=y", "CONFIG_KEYS=n", "smp")}
    assert len(names) == 3


@pytest.mark.parametrize("name", ["stock", "tiny-fast", "tiny+", "tinyish", "6.1.0-9-cloud-amd64", "Tiny"])
def test_other_names_are_not_those_of_tiny_kernels(name: str) -> None:
    assert not tiny.is_tiny(name)


@pytest.mark.parametrize(("name", "size"), [
    ("tiny", "tiny-size"), ("tiny-size", "tiny-size"), ("tiny+ipv6", "tiny-size+ipv6")])
def test_a_name_tells_the_same_kernel_in_another_profile(name: str, size: str) -> None:
    assert tiny.profiled(name, "size") == size
    assert tiny.profiled(size, "boot") == name.replace("-size", "")


def test_the_last_word_on_an_option_holds() -> None:
    values = {s.name: s.value for s in tiny.settings_of("size", ("ipv6", "CONFIG_SYSVIPC=n"))}
    assert (values["IPV6"], values["SYSVIPC"], values["KERNEL_XZ"]) == ("y", "n", "y")
    assert {s.name: s.value for s in tiny.settings_of("boot", ())}["IPV6"] == "n"


def test_what_cannot_be_had_is_refused_before_anything_is_fetched(fresh_store: Store) -> None:
    with pytest.raises(UsageError) as caught:
        tiny.build_tiny(fresh_store, "boot", ("usb",))
    assert str(caught.value) == ("'usb' is not an option of tiny kernels.\n  Hint: The options are block, clouds, efi, "
                                 "ipv6, pci, smp, xen; any other is written CONFIG_NAME=y.")
    with pytest.raises(UsageError) as caught:
        tiny.build_tiny(fresh_store, "looks")
    assert str(caught.value) == "'looks' is nothing a kernel can be optimised for.\n  Hint: Choose one of boot, size."
    with pytest.raises(UsageError) as caught:
        tiny.build_tiny(fresh_store, "boot", ("CONFIG_KEYS",))
    assert caught.value.message == "Line 1 of 'CONFIG_KEYS' is no kernel option: 'CONFIG_KEYS'."
    assert not fresh_store.cache.exists()


def test_an_option_the_kernel_does_not_have_is_refused_and_nothing_kept(fresh_store: Store, tmp_path: Path) -> None:
    source_tree(fresh_store, tmp_path, GOOD)
    with pytest.raises(UsageError) as caught:
        tiny.build_tiny(fresh_store, "boot", ("CONFIG_VIRTIO_NETT=y",))
    assert caught.value.message == "Linux 6.1 has no option CONFIG_VIRTIO_NETT."
    assert nothing_is_kept(fresh_store)


def test_a_kernel_is_compiled_once_and_knows_what_it_is(fresh_store: Store, tmp_path: Path) -> None:
    source_tree(fresh_store, tmp_path, GOOD)
    events: list[StepEvent] = []
    with listening(events.append):
        made = tiny.build_tiny(fresh_store, "size")
    minutes = max(round(tiny.PROCESSOR_MINUTES / kbuild.processors()), 1)
    assert [e.title for e in events if e.kind == "note"] == \
        [f"Compiling the kernel tiny-size takes about {minutes} min on this host, once."]
    assert (made.name, made.version, made.platform, made.modules) == ("tiny-size", "6.1.9", "mmio", None)
    assert (made.processors, made.unpacks) == (1, ("lz4", "xz", "none"))
    assert made.source.startswith("linux-source-6.1=6.1.9-1 (gcc ")
    assert "CONFIG_KERNEL_XZ=y\n" in (made.path.parent / "config").read_text()
    events.clear()
    with listening(events.append):
        assert tiny.tiny_from_name(fresh_store, "tiny-size") == made
    assert [e.title for e in events if e.kind == "begin"] == []
    assert [kernel.name for kernel in Lab(fresh_store).kernels()] == ["tiny-size"]
    assert tiny.build_tiny(fresh_store, "size", ("smp",)).processors is None
    own = tiny.build_tiny(fresh_store, "size", ("CONFIG_SMP=y",))
    assert own.name.startswith("tiny-size+")
    assert tiny.tiny_from_name(fresh_store, own.name) == own


def test_a_kernel_that_does_not_compile_leaves_the_compilers_words_and_nothing_else(
        fresh_store: Store, tmp_path: Path) -> None:
    source_tree(fresh_store, tmp_path, f"pwd; echo '{tmp_path}'; "
                "echo \"$$PWD/net/a.c:3:1: error: unknown type name 'u33'\" >&2; exit 1")
    with pytest.raises(ImageError) as caught:
        tiny.build_tiny(fresh_store)
    assert caught.value.message == "The kernel does not compile."
    assert caught.value.hint == ("The compiler's own lines are above; leave out what was asked for with --with, or use "
                                 "another compiler.")
    assert caught.value.details[0] == "net/a.c:3:1: error: unknown type name 'u33'"
    assert caught.value.details[-1].startswith("make: *** [Makefile:")
    assert nothing_is_kept(fresh_store)


def test_a_disk_that_fills_up_is_told_as_what_it_is(fresh_store: Store, tmp_path: Path) -> None:
    source_tree(fresh_store, tmp_path, "echo 'as: cannot write: No space left on device'; exit 1")
    with pytest.raises(UnibeamError) as caught:
        tiny.build_tiny(fresh_store)
    assert caught.value.message.startswith(f"The disk under {fresh_store.cache}")
    assert caught.value.hint == "Free some space, run 'unibeam clean --cache', or set UNIBEAM_HOME."
    assert nothing_is_kept(fresh_store)


def test_a_build_that_is_stopped_leaves_neither_files_nor_processes(fresh_store: Store, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    source_tree(fresh_store, tmp_path, f"echo $$$$ > {told}.new; mv {told}.new {told}; sleep 600")
    stop = threading.Event()

    def stop_when_compiling() -> None:
        while not told.exists():
            time.sleep(0.05)
        stop.set()

    threading.Thread(target=stop_when_compiling).start()
    with pytest.raises(Cancelled), listening(cancelled=stop):
        tiny.build_tiny(fresh_store)
    assert nothing_is_kept(fresh_store)
    for _ in range(100):
        if not Path(f"/proc/{told.read_text().strip()}").exists():
            return
        time.sleep(0.05)
    pytest.fail("the build's shell still runs")


def test_a_missing_compiler_is_told_with_the_command_that_installs_it(
        fresh_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from unibeam_nb import tools

    there = tools.locate
    monkeypatch.setattr(tools, "locate", lambda command: None if command == "bison" else there(command))
    with pytest.raises(ToolMissing) as caught:
        tiny.build_tiny(fresh_store)
    sudo = "" if os.geteuid() == 0 else "sudo "
    assert str(caught.value) == ("bison is not on this host, which is needed for compiling tiny kernels.\n"
                                 f"  Hint: Install it: {sudo}apt-get install --no-install-recommends bison")


def test_a_compression_the_kernel_cannot_unpack_is_refused(fresh_store: Store, tmp_path: Path) -> None:
    source_tree(fresh_store, tmp_path, GOOD)
    kernel = tiny.build_tiny(fresh_store, "size")
    release = Release("x", "1", tmp_path, "", "", "25", "13", "", (), Launch("erts-13"))
    with pytest.raises(ImageError) as caught:
        build_linux(fresh_store, release, kernel, "zstd")
    assert str(caught.value) == ("The kernel tiny-size cannot unpack zstd.\n"
                                 "  Hint: Choose one of lz4, xz, none with --compression.")


def test_arms_name_the_kernel_and_the_profile() -> None:
    assert str(Arm.parse("linux+small+tiny@qemu")) == "linux+tiny+small@qemu"
    assert Arm.parse("linux+tiny@qemu").extras == ("tiny",)
    with pytest.raises(UsageError, match="has the unknown option 'tiny'"):
        Arm.parse("oci+tiny@crun")


SCRIPT = """\
#define X86_ALIGN_RODATA_BEGIN . = ALIGN(HPAGE_SIZE);
#define ALIGN_ENTRY_TEXT_BEGIN\t. = ALIGN(PMD_SIZE);
#define ALIGN_ENTRY_TEXT_END\t. = ALIGN(PMD_SIZE);
#define BSS_DECRYPTED\t\\
\t. = ALIGN(PMD_SIZE);\t\\
\t*(.bss..decrypted);\t\\
\t. = ALIGN(PMD_SIZE);\t\\

#define ANOTHER . = ALIGN(PMD_SIZE);
"""


@pytest.mark.parametrize(("config", "left"), [
    ("", 1), ("CONFIG_AMD_MEM_ENCRYPT=y\n", 3), ("CONFIG_PAGE_TABLE_ISOLATION=y\n", 3),
    ("CONFIG_AMD_MEM_ENCRYPT=y\nCONFIG_PAGE_TABLE_ISOLATION=y\n", 5)])
def test_gaps_are_closed_unless_something_needs_them(tmp_path: Path, config: str, left: int) -> None:
    script = tmp_path / kbuild.LINKER_SCRIPT
    script.parent.mkdir(parents=True)
    script.write_text(SCRIPT)
    kbuild.close_gaps(tmp_path, config)
    text = script.read_text()
    assert text.count("PMD_SIZE") == left
    assert text.replace("PMD_SIZE", "PAGE_SIZE") == SCRIPT.replace("PMD_SIZE", "PAGE_SIZE")
    assert text.endswith("#define ANOTHER . = ALIGN(PMD_SIZE);\n")


def test_the_help_names_every_option() -> None:
    told = next(option.help for option in KERNEL.options if "--with" in option.flags)
    assert told == f"what a tiny kernel has on top: {', '.join(tiny.OPTIONS)}, or any CONFIG_NAME=y"


def test_a_tiny_kernel_of_older_settings_is_not_taken_for_the_one_that_is_asked_for(
        fresh_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source_tree(fresh_store, tmp_path, GOOD)
    old = tiny.build_tiny(fresh_store, "size")
    monkeypatch.setattr(tiny, "LAYOUT", tiny.LAYOUT + 1)
    new = Lab(fresh_store)._kernel("tiny-size")
    assert new is not None
    assert (new.name, new.path.parent) == (old.name, tiny.build_tiny(fresh_store, "size").path.parent)
    assert new.path != old.path
