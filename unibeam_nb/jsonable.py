"""Frozen dataclasses to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_HALVES = re.compile(r"\\ud[89a-f]", re.IGNORECASE)


def to_json(value: Any) -> Any:
    """``value`` as what :mod:`json` can write: dataclasses become objects, tuples arrays, paths strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def loads(text: str | bytes) -> Any:
    """What a JSON text says. Raises ``ValueError`` for whatever is none, is nested too deep to be read, or holds half a
    character (``\\ud800``), which could not be written again."""
    if isinstance(text, bytes):
        text = text.decode()  # strictly, which json itself does not
    try:
        value = json.loads(text)
        if _HALVES.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return value


def from_json(kind: type[T], data: Mapping[str, Any]) -> T:
    """The dataclass ``kind`` from what :func:`to_json` made. Raises ``ValueError`` when it does not fit;
    unknown keys are ignored, so that an older unibeam reads a newer file."""
    import dacite

    try:
        return dacite.from_dict(kind, data, dacite.Config(type_hooks={Path: Path, float: float}, cast=[tuple]))
    except (dacite.DaciteError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None


def dump(value: Any) -> str:
    """``value`` as JSON text that is the same for equal values."""
    return json.dumps(to_json(value), sort_keys=True, ensure_ascii=False)
