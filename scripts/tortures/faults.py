"""Interruptions of everything that can be interrupted."""

from __future__ import annotations

from tortures import Options


def run(options: Options) -> bool:
    """Nothing yet."""
    raise NotImplementedError
