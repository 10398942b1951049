"""What a page is sent of a console: what it has credit for, from where it is, and how much it was too slow for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from unibeam_nb.machine import ring
from unibeam_nb.machine.console import Console
from unibeam_nb.notebook.widgets.console import ConsoleWidget

MIB = 1 << 20


class Page:
    """What one page has been sent by a widget that it talks to."""

    def __init__(self, widget: ConsoleWidget, monkeypatch: pytest.MonkeyPatch) -> None:
        self.widget, self.data = widget, b""
        self.last: dict[str, Any] = {}
        self.answers: list[dict[str, Any]] = []
        monkeypatch.setattr(widget, "send", self._take)

    def _take(self, message: dict[str, Any], buffers: Sequence[bytes] = ()) -> None:
        assert message.pop("page") == "p"
        if not buffers:
            self.answers.append(message)
            return
        assert message["from"] == len(self.data), "offsets count what this page was sent"
        self.data += buffers[0]
        self.last = message

    def say(self, **content: Any) -> None:
        self.widget._heard(self.widget, {"page": "p", **content}, [])

    def wait(self, holds: Callable[[], bool]) -> None:
        ends = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < ends, (len(self.data), self.last)
            time.sleep(0.01)


def test_a_page_gets_no_more_than_it_has_credit_for_and_all_of_it_in_the_end(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "console.log"
    path.write_bytes(bytes(range(256)) * 4096)
    running = True
    page = Page(ConsoleWidget(Console(path, alive=lambda: running)), monkeypatch)
    page.say(do="read", **{"from": 0}, credit=1000)
    page.wait(lambda: len(page.data) == 1000)
    time.sleep(0.1)
    assert len(page.data) == 1000
    page.say(do="more", credit=2 * MIB)
    page.wait(lambda: len(page.data) == MIB)
    with path.open("ab") as stream:
        stream.write(b"the last line\n")
    running = False
    page.say(do="more", credit=0)
    page.wait(lambda: page.widget.ended)
    assert page.data == path.read_bytes()
    assert (page.last["lost"], page.last["whole"]) == (0, True)


def test_while_a_page_shows_a_console_more_of_it_is_kept_and_what_was_not_is_told(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "console.log"
    path.write_bytes(b"x" * 8 * MIB)
    page = Page(ConsoleWidget(Console(path, alive=lambda: True)), monkeypatch)
    page.say(do="read", **{"from": 0}, credit=MIB)
    page.wait(lambda: len(page.data) == MIB)
    assert not ring.trim(path), "8 MiB are not too much for one that is shown"
    with path.open("ab") as stream:
        stream.write(b"y" * ring.BEHIND)
    if not ring.trim(path):
        pytest.skip("this file system knows no holes")
    page.say(do="more", credit=100 * MIB)
    page.wait(lambda: len(page.data) + page.last["lost"] == path.stat().st_size)
    assert ring.BEHIND // 2 <= page.last["lost"] < ring.BEHIND // 2 + 8 * MIB
    assert page.last["whole"] is False
    assert page.data.endswith(b"y" * (ring.BEHIND // 2))


def test_a_page_that_asks_whether_somebody_is_there_is_answered(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(ConsoleWidget(Console(tmp_path / "console.log")), monkeypatch)
    page.say(do="there")
    assert page.answers == [{}]
    assert page.data == b""
