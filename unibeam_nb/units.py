"""Sizes and durations for people."""

from __future__ import annotations


def format_bytes(count: float) -> str:
    """A size for people, in decimal units as registries and clouds use them: ``12.3 MB``."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def format_seconds(seconds: float) -> str:
    """A duration for people: ``184 ms``, ``3.42 s``, ``2 min 05 s``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
