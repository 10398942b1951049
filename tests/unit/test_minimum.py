"""The search for the least memory: right with arms that behave, and with arms that fail or succeed by chance."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from unibeam_nb.bench.probes.minimum import CONFIRM, REFUTE, Try, deadline, least, next_size


def search(reaches: Callable[[int], bool], most: int = 256) -> tuple[int | None, list[Try]]:
    tries: list[Try] = []
    while (size := next_size(tries, most)) is not None:
        assert 1 <= size <= most
        assert len(tries) < 60, "the search does not end"
        tries.append(Try(size, reaches(size)))
    return least(tries, most), tries


@pytest.mark.parametrize("truth", [1, 2, 3, 23, 24, 64, 127, 128, 255, 256])
def test_every_answer_is_found_confirmed_and_refuted_one_below(truth: int) -> None:
    answer, tries = search(lambda size: size >= truth)
    assert answer == truth
    assert sum(t.mem_mb == truth for t in tries) == CONFIRM
    assert sum(t.mem_mb == truth - 1 for t in tries) == (REFUTE if truth > 1 else 0)
    assert len(tries) <= 9 + CONFIRM + REFUTE


def test_what_does_not_boot_at_all_has_no_answer() -> None:
    answer, tries = search(lambda size: False)
    assert answer is None
    assert tries == [Try(256, False)] * REFUTE


def test_a_single_failure_in_plenty_of_memory_is_not_believed() -> None:
    outcomes = iter([False])
    answer, _ = search(lambda size: next(outcomes, size >= 30))
    assert answer == 30


def test_a_failure_by_chance_is_found_out() -> None:
    failed: list[int] = []

    def reaches(size: int) -> bool:
        if size == 64 and not failed:
            failed.append(size)
            return False
        return size >= 30

    answer, tries = search(reaches)
    assert failed
    assert answer == 30, tries


def test_a_success_by_chance_is_found_out() -> None:
    lucky: list[int] = []

    def reaches(size: int) -> bool:
        if size == 16 and not lucky:
            lucky.append(size)
            return True
        return size >= 30

    answer, _ = search(reaches)
    assert lucky
    assert answer == 30


def test_an_arm_that_often_fails_near_its_limit_gets_a_size_in_which_it_does_not() -> None:
    chance = random.Random(4)
    answers = [search(lambda size: size >= 40 or (size >= 30 and chance.random() < 0.5))[0] for _ in range(200)]
    assert all(answer is not None and 30 <= answer <= 40 for answer in answers)


def test_a_search_that_was_interrupted_goes_on_where_it_was() -> None:
    _, whole = search(lambda size: size >= 23)
    for cut in range(len(whole)):
        again = list(whole[:cut])
        while (size := next_size(again, 256)) is not None:
            again.append(Try(size, size >= 23))
        assert again == whole


def test_a_try_may_take_three_times_as_long_and_two_seconds_more() -> None:
    assert deadline(1.0, 120) == 5.0
    assert deadline(60.0, 120) == 120
