"""Console text is safe to show, and a growing console is read to its end."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.machine.console import Console, Follower, plain


@pytest.mark.parametrize(("raw", "shown"), [
    (b"plain\ttext\n", "plain\ttext\n"),
    (b"\x1b[31mred\x1b[0m", "red"),
    (b"\x1b]0;title\x07after", "after"),
    (b"\x1b]8;;http://evil\x1b\\link", "link"),
    (b"\x1bc\x1b[2J\x1b[?25lclean", "clean"),
    (b"\x1b(Bascii", "ascii"),
    (b"a\r\nb\r\r\nc\rd", "a\nb\nc\nd"),
    (b"back\x08space \x00 bell\x07", "back\ufffdspace \ufffd bell\ufffd"),
    ("csi \x9b31m c1".encode(), "csi \ufffd31m c1"),
    ("bidi \u202egnp.exe".encode(), "bidi \ufffdgnp.exe"),
    (b"latin \xff byte", "latin \ufffd byte"),
    ("grüße 🚀".encode(), "grüße 🚀"),
])
def test_terminal_control_is_taken_out_and_text_stays(raw: bytes, shown: str) -> None:
    assert plain(raw) == shown


@given(st.binary(max_size=400))
def test_no_control_character_survives(raw: bytes) -> None:
    assert all(c in "\n\t" or (c.isprintable() or ord(c) > 0x9f) for c in plain(raw))
    assert "\x1b" not in plain(raw)


def test_lines_skip_empty_ones_and_tail_is_the_end(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"one\r\n\r\ntwo\nthree")
    console = Console(tmp_path / "c")
    assert console.lines() == ["one", "two", "three"]
    assert console.tail(2) == ["two", "three"]
    assert console.tail(0) == []


def test_a_console_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    assert Console(tmp_path / "none").text() == ""


def test_a_kept_console_outlives_its_file(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"last words\n")
    console = Console(tmp_path / "c")
    console.keep()
    (tmp_path / "c").unlink()
    assert console.text() == "last words\n"


def test_a_follower_wakes_when_the_file_appears_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "c"

    def write() -> None:
        time.sleep(0.1)
        path.write_bytes(b"first\n")

    with Follower(path) as follower:
        assert follower.read() == b""
        thread = threading.Thread(target=write)
        thread.start()
        while not (data := follower.read()):
            assert follower.wait(5.0)
        thread.join()
        assert data == b"first\n"
        assert follower.read() == b""


def test_following_yields_whole_lines_until_the_machine_ends(tmp_path: Path) -> None:
    path, ends = tmp_path / "c", time.monotonic() + 0.6

    def write() -> None:
        with path.open("wb", buffering=0) as stream:
            for piece in (b"\x1b[3", b"1mred\x1b[0m\n", b"half", b" line"):
                stream.write(piece)
                time.sleep(0.1)

    thread = threading.Thread(target=write)
    thread.start()
    pieces = list(Console(path, lambda: time.monotonic() < ends).follow())
    thread.join()
    assert "".join(pieces) == "red\nhalf line"
    assert pieces[0] == "red\n"
