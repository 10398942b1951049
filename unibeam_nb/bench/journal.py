"""The journal of an experiment: JSON lines, appended and synced the moment a sample exists.

The first line is the header: ``format``, ``version``, ``name``, ``date`` (ISO, UTC), ``plan`` (a
:class:`~unibeam_nb.bench.plan.Plan`), ``host`` (facts) and ``host_id`` of the host on which it was begun, ``hosts`` (id
to facts, of every host that takes samples), ``tools`` (name to version), ``images`` (case to arm, name, sha256, sizes,
parts, kernel, tools), ``left_out`` (arms that could not run, and why). Every further line is either a sample
(``{"record": "sample", ...}``, the fields of :class:`~unibeam_nb.model.Sample`, without those that stand in the
header) or a note (``{"record": "note", "date": ..., "text": ...}``): a warning before the start, an
interruption, an arm that was given up, a look of the stop rule.

A crash can tear the last line only. Reading leaves a torn line out; appending first cuts it off.

Versions of the format:
    2  ``record`` instead of ``kind``, which is now a sample's own; a sample repeats nothing of the header
    1  the first one; still read
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unibeam_nb.bench.header import checked
from unibeam_nb.bench.plan import Plan
from unibeam_nb.bench.portable import is_page, unpack
from unibeam_nb.bench.records import Reader, no_collection, parsed, parsed_lines, sample_record
from unibeam_nb.errors import BenchError, UsageError
from unibeam_nb.jsonable import dump, from_json
from unibeam_nb.model import KINDS, TRY, Sample
from unibeam_nb.store import disk_errors
from unibeam_nb.visible import SUSPECT, visible_values

if TYPE_CHECKING:
    from unibeam_nb.store import Store

FORMAT = "unibeam-journal"
FORMAT_VERSION = 2
READABLE = (1, 2)
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

    @cached_property
    def plan(self) -> Plan:
        return from_json(Plan, self.header["plan"])

    @classmethod
    def open(cls, path: str | Path) -> Experiment:
        """Read an experiment from its journal, or from a report that holds one, on whatever machine it was written.
        Raises BenchError as :func:`load_experiment` does."""
        return load_experiment(Path(path).expanduser())

    def to_journal(self) -> bytes:
        """The experiment as the text of a journal of the newest version, notes at its end."""
        images = self.header.get("images", {})
        records = [self.header | {"format": FORMAT, "version": FORMAT_VERSION},
                   *(sample_record(sample, images) for sample in self.samples),
                   *({"record": "note", "date": date, "text": text}
                     for date, _, text in (line.partition(": ") for line in self.notes))]
        return "".join(f"{dump(record)}\n" for record in records).encode()

    @property
    def file_name(self) -> str:
        """Its name as that of a file, and of nothing but a file: a journal from elsewhere may be called anything."""
        return re.sub(r"[^A-Za-z0-9._-]", "_", self.name).lstrip(".") or "experiment"

    @property
    def arms(self) -> tuple[str, ...]:
        """What the arms are called, in the plan's order."""
        return self.plan.arm_names

    @property
    def until(self) -> str:
        """The mark that ends a boot in every arm."""
        return self.plan.until

    @cached_property
    def measured(self) -> tuple[Sample, ...]:
        """The boots that count: no warm-up, no failure."""
        return self.measured_of("boot")

    def measured_of(self, kind: str) -> tuple[Sample, ...]:
        """The samples of this kind (:data:`~unibeam_nb.model.KINDS`) that count: no warm-up, no failure."""
        return tuple(s for s in self.samples if s.ok and not s.warmup and s.kind == kind)

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """The ids of the hosts that its samples come from, in the order in which they were met."""
        return tuple(dict.fromkeys(s.host for s in self.samples))

    def on_host(self, host: str) -> Experiment:
        """What of the experiment was measured on the host of this id, as an experiment. Raises BenchError where nothing
        was."""
        if host not in self.hosts:
            raise BenchError(f"{self.name} has no sample of the host {host}.",
                             f"It has those of {', '.join(self.hosts)}.")
        facts = self.header.get("hosts", {}).get(host, self.header["host"])
        return replace(self, header=self.header | {"host": facts, "host_id": host, "hosts": {host: facts}},
                       samples=tuple(s for s in self.samples if s.host == host))

    @property
    def provenance(self) -> str:
        """When and where it was measured: ``2026-01-01 on AMD EPYC, 2 cores, Debian GNU/Linux 12 (bookworm)``. What a
        notebook says of an experiment that it shows and did not run."""
        host = self.header["host"]
        inside = ", itself a virtual machine" if host["virtualised"] else ""
        return f"{self.header['date'][:10]} on {host['cpu']}, {host['cores']} cores, {host['distribution']}{inside}"

    @property
    def failed(self) -> tuple[Sample, ...]:
        return tuple(s for s in self.samples if not s.ok)

    def __repr__(self) -> str:
        most = "at most " if self.plan.stop else ""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        arms = f"{len(self.arms)} arm{'' if len(self.arms) == 1 else 's'}"
        taken = sum(s.kind != TRY for s in self.samples)
        return f"<Experiment {self.name}: {arms}, {taken} of {most}{self.plan.boots} boots{failed}>"


