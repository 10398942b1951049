"""The lines of a journal as values, and back; fast for many of them.

A line's ``record`` is ``sample`` or ``note``. What all samples of a case share (sizes, parts, hashes: ``SHARED``)
stands once, in the header's ``images``, and a sample repeats only what differs from it.

Reading 100,000 lines one by one through a general decoder takes a minute. Lines of one experiment have few shapes,
though (which keys, of which types): the first of each shape goes through the decoder, which checks everything, and the
others of that shape become samples directly.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

from unibeam_nb.jsonable import from_json, loads, to_json
from unibeam_nb.model import Memory, Part, Sample, case_name

SHARED = ("shipped_bytes", "unpacked_bytes", "parts", "image_sha256", "release_sha256")
"""Fields of a sample that stand in the header: under these names, but ``image_sha256`` is ``sha256`` there."""

_FIELDS = tuple(field.name for field in fields(Sample))
_MEMORY_KEYS = {field.name for field in fields(Memory)}
_CHUNK = 4096
T = TypeVar("T")


def sample_record(sample: Sample, images: Mapping[str, Any]) -> dict[str, Any]:
    """The line of a sample, without what the header's ``images`` say already."""
    record: dict[str, Any] = {"record": "sample", **to_json(sample)}
    known = shared(images.get(sample.case, {}))
    for key, value in known.items():
        if record[key] == value:
            del record[key]
    return record


def shared(image: Mapping[str, Any]) -> dict[str, Any]:
    """What the header's entry of a case says about every sample of it, by the sample's own names."""
    named = {key: "sha256" if key == "image_sha256" else key for key in SHARED}
    return {key: image[name] for key, name in named.items() if name in image}


class Reader:
    """Makes samples of records. ``images`` is the header's."""

    def __init__(self, images: Mapping[str, Any]) -> None:
        self._shared = {name: shared(image) for name, image in images.items()}
        self._ready: dict[str, dict[str, Any]] = {}
        self._shapes: set[tuple[Any, ...]] = set()

    def sample(self, record: dict[str, Any]) -> Sample:
        """One sample. Raises ValueError where the record does not fit."""
        shape = _shape(record)
        if shape is None or shape not in self._shapes:
            return self._first(record, shape)
        name = record["arm"]
        if record["factors"]:
            name = case_name(name, record["factors"].items())
        if name not in self._ready:
            return self._first(record, shape)
        content = self._ready[name] | record
        memory = content["memory"]
        if memory is not None:
            content["memory"] = _filled(Memory, memory)
        if "parts" in record:
            content["parts"] = tuple(Part(part["name"], part["bytes"]) for part in record["parts"])
        content.pop("record", None)
        return _filled(Sample, content)

    def _first(self, record: dict[str, Any], shape: tuple[Any, ...] | None) -> Sample:
        """A sample of a shape, or a case, that was not seen before: checked in full."""
        known = self._shared.get(_case_of(record), {})
        data = known | {key: value for key, value in record.items() if key in _FIELDS}
        if data.get("kind") == "sample":
            del data["kind"]  # In version 1 "kind" was the record's.
        sample = from_json(Sample, data)
        if shape is not None and "record" in record and set(record) - {"record"} <= set(_FIELDS):
            self._shapes.add(shape)
            self._ready.setdefault(sample.case, {
                field.name: _default(field) for field in fields(Sample)} | from_json_shared(known))
        return sample


def _filled(made: type[T], content: dict[str, Any]) -> T:
    """A frozen dataclass with all its fields: filling its ``__dict__`` at once is ten times as fast as ``__init__``."""
    value = object.__new__(made)
    value.__dict__.update(content)
    return value


def _case_of(record: Mapping[str, Any]) -> str:
    """The case of a record that was not checked yet."""
    factors = record.get("factors")
    pairs = factors.items() if isinstance(factors, dict) else ()
    return case_name(str(record.get("arm")), ((str(key), str(value)) for key, value in pairs))


def from_json_shared(known: Mapping[str, Any]) -> dict[str, Any]:
    """The shared fields as a sample holds them."""
    held = dict(known)
    if "parts" in held:
        held["parts"] = tuple(Part(str(part["name"]), int(part["bytes"])) for part in held["parts"])
    return held


def _default(field: Any) -> Any:
    """A field's default; where one is made anew for each sample, the records bring their own."""
    return () if field.name == "parts" else None if callable(getattr(field, "default_factory", None)) else field.default


def _shape(record: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Everything about a record that decides whether it is a good sample; None where it needs a closer look."""
    marks, values, factors, memory = (record.get(key) for key in ("marks", "values", "factors", "memory"))
    if type(marks) is not dict or type(values) is not dict or type(factors) is not dict or "parts" in record:
        return None
    held: Any = None
    if memory is not None:
        if type(memory) is not dict or memory.keys() != _MEMORY_KEYS:
            return None
        held = tuple(map(type, memory.values()))
    return (tuple(record), tuple(map(type, record.values())), held, frozenset(map(type, marks.values())),
            frozenset(map(type, values.values())), frozenset(map(type, factors.values())))


def parsed(line: bytes) -> dict[str, Any] | None:
    """A line's object, or None where it is not one."""
    try:
        value = loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def parsed_lines(lines: Sequence[bytes]) -> Iterator[dict[str, Any] | None]:
    """The objects of many lines: whole chunks at once, line by line where a chunk has a bad one."""
    import orjson

    for start in range(0, len(lines), _CHUNK):
        chunk = lines[start:start + _CHUNK]
        try:
            values = orjson.loads(b"[" + b",".join(chunk) + b"]")
        except ValueError:
            values = []
        # A line such as `1, 2` would shift those after it: then, too, each one is read for itself.
        if len(values) == len(chunk) and all(type(value) is dict for value in values):
            yield from values
        else:
            yield from map(parsed, chunk)


@contextmanager
def no_collection() -> Iterator[None]:
    """Without the cycle collector, which would walk over everything read so far again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
