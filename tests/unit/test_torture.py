"""What `make torture` takes for granted of the tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def security(torture: Callable[[str], ModuleType]) -> ModuleType:
    return torture("security")


def test_every_defence_that_is_to_be_taken_away_is_there_and_so_is_its_test(security: ModuleType) -> None:
    for one in security.REMOVALS:
        assert one.old in (ROOT / "unibeam_nb" / one.file).read_text(encoding="utf-8"), one.what
        assert one.old != one.new
        assert (ROOT / one.test).is_file(), one.what


def test_qemu_is_also_started_without_what_keeps_it_from_not_hearing(torture: Callable[[str], ModuleType]) -> None:
    starts = torture("starts")
    usual, otherwise = starts.words(waiting=True), starts.words(waiting=False)
    assert [pair for pair in zip(usual, otherwise, strict=True) if pair[0] != pair[1]] == [
        ("unix:qmp.sock,server=on,wait=on", "unix:qmp.sock,server=on,wait=off")]