class Journal:
    """A journal open for appending; use it as a context manager."""

    def __init__(self, path: Path, handle: int, images: Mapping[str, Any]) -> None:
        self.path = path
        self._handle = handle
        self._images = images

    @classmethod
    def create(cls, path: Path, header: Mapping[str, Any]) -> Journal:
        """Start a journal. Raises BenchError when the file is there already, UnibeamError when the disk is full."""
        with disk_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                raise BenchError(f"{path.name} is there already.", "Continue it, or choose another name.") from None
            journal = cls(path, handle, header.get("images", {}))
            journal._write({"format": FORMAT, "version": FORMAT_VERSION, **header})
            _sync_directory(path.parent)
        return journal

    @classmethod
    def resume(cls, path: Path) -> Journal:
        """Open a journal to go on with it; a torn last line is cut off. Raises BenchError for an older version, which
        can be read and not continued."""
        text = path.read_bytes()
        whole, torn = _split_torn(text)
        header = _header(path, text.split(b"\n", 1)[0])
        if header["version"] != FORMAT_VERSION:
            raise BenchError(f"{path.name} was written by an older unibeam (journal version {header['version']}).",
                             "It can be read and charted; to measure more, choose another name.")
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        if torn:
            with disk_errors(path.parent):
                if parsed(torn) is None:
                    os.ftruncate(handle, len(whole))
                else:
                    os.write(handle, b"\n")
                os.fsync(handle)
        return cls(path, handle, header.get("images", {}))

    def append(self, sample: Sample) -> None:
        """Write one sample; it is on the disk when this returns. Raises UnibeamError when the disk is full, with
        a journal that ends in the sample before."""
        self._write(sample_record(sample, self._images))

    def note(self, date: str, text: str) -> None:
        """Write one note; ``date`` is ISO, UTC."""
        self._write({"record": "note", "date": date, "text": text})

    def _write(self, record: Mapping[str, Any]) -> None:
        line = (dump(record) + "\n").encode()
        with disk_errors(self.path.parent):
            size = os.fstat(self._handle).st_size
            try:
                # One write() on an O_APPEND descriptor: a line is whole or torn at its end, never mixed with another.
                while line:
                    line = line[os.write(self._handle, line):]
                os.fsync(self._handle)
            except OSError:
                os.ftruncate(self._handle, size)
                raise

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


def load_experiment(path: Path) -> Experiment:
    """Read a journal, or the one inside a report. Raises BenchError when it is missing, not a journal, newer than this
    unibeam, damaged before its last line, or (in a report) changed at all."""
    try:
        text = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise BenchError(f"There is no experiment at {path}.",
                         "Run %unibeam bench first, or name one of the experiments it lists.") from None
    if is_page(text):
        text = unpack(text, path.name)
    if SUSPECT.search(text):
        text = _harmless(text)
    whole, torn = _split_torn(text)
    lines = whole.split(b"\n")[:-1] + ([torn] if torn and parsed(torn) is not None else [])
    header = _header(path, lines[0] if lines else b"")
    with no_collection():
        samples, notes = _read(path, lines[1:], header)
    return Experiment(str(header["name"]), path, header, tuple(samples), tuple(notes))


def _harmless(text: bytes) -> bytes:
    """A journal whose texts can be shown: ours hold no control characters, and what somebody else has written may not
    steer a terminal, or look like what it is not."""
    records = ((line, parsed(line)) for line in text.split(b"\n"))
    try:
        return b"\n".join(line if record is None else dump(visible_values(record)).encode() for line, record in records)
    except RecursionError:
        raise BenchError("The journal is nested too deep to be read.", "It is none of unibeam's: ask for it again.") \
            from None


def _read(path: Path, lines: list[bytes], header: Mapping[str, Any]) -> tuple[list[Sample], list[str]]:
    reader = Reader(header.get("images", {}))
    first_version = header["version"] == 1
    samples: list[Sample] = []
    notes: list[str] = []
    for number, record in enumerate(parsed_lines(lines), 2):
        try:
            if record is None:
                raise ValueError("not a JSON object")
            what = _kind_of_first(record) if first_version else record.get("record")
            if what == "sample":
                samples.append(reader.sample(record))
            elif what == "note":
                notes.append(f"{record['date']}: {record['text']}")
            else:
                raise ValueError("neither a sample nor a note")
        except (ValueError, KeyError) as error:
            raise BenchError(f"Line {number} of {path.name} cannot be read ({error}).",
                             "Only the last line may be incomplete: restore the file, or start anew.") from None
    return samples, notes


def _kind_of_first(record: Mapping[str, Any]) -> object:
    """What a line of version 1 is: its ``kind`` told the record's, and for a while the sample's."""
    return "sample" if record.get("kind") in KINDS else record.get("kind")


def _header(path: Path, line: bytes) -> dict[str, Any]:
    header = parsed(line)
    if header is None or header.get("format") != FORMAT:
        raise BenchError(f"{path.name} is not an experiment's journal.",
                         "A journal is written by %unibeam bench and ends in .jsonl.")
    version = header.get("version")
    if version not in READABLE:
        raise BenchError(f"{path.name} has journal version {version}, and this unibeam reads version {FORMAT_VERSION}.",
                         "Read it with the unibeam that wrote it, or upgrade: pip install --upgrade unibeam-nb")
    try:
        return checked(header)
    except (ValueError, UsageError) as error:
        raise BenchError(f"The first line of {path.name} cannot be read ({error}).",
                         "Restore the file, or start a new experiment.") from None


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
