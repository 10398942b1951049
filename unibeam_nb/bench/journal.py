"""The journal of an experiment: JSON lines, appended and synced the moment a sample exists.

The first line is the header: ``format``, ``version``, ``name``, ``date`` (ISO, UTC), ``plan`` (a
:class:`~unibeam_nb.bench.plan.Plan`), ``host`` (facts) and ``host_id``, ``tools`` (name to version),
``images`` (arm to name, sha256, sizes, parts, kernel, tools). Every further line is either a sample
(the fields of :class:`~unibeam_nb.model.Sample`, whose ``kind`` is one of its KINDS) or a note
(``{"kind": "note", "date": ..., "text": ...}``): a warning before the start, an interruption, an arm that
was given up.

A crash can tear the last line only. Reading leaves a torn line out; appending first cuts it off.

Versions of the format:
    1  the first one
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unibeam_nb.bench.plan import Plan
from unibeam_nb.errors import BenchError
from unibeam_nb.jsonable import dump, from_json, to_json
from unibeam_nb.model import KINDS, Sample

if TYPE_CHECKING:
    from unibeam_nb.store import Store

FORMAT = "unibeam-journal"
FORMAT_VERSION = 1
SUFFIX = ".jsonl"


@dataclass(frozen=True)
class Experiment:
    """A journal as it was read: ``samples`` in the order in which they were taken, ``notes`` as
    ``date: text`` lines."""

    name: str
    path: Path
    header: dict[str, Any]
    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()

    @property
    def plan(self) -> Plan:
        return from_json(Plan, self.header["plan"])

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms' names in the plan's order."""
        return tuple(str(arm) for arm in self.plan.arms)

    @property
    def until(self) -> str:
        """The mark that ends a boot in every arm."""
        return self.plan.until

    @property
    def measured(self) -> tuple[Sample, ...]:
        """The samples that count: no warm-up, no failure."""
        return tuple(s for s in self.samples if s.ok and not s.warmup)

    @property
    def failed(self) -> tuple[Sample, ...]:
        return tuple(s for s in self.samples if not s.ok)

    def __repr__(self) -> str:
        planned = len(self.plan.arms) * (self.plan.blocks + self.plan.warmup)
        failed = f", {len(self.failed)} failed" if self.failed else ""
        arms = f"{len(self.plan.arms)} arm{'' if len(self.plan.arms) == 1 else 's'}"
        return f"<Experiment {self.name}: {arms}, {len(self.samples)} of {planned} boots{failed}>"


class Journal:
    """A journal open for appending; use it as a context manager."""

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle

    @classmethod
    def create(cls, path: Path, header: Mapping[str, Any]) -> Journal:
        """Start a journal. Raises BenchError when the file is there already."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise BenchError(f"{path.name} is there already.", "Continue it, or choose another name.") from None
        journal = cls(path, handle)
        journal._write({"format": FORMAT, "version": FORMAT_VERSION, **header})
        _sync_directory(path.parent)
        return journal

    @classmethod
    def resume(cls, path: Path) -> Journal:
        """Open a journal to go on with it; a torn last line is cut off."""
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        text = path.read_bytes()
        whole, torn = _split_torn(text)
        if torn:
            if _parsed(torn) is None:
                os.ftruncate(handle, len(whole))
            else:
                os.write(handle, b"\n")
            os.fsync(handle)
        return cls(path, handle)

    def append(self, sample: Sample) -> None:
        """Write one sample; it is on the disk when this returns."""
        self._write(to_json(sample))

    def note(self, date: str, text: str) -> None:
        """Write one note; ``date`` is ISO, UTC."""
        self._write({"kind": "note", "date": date, "text": text})

    def _write(self, record: Mapping[str, Any]) -> None:
        line = (dump(record) + "\n").encode()
        # One write() on an O_APPEND descriptor: a line is whole or torn at its end, never mixed with another.
        while line:
            line = line[os.write(self._handle, line):]
        os.fsync(self._handle)

    def close(self) -> None:
        os.close(self._handle)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _split_torn(text: bytes) -> tuple[bytes, bytes]:
    """The whole lines, and what follows the last newline."""
    end = text.rfind(b"\n") + 1
    return text[:end], text[end:]


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line's object, or None where it is not one."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def load_experiment(path: Path) -> Experiment:
    """Read a journal. Raises BenchError when it is missing, not a journal, newer than this unibeam, or
    damaged before its last line."""
    try:
        text = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise BenchError(f"There is no experiment at {path}.",
                         "Run %unibeam bench first, or name one of the experiments it lists.") from None
    whole, torn = _split_torn(text)
    lines = whole.split(b"\n")[:-1] + ([torn] if torn and _parsed(torn) is not None else [])
    header = _header(path, lines[0] if lines else b"")
    samples: list[Sample] = []
    notes: list[str] = []
    for number, line in enumerate(lines[1:], 2):
        record = _parsed(line)
        try:
            if record is None:
                raise ValueError("not a JSON object")
            if record.get("kind") == "note":
                notes.append(f"{record['date']}: {record['text']}")
            elif record.get("kind") in KINDS:
                samples.append(from_json(Sample, record))
            elif record.get("kind") == "sample":  # As it was written before there was more than boots to measure.
                samples.append(from_json(Sample, record | {"kind": "boot"}))
            else:
                raise ValueError("neither a sample nor a note")
        except (ValueError, KeyError) as error:
            raise BenchError(f"Line {number} of {path.name} cannot be read ({error}).",
                             "Only the last line may be incomplete: restore the file, or start anew.") from None
    return Experiment(str(header["name"]), path, header, tuple(samples), tuple(notes))


def _header(path: Path, line: bytes) -> dict[str, Any]:
    header = _parsed(line)
    if header is None or header.get("format") != FORMAT:
        raise BenchError(f"{path.name} is not an experiment's journal.",
                         "A journal is written by %unibeam bench and ends in .jsonl.")
    version = header.get("version")
    if version != FORMAT_VERSION:
        raise BenchError(f"{path.name} has journal version {version}, and this unibeam reads version {FORMAT_VERSION}.",
                         "Read it with the unibeam that wrote it, or upgrade: pip install --upgrade unibeam-nb")
    try:
        from_json(Plan, header["plan"])
        str(header["name"])
    except (KeyError, ValueError) as error:
        raise BenchError(f"The first line of {path.name} cannot be read ({error}).",
                         "Restore the file, or start a new experiment.") from None
    return header


def journal_path(store: Store, name: str) -> Path:
    """Where the journal of the experiment called ``name`` is, or would be."""
    return store.directory("experiments") / f"{name}{SUFFIX}"


def list_experiments(store: Store) -> list[Experiment]:
    """Every readable experiment of this store, oldest first. A file that is no journal is left out."""
    found = []
    for path in sorted(store.directory("experiments").glob(f"*{SUFFIX}")):
        try:
            found.append(load_experiment(path))
        except BenchError:
            continue
    return sorted(found, key=lambda e: (str(e.header.get("date", "")), e.name))
