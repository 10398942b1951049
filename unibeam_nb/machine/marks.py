"""Marks out of a stream of console bytes. Pure: bytes and arrival times in, marks out.

A mark is a console line with this boot's nonce (:data:`unibeam_nb.model.MARK_LINE`). The nonce is new for
every boot and the agent forgets it at once, so a program's own output can neither forge a mark nor break
one. Only whole lines are read: half a line could still grow further digits.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from unibeam_nb.model import ASKS, MARK_LINE, MARKS, Mark

LONGEST_LINE = 65536
"""A line may grow to this many bytes before its start is dropped; a mark is shorter than 200."""


def new_nonce() -> str:
    """Sixteen hex digits that nobody has seen before."""
    return secrets.token_hex(8)


@dataclass
class MarkReader:
    """Collects the marks of one boot. ``spawned`` is the host's monotonic clock when its process was spawned.

    The first occurrence of a mark counts. ``values`` keeps the ``key=value`` pairs (``memory``, ``code``, ``tsc``).

    A machine that is ``counted`` (the accelerator ``icount``) has a clock of its own, and no other tells how far it is:
    its marks are at the time since it was switched on by that clock, whenever they arrive. The mark ``init`` says
    how much of it went by before the kernel's clock began (``tsc``, in nanoseconds).
    """

    nonce: str
    spawned: float
    marks: dict[str, Mark] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    counted: bool = False
    _rest: bytes = b""

    def feed(self, data: bytes, arrived: float) -> list[Mark]:
        """Read more console bytes that arrived at the host's monotonic clock ``arrived``; the new marks."""
        *lines, rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = rest[-LONGEST_LINE:]
        return [mark for line in lines for mark in self._read(line, arrived)]

    def _read(self, line: bytes, arrived: float) -> Iterable[Mark]:
        if b"@unibeam " not in line:
            return
        for found in MARK_LINE.finditer(line.decode("ascii", "replace")):
            nonce, name, nanoseconds, pairs = found.groups()
            if nonce != self.nonce or name not in (*MARKS, ASKS) or name in self.marks:
                continue
            guest = int(nanoseconds) / 1e9 if nanoseconds else None
            for pair in pairs.split():
                key, _, value = pair.partition("=")
                self.values.setdefault(key, value)
            mark = Mark(name, self._counted(name, guest or 0.0) if self.counted else arrived - self.spawned, guest)
            self.marks[name] = mark
            yield mark

    def _counted(self, name: str, guest: float) -> float:
        """Seconds since a counted machine was switched on, from those since its kernel's clock began."""
        tsc = _number(self.values.get("tsc"))
        if name == "init" and tsc is not None:
            return tsc / 1e9
        init = self.marks.get("init")
        return guest + (init.at - init.guest if init is not None and init.guest is not None else 0.0)


def times_told(data: bytes, nonce: str, name: str) -> int:
    """How often these console bytes have a mark called ``name`` of the boot with this nonce."""
    if b"@unibeam " not in data:
        return 0
    found = MARK_LINE.finditer(data.decode("ascii", "replace").replace("\r", "\n"))
    return sum(mark[1] == nonce and mark[2] == name for mark in found)


def with_kernel(marks: Mapping[str, Mark]) -> dict[str, Mark]:
    """The marks with ``kernel`` derived, in the order in which a boot has them.

    A kernel prints nothing we could trust before PID 1 runs, so the instant at which it began is where its
    own monotonic clock, read by the ``init`` mark, was zero: arrival of ``init`` minus that clock. Loading and
    unpacking the kernel come before that instant. It is never put before ``vmm``: a guest clock may run fast.
    OSv has no PID 1, and the first mark of a machine on it is ``beam``. Only a machine with a mark ``init`` or ``vmm``
    has a kernel of its own: elsewhere the program's clock is the host's.
    """
    found = dict(marks)
    first = found.get("init") or (found.get("beam") if "vmm" in found else None)
    if first is not None and first.guest is not None:
        began = max(first.at - first.guest, found["vmm"].at if "vmm" in found else 0.0)
        found["kernel"] = Mark("kernel", began, 0.0)
    return {name: found[name] for name in MARKS if name in found}


def code_of(values: Mapping[str, str]) -> int | None:
    """The exit status that the ``exit`` mark told, if it did."""
    return _number(values.get("code"))


def memory_of(values: Mapping[str, str]) -> int | None:
    """``erlang:memory(total)`` in bytes that the ``app`` mark told, if it did."""
    return _number(values.get("memory"))


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 19 else None
