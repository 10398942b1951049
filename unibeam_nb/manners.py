"""What a machine does for its program beyond starting it: the words that PID 1 is told (guest/watch.c, guest/data.c).

They stand in an image (``/etc/unibeam/options``), or on the command line of one boot, which wins.
"""

from __future__ import annotations

from dataclasses import dataclass

from unibeam_nb.errors import UsageError

LONGEST = 86400
"""Seconds in a day: who waits longer does not watch."""


@dataclass(frozen=True)
class Manners:
    """How a program is watched.

    It must start all its applications within ``guard`` seconds, and from then on show a sign of life every ``heart``
    seconds; 0 waits for ever. One that ends badly, or is killed for either, is started again up to ``restarts``
    times in a row. Raises UsageError for what makes no sense.
    """

    guard: int = 0
    heart: int = 0
    restarts: int = 0

    def __post_init__(self) -> None:
        for name, value in (("guard", self.guard), ("heart", self.heart)):
            if not 0 <= value <= LONGEST:
                raise UsageError(f"A {name} of {value} s makes no sense.", f"Use 1 to {LONGEST} seconds, or none.")
        if not 0 <= self.restarts <= 1000:
            raise UsageError(f"A program cannot be started again {self.restarts} times.", "Use 0 to 1000.")

    def words(self) -> tuple[str, ...]:
        """What PID 1 is told."""
        given = (("guard", self.guard), ("heart", self.heart), ("restarts", self.restarts))
        return tuple(f"unibeam.{name}={value}" for name, value in given if value)

    def __bool__(self) -> bool:
        return bool(self.guard or self.heart or self.restarts)


UNWATCHED = Manners()
