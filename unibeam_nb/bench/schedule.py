"""Which case is measured when: randomised blocks, and what is still missing of them.

A block measures every case once for every kind of measurement (the density once for every number of copies), in an
order shuffled by the plan's seed: what changes slowly on a host (heat, neighbours, caches) then meets all cases alike,
and a comparison can be made block by block.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from unibeam_nb.arms import Arm
from unibeam_nb.bench.plan import Case, Plan
from unibeam_nb.model import Sample

GIVE_UP_AFTER = 3
"""Failures in a row after which a case is not measured any more."""


@dataclass(frozen=True)
class Slot:
    """One measurement to come: ``order`` counts over the whole experiment from 0, as does ``block``."""

    case: Case
    block: int
    order: int
    warmup: bool
    kind: str = "boot"
    copies: int = 1

    @property
    def arm(self) -> Arm:
        return self.case.arm

    @property
    def key(self) -> tuple[str, int, str, int]:
        """What tells this slot's sample from all others: case, block, kind, and how many copies there are at once."""
        return (self.case.name, self.block, self.kind, self.copies)


def schedule(plan: Plan) -> list[Slot]:
    """Every slot of the plan in order: warm-up blocks first, each block every case once, shuffled by the seed.

    A longer plan of the same seed begins with the very slots of a shorter one.
    """
    chance = random.Random(plan.seed)
    members = [(case, kind, copies) for kind in plan.kinds for case in plan.cases
               for copies in (plan.copies if kind == "density" else (1,))]
    slots: list[Slot] = []
    for block in range(plan.warmup + plan.blocks):
        # Sorting by random() instead of shuffle(): its sequence is the only one that Python promises to
        # keep between versions, and a resumed experiment must find the same order.
        keyed = sorted((chance.random(), index) for index in range(len(members)))
        slots += [Slot(members[index][0], block, len(slots) + place, block < plan.warmup, *members[index][1:])
                  for place, (_, index) in enumerate(keyed)]
    return slots


def missing_slots(plan: Plan, samples: Sequence[Sample]) -> list[Slot]:
    """The slots of the plan for which no sample exists yet, in order."""
    there = {(s.case, s.block, s.kind, int(s.values.get("copies_count", 1))) for s in samples}
    return [slot for slot in schedule(plan) if slot.key not in there]


class Failures:
    """Counts failures in a row, so that a case which cannot run is given up."""

    def __init__(self, samples: Sequence[Sample] = ()) -> None:
        self._row: dict[tuple[str, str], int] = {}
        for sample in sorted(samples, key=lambda s: s.order):
            self.add(sample)

    def add(self, sample: Sample) -> None:
        """Take note of how a measurement ended; in the order in which they were taken."""
        key = (sample.case, sample.kind)
        if not self.given_up(*key):
            self._row[key] = 0 if sample.ok else self._row.get(key, 0) + 1

    def given_up(self, name: str, kind: str = "boot") -> bool:
        """Whether this case failed three times in a row."""
        return self._row.get((name, kind), 0) >= GIVE_UP_AFTER
