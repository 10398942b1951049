"""Changes by structure: values that were read, changed somewhere, and written again, so that the text stays well formed
and the reader gets to what the values mean."""

from __future__ import annotations

import json
import struct
import tomllib
from collections.abc import Callable
from random import Random
from typing import Any

_ODD_TEXTS = (
    "",
    " ",
    "\n",
    "\x00",
    "\ud800",
    "\u202e",
    "../..",
    "/",
    "a" * 300,
    "1",
    "-1",
    "nan",
    "inf",
    "@",
    "=",
    "'",
    '"',
    "<script>",
    "2026-13-45",
    "2026-01-01T00:00:00+99:99",
    "%s",
    "{0}",
    "$HOME",
    "é",
    "\U0001f600",
    "=,=",
    "linux+tiny@qemu",
    "x@y@z",
    "+",
    "oci+full+full@podman",
    "app",
    "http",
    "boot",
    "0" * 64,
)


def odd(random: Random) -> Any:
    """A value that nobody meant."""
    kind = random.randrange(10)
    if kind < 4:
        return random.choice(_ODD_TEXTS)
    if kind < 7:
        return random.choice(
            (
                0,
                1,
                -1,
                2,
                255,
                65536,
                1 << 31,
                1 << 63,
                1 << 64,
                10**30,
                10**400,
                0.0,
                -0.5,
                1e308,
                1e-320,
                float("inf"),
                float("nan"),
                -float("inf"),
            )
        )
    return random.choice((None, True, False, [], {}, [[]], [None], {"": None}, {"a": {"b": []}}, [1, "a", None]))


def nested(random: Random) -> Any:
    """Something very deep."""
    value: Any = 1
    for _ in range(random.choice((50, 150, 900, 3000))):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def changed(random: Random, value: Any) -> Any:
    """``value`` with one to four changes somewhere in it. What was given stays as it is."""
    for _ in range(1 + min(int(random.expovariate(0.9)), 3)):
        value = _changed(random, value)
    return value


def _changed(random: Random, value: Any) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.92:
        return _in_dict(random, value)
    if isinstance(value, list | tuple) and value and random.random() < 0.9:
        return type(value)(_in_list(random, list(value)))
    how = random.random()
    if how < 0.7:
        return odd(random)
    if how < 0.8:
        return [value]
    if how < 0.85:
        return {"a": value}
    if isinstance(value, str | bytes) and value:
        at = random.randrange(len(value))
        return value[:at] + value[at + 1 :]
    return -value if isinstance(value, int | float) else odd(random)


def _in_dict(random: Random, value: dict[Any, Any]) -> dict[Any, Any]:
    key = random.choice(list(value))
    how = random.random()
    if how < 0.75:
        return value | {key: _changed(random, value[key])}
    if how < 0.85:
        return {name: content for name, content in value.items() if name != key}
    if how < 0.9:
        return value | {random.choice(_ODD_TEXTS): value[key]}
    return value | {key: value[random.choice(list(value))]}


def _in_list(random: Random, value: list[Any]) -> list[Any]:
    at = random.randrange(len(value))
    how = random.random()
    if how < 0.7:
        value[at] = _changed(random, value[at])
    elif how < 0.8:
        del value[at]
    elif how < 0.9:
        value.insert(at, random.choice(value))
    else:
        value.append(odd(random))
    return value


def json_text(random: Random, seed: bytes) -> bytes:
    """A JSON text with changed values; now and then with one that is far too deep."""
    try:
        value = changed(random, json.loads(seed))
    except (ValueError, RecursionError):
        return seed
    if random.random() < 0.01:
        depth = random.choice((500, 5000, 60000))
        return b"[" * depth + b"]" * depth
    return json.dumps(value, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def json_lines(random: Random, seed: bytes) -> bytes:
    """JSON lines, of which one or two have changed values, or are another line."""
    lines = seed.splitlines(keepends=True) or [b"{}\n"]
    for _ in range(random.choice((1, 1, 2))):
        at = random.choice((0, random.randrange(len(lines))))
        if random.random() < 0.9:
            lines[at] = json_text(random, lines[at]) + b"\n"
        else:
            lines[at] = random.choice(lines)
    return b"".join(lines)


def toml_text(random: Random, seed: bytes) -> bytes:
    """A plan with changed values."""
    try:
        value = changed(random, tomllib.loads(seed.decode()))
    except (ValueError, RecursionError):
        return seed
    if not isinstance(value, dict):
        return seed
    return "\n".join(f"{_toml_key(key)} = {_toml(item)}" for key, item in value.items()).encode("utf-8", "replace")


def _toml_key(key: Any) -> str:
    return json.dumps(str(key)).encode("utf-8", "replace").decode()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(value if isinstance(value, str) else "null", ensure_ascii=False)


# ---- the external term format ---------------------------------------------------------------------------------------


class Name(str):
    """An atom."""


def etf(value: Any) -> bytes:
    """Any value of :func:`changed` as an Erlang term, in the external format."""
    return b"\x83" + _etf(value)


def _etf(value: Any) -> bytes:
    if value is None or isinstance(value, bool | Name):
        raw = ("nil" if value is None else str(value).lower() if isinstance(value, bool) else value)[:200].encode()
        return b"w" + bytes([len(raw)]) + raw
    if isinstance(value, str | bytes):
        raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        return b"m" + struct.pack(">I", len(raw)) + raw
    if isinstance(value, int):
        if -(1 << 31) <= value < 1 << 31:
            return b"b" + struct.pack(">i", value)
        raw = abs(value).to_bytes((value.bit_length() + 7) // 8, "little")
        return (
            (b"n" + bytes([len(raw)]) if len(raw) < 256 else b"o" + struct.pack(">I", len(raw)))
            + bytes([value < 0])
            + raw
        )
    if isinstance(value, float):
        return b"F" + struct.pack(">d", value)
    if isinstance(value, tuple):
        return b"i" + struct.pack(">I", len(value)) + b"".join(map(_etf, value))
    if isinstance(value, list):
        return (b"l" + struct.pack(">I", len(value)) + b"".join(map(_etf, value)) + b"j") if value else b"j"
    pairs = b"".join(_etf(key) + _etf(item) for key, item in value.items())
    return b"t" + struct.pack(">I", len(value)) + pairs


def terms(*answers: Any) -> Callable[[Random, bytes], bytes]:
    """A shape that changes one of these answers, whatever the seed is."""

    def shape(random: Random, _seed: bytes) -> bytes:
        return etf(changed(random, random.choice(answers)))

    return shape
