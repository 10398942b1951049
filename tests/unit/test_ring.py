"""A console that has grown long: its beginning and its end stay, whoever writes, reads or follows it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from unibeam_nb.machine import registry, ring
from unibeam_nb.machine.console import CHUNK, Console, Follower
from unibeam_nb.store import Store

MIB = 1 << 20


def long(path: Path, mib: int = 8) -> Path:
    """A console of so many MiB, whose every 64 bytes say where they are."""
    path.write_bytes(b"".join(b"%-63d\n" % at for at in range(0, mib * MIB, 64)))
    return path


def on_disk(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_what_is_between_is_given_back_and_offsets_stay(tmp_path: Path) -> None:
    path = long(tmp_path / "console.log")
    whole = path.read_bytes()
    if not ring.trim(path):
        pytest.skip("this file system knows no holes")
    assert path.stat().st_size == len(whole)
    assert on_disk(path) <= ring.HEAD + ring.RING + 2 * ring.BLOCK
    left = path.read_bytes()
    assert left[:ring.HEAD] == whole[:ring.HEAD]
    assert left[-ring.RING:] == whole[-ring.RING:]
    assert not ring.trim(path), "there is nothing more to give back"


def test_a_short_console_is_left_alone(tmp_path: Path) -> None:
    path = long(tmp_path / "console.log", 1)
    assert not ring.trim(path)
    assert ring.kept(path) == path.read_bytes()
    assert not ring.trim(tmp_path / "none")
    assert ring.kept(tmp_path / "none") == b""


def test_a_console_is_read_with_a_line_that_says_what_is_missing(tmp_path: Path) -> None:
    path = long(tmp_path / "console.log")
    console = Console(path)
    for _ in range(2):
        text = console.text()
        assert len(text) < ring.HEAD + ring.RING + 100
        assert text.startswith("0 ")
        assert f"[{8 * MIB - ring.HEAD - ring.RING} bytes of the console between are not kept]" in text
        assert console.tail(1) == [str(8 * MIB - 64)]
        ring.trim(path)
    console.keep()
    path.unlink()
    assert console.tail(1) == [str(8 * MIB - 64)]


def test_a_follower_reads_in_pieces_and_skips_what_was_given_back(tmp_path: Path) -> None:
    path = long(tmp_path / "console.log")
    with Follower(path) as follower:
        assert len(follower.read()) == CHUNK
        assert follower.wait(5.0) or True, "it does not wait while there is more"
        if not ring.trim(path):
            pytest.skip("this file system knows no holes")
        rest = b""
        while piece := follower.read():
            rest += piece
        assert len(rest) <= ring.RING + 2 * ring.BLOCK
        assert b"\0" not in rest
        assert rest.endswith(b"%-63d\n" % (8 * MIB - 64))


def test_a_follower_that_has_not_read_all_does_not_wait(tmp_path: Path) -> None:
    with Follower(long(tmp_path / "console.log", 1)) as follower:
        follower.read()
        began = time.monotonic()
        follower.wait(5.0)
        assert time.monotonic() - began < 2.5
        assert follower.read_all().endswith(b"%-63d\n" % (MIB - 64))


def test_a_machine_that_outlives_its_booter_has_its_console_kept_short(fresh_store: Store) -> None:
    machines = registry.root(fresh_store)
    directory = registry.make_directory(fresh_store)
    ring.keep_short(machines)
    ring.keep_short(machines)
    path, pours = directory / "console.log", 24
    with path.open("ab", buffering=0) as stream:
        for _ in range(pours):
            stream.write(bytes(MIB))
    ends = time.monotonic() + 30
    while on_disk(path) > ring.HEAD + ring.RING + ring.SLACK and time.monotonic() < ends:
        time.sleep(0.1)
    if on_disk(path) == pours * MIB and subprocess.run(["fallocate", "-p", "-o", "0", "-l", "4096", path],
                                                       check=False).returncode:
        pytest.skip("this file system knows no holes")
    assert on_disk(path) <= ring.HEAD + ring.RING + ring.SLACK
    assert path.stat().st_size == pours * MIB
    keeper = psutil.Process(int((machines / ring.KEEPER).read_text()))
    assert keeper.memory_info().rss < 32 * MIB
    ring.end_keeper(machines)
    assert not keeper.is_running() or keeper.status() == psutil.STATUS_ZOMBIE


def test_who_keeps_consoles_wakes_when_one_is_written(tmp_path: Path) -> None:
    bell = ring._Bell()
    bell.on(tmp_path)
    bell.on(tmp_path)
    assert not bell.wait(0)
    (tmp_path / "console.log").write_bytes(b"x")
    assert bell.wait(60)
    assert not bell.wait(0), "all of it was heard at once"


def test_whoever_keeps_consoles_is_gone_when_their_directory_is(fresh_store: Store) -> None:
    machines = registry.root(fresh_store)
    ring.keep_short(machines)
    ends = time.monotonic() + 30
    while not (machines / ring.KEEPER).read_text() and time.monotonic() < ends:
        time.sleep(0.05)
    keeper = psutil.Process(int((machines / ring.KEEPER).read_text()))
    (machines / ring.KEEPER).unlink()
    machines.rmdir()
    _, alive = psutil.wait_procs([keeper], timeout=30)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
    assert os.path.lexists(fresh_store.state)


def test_a_console_is_open_while_somebody_writes_or_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    assert not ring.is_open(path)
    for mode in ("ab", "rb"):
        with path.open(mode):
            assert ring.is_open(path)
        assert not ring.is_open(path)


def test_whoever_keeps_consoles_stays_while_one_is_open_and_no_longer(
    fresh_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines, directory = registry.root(fresh_store), registry.make_directory(fresh_store)
    (machines / ring.KEEPER).touch()
    monkeypatch.setattr(ring, "SELDOM", 0.05)
    monkeypatch.setattr(ring, "LINGERS", 1.0)
    told: list[bool] = []
    keeper = threading.Thread(target=lambda: told.append(ring.keep(machines)))
    with (directory / "console.log").open("ab"):
        keeper.start()
        keeper.join(3.0)
        assert keeper.is_alive()
        assert ring.keep(machines) is False, "there is one already"
    keeper.join(30.0)
    assert told == [True]
    assert directory.is_dir(), "an ended machine that nobody cleaned away"


def test_what_somebody_reads_may_lie_further_back(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    path.write_bytes(b"x" * (ring.HEAD + ring.RING + 2 * ring.SLACK))
    with ring.reading(tmp_path):
        assert not ring.trim(path)
    assert ring.trim(path)
    with ring.reading(tmp_path), path.open("ab") as stream:
        stream.write(b"x" * (ring.BEHIND + ring.SLACK))
        stream.flush()
        assert ring.trim(path)


def test_who_reads_loses_nothing_when_it_lags_by_less_than_half_of_what_is_kept(tmp_path: Path) -> None:
    path = long(tmp_path / "console.log", 40)
    with path.open("rb") as stream:
        assert ring.whole(stream.fileno())
        with ring.reading(tmp_path):
            if not ring.trim(path):
                pytest.skip("this file system knows no holes")
        assert not ring.whole(stream.fileno())
        at = 40 * MIB - ring.BEHIND // 2
        assert ring.piece(stream.fileno(), at, 64) == (at, b"%-63d\n" % at)
        assert ring.piece(stream.fileno(), ring.HEAD, 64)[0] > at - 2 * ring.BLOCK
