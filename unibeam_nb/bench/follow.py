"""An experiment seen from outside while it goes on: its journal, read as it grows.

Nothing of the loop that measures is touched, so an experiment of another process, or of another host whose journal is
on a shared disk, is followed like one's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from unibeam_nb.bench.journal import load_experiment
from unibeam_nb.bench.plan import Plan
from unibeam_nb.bench.records import Reader
from unibeam_nb.errors import BenchError
from unibeam_nb.jsonable import loads
from unibeam_nb.model import TRY, Sample


@dataclass
class Follow:
    """A journal at ``path``, which need not exist yet. ``samples`` and ``notes`` grow with every :meth:`read`."""

    path: Path

    def __post_init__(self) -> None:
        self.plan: Plan | None = None
        self.samples: list[Sample] = []
        self.notes: list[str] = []
        self._offset = 0
        self._reader: Reader | None = None

    def read(self) -> bool:
        """Take in the lines that are whole by now; whether there were any. Raises BenchError for what is no journal."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self._offset)
                data = stream.read()
        except FileNotFoundError:
            return False
        whole = data[:data.rfind(b"\n") + 1]
        if not whole:
            return False
        if self._reader is None:
            begun = load_experiment(self.path)  # The header is checked where all journals are.
            self.plan, self._reader = begun.plan, Reader(begun.header.get("images", {}))
        for line in whole.splitlines()[0 if self._offset else 1:]:
            self._take(self._reader, line)
        self._offset += len(whole)
        return True

    def _take(self, reader: Reader, line: bytes) -> None:
        try:
            record: dict[str, Any] = loads(line)
            if record.get("record") == "note":
                self.notes.append(str(record["text"]))
            else:
                self.samples.append(reader.sample(record))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BenchError(f"{self.path.name} cannot be followed ({error}).",
                             "Is it an experiment's journal?") from None

    @property
    def taken(self) -> int:
        """How many of the plan's boots have their sample."""
        return sum(sample.kind != TRY for sample in self.samples)

    @property
    def complete(self) -> bool:
        """Whether every boot of the plan has its sample."""
        return self.plan is not None and self.taken >= self.plan.boots

    def left_s(self) -> float | None:
        """About how many seconds are left, from the dates of the samples so far; None before two were taken."""
        if self.plan is None or len(self.samples) < 3:
            return None
        try:
            first, last = (datetime.fromisoformat(self.samples[i].started) for i in (0, -1))
            gone = (last - first).total_seconds()
        except (ValueError, TypeError):  # A journal that somebody has edited: its dates are none, or of two kinds.
            return None
        return gone / (len(self.samples) - 1) * (self.plan.boots - self.taken)
