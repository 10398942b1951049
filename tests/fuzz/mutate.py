"""Inputs made from seeds: bytes that were changed the way that faults are usually found.

Sources: the stages of AFL (Zalewski, "Technical whitepaper for afl-fuzz") - bit flips, known integers, dictionaries,
blocks that are moved, repeated or left out, two seeds spliced.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from tests.fuzz.target import Target

NUMBERS = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    31,
    32,
    63,
    64,
    100,
    127,
    128,
    255,
    256,
    511,
    512,
    1000,
    1024,
    4095,
    4096,
    32767,
    32768,
    65535,
    65536,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
_TEXTS = (*(str(n).encode() for n in NUMBERS), b"-1", b"1e999", b"0x7f", b"nan", b"9" * 5000)
_BRACKETS = (
    b"[",
    b"{",
    b"(",
    b"<",
    b'"',
    b"'",
    b"#{",
    b"<<",
    b"- ",
    b"a: ",
    b"\\",
    b" ",
    b"\n",
    b"\x00",
    b"\xff",
    b"\x1b]",
    b"\x1b[",
)
MOST_STEPS = 12


class Mutator:
    """Makes the inputs of one target. The same random numbers make the same input."""

    def __init__(self, target: Target) -> None:
        self.target, self.longest = target, target.longest
        self.seeds = [seed for seed in target.seeds() if len(seed) <= target.longest] or [b""]
        self._steps = (
            self._flip,
            self._byte,
            self._number,
            self._number,
            self._leave_out,
            self._repeat,
            self._move,
            self._insert,
            self._word,
            self._word,
            self._over,
            self._cut,
            self._splice,
            self._digits,
            self._flood,
        )

    def input(self, seed: int, index: int) -> bytes:
        """The input number ``index`` of a run with this seed."""
        random = Random(f"{seed}/{self.target.name}/{index}")
        return self.changed(random, random.choice(self.seeds))

    def changed(self, random: Random, data: bytes) -> bytes:
        """Another input made of one: by its structure, by its bytes, or both."""
        how = random.random()
        if self.target.shape is not None and how < 0.6:
            data = self.target.shape(random, data)
            if how < 0.5:
                return self.dressed(random, data)
        changed = bytearray(data)
        for _ in range(1 + min(int(random.expovariate(0.4)), MOST_STEPS)):
            random.choice(self._steps)(random, changed)
            del changed[self.longest :]
        return self.dressed(random, bytes(changed))

    def dressed(self, random: Random, data: bytes) -> bytes:
        """Mostly made whole again, where the target says how."""
        return self.target.dress(data) if self.target.dress is not None and random.random() < 0.9 else data

    # Each step changes ``data`` in place.

    def _flip(self, random: Random, data: bytearray) -> None:
        if data:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)

    def _byte(self, random: Random, data: bytearray) -> None:
        if data:
            data[random.randrange(len(data))] = random.randrange(256)

    def _number(self, random: Random, data: bytearray) -> None:
        width = random.choice((1, 2, 4, 4, 8))
        if len(data) < width:
            return
        near = (len(data), len(data) - 1, len(data) + 1, random.randrange(1 << 16))
        value = random.choice(near if random.random() < 0.2 else NUMBERS)
        at = random.randrange(len(data) - width + 1)
        if random.random() < 0.3:  # a little more, or less, than what stands there
            value = int.from_bytes(data[at : at + width], "little") + random.randrange(-16, 17)
        order = "big" if random.random() < 0.5 else "little"
        data[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, order)  # type: ignore[arg-type]

    def _leave_out(self, random: Random, data: bytearray) -> None:
        at, end = _range(random, data)
        del data[at:end]

    def _repeat(self, random: Random, data: bytearray) -> None:
        at, end = _range(random, data)
        data[at:at] = data[at:end] * random.choice((1, 1, 1, 2, 16))

    def _move(self, random: Random, data: bytearray) -> None:
        at, end = _range(random, data)
        piece = bytes(data[at:end])
        del data[at:end]
        to = random.randrange(len(data) + 1)
        data[to:to] = piece

    def _insert(self, random: Random, data: bytearray) -> None:
        at = random.randrange(len(data) + 1)
        data[at:at] = random.randbytes(random.randrange(1, 9))

    def _word(self, random: Random, data: bytearray) -> None:
        word = random.choice(self.target.words) if self.target.words else random.choice(_BRACKETS)
        at = random.randrange(len(data) + 1)
        end = at + len(word) if random.random() < 0.5 else at
        data[at:end] = word

    def _over(self, random: Random, data: bytearray) -> None:
        at, end = _range(random, data)
        to = random.randrange(len(data) + 1)
        data[to : to + end - at] = data[at:end]

    def _cut(self, random: Random, data: bytearray) -> None:
        del data[random.randrange(len(data) + 1) :]

    def _splice(self, random: Random, data: bytearray) -> None:
        other = random.choice(self.seeds)
        data[random.randrange(len(data) + 1) :] = other[random.randrange(len(other) + 1) :]

    def _digits(self, random: Random, data: bytearray) -> None:
        """A number that is written in digits becomes another one."""
        places = [at for at, byte in enumerate(data[:4096]) if 48 <= byte < 58]
        if not places:
            return
        at = random.choice(places)
        end = at
        while end < len(data) and 48 <= data[end] < 58:
            end += 1
        data[at:end] = random.choice(_TEXTS)

    def _flood(self, random: Random, data: bytearray) -> None:
        """Something short, very often: what opens and never closes."""
        word = random.choice(self.target.words or _BRACKETS) if random.random() < 0.5 else random.choice(_BRACKETS)
        count = min(random.choice((100, 300, 1100, 5000, 60000)), self.longest // max(1, len(word)))
        if random.random() < 0.9:  # the longest take time, and few of them tell as much as many
            count = min(count, 1100)
        at = random.randrange(len(data) + 1)
        data[at:at] = word * count


def _range(random: Random, data: Sequence[int]) -> tuple[int, int]:
    """Where a piece of the data begins and ends; mostly a short one."""
    at = random.randrange(len(data) + 1)
    longest = len(data) if random.random() < 0.1 else min(len(data), 64)
    return at, min(len(data), at + random.randrange(longest + 1))
