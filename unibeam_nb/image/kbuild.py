"""Driving the kernel's own build: configuring a source tree and compiling it, with progress and without a trace of
this host in the result (the kernel's Documentation/kbuild/reproducible-builds.rst)."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import ImageError, ToolMissing, UnibeamError
from unibeam_nb.image import kconfig
from unibeam_nb.image.kconfig import Setting
from unibeam_nb.progress import progress, step

ENVIRONMENT: Mapping[str, str] = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970", "KBUILD_BUILD_USER": "unibeam",
    "KBUILD_BUILD_HOST": "unibeam", "KBUILD_BUILD_VERSION": "1", "KCONFIG_NOTIMESTAMP": "1",
    "SOURCE_DATE_EPOCH": "0"}

PROGRAMS = ("make", "gcc", "ld", "flex", "bison", "bc", "xz", "lz4", "tar")
"""What compiling a kernel takes, beside the header of libelf."""

LINKER_SCRIPT = "arch/x86/kernel/vmlinux.lds.S"
_ENTRY_ALIGNED = re.compile(r"^(#define ALIGN_ENTRY_TEXT_(?:BEGIN|END)\s+\. = ALIGN\()PMD_SIZE", re.MULTILINE)
_DECRYPTED = re.compile(r"^#define BSS_DECRYPTED\b(?:.*\\\n)*.*", re.MULTILINE)

MOST_LINES = 12
_OBJECT = re.compile(rb"^  (?:CC|AS) ", re.MULTILINE)
_TELLING = re.compile(r"\berror\b|undefined reference|No rule to make|cannot find|not found|No such file|\*\*\*",
                      re.IGNORECASE)
_FULL = "No space left on device"


def require_programs() -> None:
    """Raise ToolMissing for the first thing that compiling a kernel lacks on this host."""
    for program in PROGRAMS:
        tools.find(program)
    probe: list[str | Path] = [tools.find("gcc"), "-E", "-x", "c", "-", "-o", os.devnull]
    if process.run(probe, input=b"#include <gelf.h>\n", check=False).code:
        raise ToolMissing("The header gelf.h is not on this host, which is needed for compiling kernels.",
                          f"Install it: {tools.install_command('libelf-dev')}")


def compiler() -> str:
    """Compiler and linker as they call themselves: what decides a kernel's bytes beside its source."""
    return " / ".join(process.run([tools.find(program), "--version"]).stdout.splitlines()[0]
                      for program in ("gcc", "ld"))


def configure(tree: Path, settings: Sequence[Setting], version: str) -> str:
    """Configure the tree with ``tinyconfig`` and ``settings`` on top; returns the finished configuration.

    Raises UsageError for an option the kernel does not have, ImageError for one that it does not keep.
    """
    settings = kconfig.fitting(settings, version)
    texts = (Path(directory, name).read_text(errors="replace") for directory, _, names in os.walk(tree)
             for name in names if name.startswith("Kconfig"))
    kconfig.refuse_unknown(settings, kconfig.declared(texts), version)
    with step("Configuring the kernel"):
        _make(tree, "tinyconfig")
        with (tree / ".config").open("a") as options:  # Of two values of an option the last one holds.
            options.writelines(f"{setting}\n" for setting in settings)
        _make(tree, "olddefconfig")
    config = (tree / ".config").read_text()
    kconfig.refuse_lost(settings, config)
    return config


def _make(tree: Path, target: str) -> None:
    process.run([tools.find("make"), "-s", target], cwd=tree, env=ENVIRONMENT)


def close_gaps(tree: Path, config: str) -> None:
    """Lay the kernel out without its largest gaps, which are memory of a machine that nothing is in.

    The few kilobytes through which the kernel is entered stand apart in 2 MiB of their own, so that page table
    isolation can map them alone. Without that they need no more than a page of their own. So it is with the
    variables that are shared with the host where memory is encrypted: the zeros around them are even written at boot.
    """
    script = tree / LINKER_SCRIPT
    if not script.is_file():
        return
    text = script.read_text()
    if "CONFIG_PAGE_TABLE_ISOLATION=y" not in config:
        text = _ENTRY_ALIGNED.sub(r"\g<1>PAGE_SIZE", text)
    if "CONFIG_AMD_MEM_ENCRYPT=y" not in config:
        text = _DECRYPTED.sub(lambda found: found[0].replace("PMD_SIZE", "PAGE_SIZE"), text)
    script.write_text(text)


def compile_tree(tree: Path, target: str, objects: int) -> Path:
    """Compile ``target`` (``bzImage`` or ``vmlinux``) of the configured tree; returns it. ``objects`` is about how many
    files that takes.

    Raises ImageError with the compiler's telling lines. However it ends, no part of the build is left running.
    """
    log = tree / "unibeam.log"
    words: list[str | Path] = [tools.find("make"), f"-j{processors()}", target]
    with step("Compiling the kernel"):
        with log.open("wb") as output:
            child = process.spawn(words, stdout=output, cwd=tree, env=ENVIRONMENT)
        try:
            process.give_way(child)
            code = _watched(child, log, objects)
        finally:
            process.stop_group(child)
    if code:
        raise failure(log.read_text(errors="replace"), tree)
    return tree / ("arch/x86/boot/bzImage" if target == "bzImage" else target)


def release_of(tree: Path) -> str:
    """What the kernel of a compiled tree calls its version."""
    return (tree / "include/config/kernel.release").read_text().strip()


def processors() -> int:
    """How many of this host's processors are ours."""
    return len(os.sched_getaffinity(0))


def _watched(child: subprocess.Popen[bytes], log: Path, objects: int) -> int:
    """Wait for make's end and report how far it has come."""
    done = 0
    with log.open("rb") as lines:
        while True:
            try:
                return child.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                done += len(_OBJECT.findall(lines.read()))
                progress(min(done / objects, 0.99), f"{done} files")


def failure(log: str, tree: Path) -> UnibeamError:
    """The error for a build that failed, with those of its lines that say why."""
    if _FULL in log:
        return UnibeamError(f"The disk under {tree.parent} is full.",
                            "Free some space, run 'unibeam clean --cache', or set UNIBEAM_HOME.")
    lines = [line.replace(f"{tree}/", "") for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line)] or lines
    return ImageError("The kernel does not compile.",
                      "The compiler's own lines are above; leave out what was asked for with --with, or use another "
                      "compiler.", telling[:MOST_LINES])
