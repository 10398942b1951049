"""Many copies of one machine: all of them, or none and the number that would fit."""

from __future__ import annotations

from itertools import count

import pytest

from unibeam_nb.bench.probes.density import SPARE
from unibeam_nb.errors import MachineError, UsageError
from unibeam_nb.lab import copies
from unibeam_nb.model import Memory

MB = 1000 ** 2


class Copy:
    """A machine that notes whether it runs."""

    running: set[int] = set()
    numbers = count()

    def __init__(self) -> None:
        self.number = next(self.numbers)
        self.name, self.ports, self.address, self.alive = "web", {8080: 1}, "127.0.0.1", True
        self.running.add(self.number)

    def memory(self) -> Memory:
        return Memory(40 * MB, 10 * MB)

    def processes(self) -> list[object]:
        return []

    def stop(self, *, grace: float | None = None) -> None:
        self.running.discard(self.number)


@pytest.fixture(autouse=True)
def _each_further_one_takes_20_mb(monkeypatch: pytest.MonkeyPatch) -> None:
    Copy.running.clear()
    monkeypatch.setattr("unibeam_nb.bench.probes.density.unshareable", lambda _: 20 * MB)


def test_as_many_as_fit_are_booted() -> None:
    made = copies.booted("web", 5, Copy, lambda: SPARE + 80 * MB)  # type: ignore[arg-type]
    assert len(made) == len(Copy.running) == 5


def test_more_than_fit_are_refused_before_they_are_booted() -> None:
    with pytest.raises(MachineError) as caught:
        copies.booted("web", 32, Copy, lambda: SPARE + 100 * MB)  # type: ignore[arg-type]
    assert str(caught.value) == ("32 copies of web need about 670 MB, and this host has 150 MB for them.\n"
                                 "  Hint: About 6 would fit: --copies 6.")
    assert Copy.running == set()


def test_where_one_of_them_fails_none_is_left() -> None:
    def start() -> Copy:
        if len(Copy.running) == 3:
            raise MachineError("The fourth one does not come up.")
        return Copy()

    with pytest.raises(MachineError, match="The fourth one"):
        copies.booted("web", 5, start, lambda: 10 ** 12)  # type: ignore[arg-type]
    assert Copy.running == set()


def test_a_number_that_makes_no_sense_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        copies.booted("web", 0, Copy, lambda: 10 ** 12)  # type: ignore[arg-type]
    assert str(caught.value) == "0 copies make no sense.\n  Hint: Ask for one or more: --copies 8."
