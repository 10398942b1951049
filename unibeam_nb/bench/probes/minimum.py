"""The least memory in which an arm still reaches its mark: a bisection that mistrusts single boots.

Pure: the tries so far give the next size, or the answer, so a search that was interrupted goes on from its journal.

A size is *good* after :data:`CONFIRM` boots in it that reached the mark, and *bad* after :data:`REFUTE` that did not.
While the search narrows down one boot is believed; the answer is a good size, and the size one step below it is bad.
A boot that fails by chance is therefore tried again where it matters, and one that succeeds by chance is found out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CONFIRM = 3
"""Boots that must reach the mark in the least memory."""

REFUTE = 2
"""Boots that must fail in one step less."""

SLACK, MARGIN = 3.0, 2.0
"""A boot in little memory may take three times as long as one in plenty, and two seconds more: one that takes longer
is a hang, which is how some kernels say that memory is short."""


@dataclass(frozen=True)
class Try:
    """One boot in ``mem_mb`` MiB."""

    mem_mb: int
    reached: bool


def deadline(seconds: float, most: float) -> float:
    """How long a try may take where a boot in plenty of memory took ``seconds``; never longer than ``most``."""
    return min(SLACK * seconds + MARGIN, most)


def next_size(tries: Sequence[Try], most: int) -> int | None:
    """The MiB to try next, from 1 to ``most``; None when the search has ended (:func:`least`)."""
    low, high = _bounds(tries, most)
    if high is None:
        # Either nothing was tried in `most` yet, or it failed: once more, until that is certain.
        return None if _bad(tries, most) else most
    if high - low > 1:
        return (low + high) // 2
    if not _good(tries, high):
        return high
    return None if low == 0 or _bad(tries, low) else low


def least(tries: Sequence[Try], most: int) -> int | None:
    """The answer of a search that has ended, in MiB; None where ``most`` itself is not enough."""
    return _bounds(tries, most)[1]


def _bounds(tries: Sequence[Try], most: int) -> tuple[int, int | None]:
    """The largest size that seems not to do (0, where none), and the least above it that seems to."""
    sizes = sorted({attempt.mem_mb for attempt in tries})
    low = max((size for size in sizes if _seems_bad(tries, size)), default=0)
    return low, next((size for size in sizes if size > low), None)


def _counts(tries: Sequence[Try], size: int) -> tuple[int, int]:
    """How many boots in this size reached the mark, and how many did not."""
    here = [attempt.reached for attempt in tries if attempt.mem_mb == size]
    return sum(here), len(here) - sum(here)


def _good(tries: Sequence[Try], size: int) -> bool:
    return not _bad(tries, size) and _counts(tries, size)[0] >= CONFIRM


def _bad(tries: Sequence[Try], size: int) -> bool:
    return _counts(tries, size)[1] >= REFUTE


def _seems_bad(tries: Sequence[Try], size: int) -> bool:
    """One failure, and no success to speak against it, is enough while narrowing down."""
    reached, failed = _counts(tries, size)
    return failed >= REFUTE or (failed > 0 and not reached)
