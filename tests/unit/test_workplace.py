"""Where sources are built: one path for one key, taken in turns, gone afterwards."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from unibeam_nb.errors import Cancelled
from unibeam_nb.progress import listening
from unibeam_nb.release.workplace import build_directory, sweep_builds

ONE, OTHER = "0" * 40, "0" * 8 + "1" * 32


@pytest.fixture(autouse=True)
def _own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_the_same_key_is_built_at_the_same_path_which_is_empty_and_goes_away() -> None:
    with build_directory(ONE) as first:
        (first / "deep").mkdir()
        (first / "deep" / "file").write_text("x")
    assert not first.exists()
    with build_directory(ONE) as again:
        assert again == first
        assert list(again.iterdir()) == []


def test_what_a_dead_process_left_is_removed() -> None:
    with build_directory(ONE) as place:
        pass
    (place / "left").mkdir(parents=True)
    with build_directory(ONE) as place:
        assert list(place.iterdir()) == []


def test_two_builds_of_the_same_thing_take_turns() -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        with build_directory(ONE):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.05)
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5


def test_builds_of_different_things_do_not_wait_for_each_other() -> None:
    with build_directory(ONE) as one, build_directory(OTHER) as other:
        assert one != other


def test_waiting_for_another_build_can_be_stopped() -> None:
    stop = threading.Event()
    stop.set()
    with build_directory(ONE), listening(cancelled=stop), pytest.raises(Cancelled), build_directory(ONE):
        raise AssertionError("taken twice")


def test_what_a_killed_build_left_goes_with_the_next_build_of_anything_and_with_cleaning() -> None:
    with build_directory(ONE) as place:
        base = place.parent
    for tidy in (sweep_builds, _build_another):
        (base / "left" / "half").mkdir(parents=True)
        with build_directory(ONE) as place:
            (base / "left" / "half").mkdir(parents=True, exist_ok=True)
            tidy()
            assert not (base / "left").exists()
            assert place.is_dir(), "what is in use stays"


def _build_another() -> None:
    with build_directory(OTHER):
        pass
