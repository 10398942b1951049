"""Memory figures from the kernel's own files."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from unibeam_nb.machine import memory, proc
from unibeam_nb.machine.proc import ProcessId

SMAPS = """\
55d0c0000000-55d0c0100000 r-xp 00000000 fe:00 1234                       /usr/bin/qemu-system-x86_64
Size:               1024 kB
Rss:                 800 kB
Pss:                 400 kB
Pss_Dirty:             0 kB
VmFlags: rd ex mr mw me
7f0000000000-7f0010000000 rw-s 00000000 00:01 1025                       /memfd:memory-backend-memfd (deleted)
Size:             262144 kB
Rss:              100000 kB
Pss:              100000 kB
Pss_Anon:              0 kB
VmFlags: rd wr sh mr mw me ms
7f0020000000-7f0020100000 rw-p 00000000 00:00 0
Size:               1024 kB
Pss:                  64 kB
7f0030000000-7f0030100000 rw-s 00000000 00:01 1026                       /memfd:another thing (deleted)
Pss:                   7 kB
"""

ROLLUP = """\
55d0c0000000-7fff00000000 ---p 00000000 00:00 0                          [rollup]
Rss:              101000 kB
Pss:              100471 kB
Pss_Dirty:        100000 kB
"""


def test_the_guests_ram_is_told_from_the_rest_by_its_name() -> None:
    assert memory.of_mapping(SMAPS, memory.RAM_MAPPING) == 100000 * 1024


def test_a_whole_process_is_one_figure() -> None:
    assert memory.of_rollup(ROLLUP) == 100471 * 1024


def test_an_empty_file_counts_nothing() -> None:
    assert memory.of_rollup("") == 0
    assert memory.of_mapping("", memory.RAM_MAPPING) == 0


def test_a_qemu_is_split_into_guest_ram_and_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = proc.identify(os.getpid())
    assert own is not None
    (tmp_path / str(own.pid)).mkdir()
    (tmp_path / str(own.pid) / "smaps").write_text(SMAPS)
    (tmp_path / str(own.pid) / "smaps_rollup").write_text(ROLLUP)
    monkeypatch.setattr(memory, "PROC", tmp_path)
    assert memory.guest_ram(own) == (100000 * 1024, 471 * 1024)


def test_pages_that_this_process_touches_are_counted() -> None:
    own = proc.identify(os.getpid())
    assert own is not None
    before = memory.pss([own])
    with mmap.mmap(-1, 32 << 20) as pages:
        for offset in range(0, len(pages), 4096):
            pages[offset] = 1
        grown = memory.pss([own]) - before
    assert 30 << 20 < grown < 40 << 20


def test_a_process_that_is_gone_counts_nothing() -> None:
    assert memory.pss([ProcessId(os.getpid(), 1)]) == 0
