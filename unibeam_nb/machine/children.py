"""The machines that this very process started: their exit status is ours to collect, or they stay zombies."""

from __future__ import annotations

import subprocess

_children: dict[int, subprocess.Popen[bytes]] = {}
_codes: dict[int, int] = {}


def adopt(child: subprocess.Popen[bytes]) -> None:
    """Remember a child until it ends. Whoever drops a running Popen leaves a zombie and a warning.

    Those that ended meanwhile, stopped by another process perhaps, are collected on this occasion.
    """
    for pid in list(_children):
        reap(pid)
    _codes.pop(child.pid, None)
    _children[child.pid] = child


def reap(pid: int) -> int | None:
    """The exit status of a child with this pid if it was ours and ended (negative: a signal), else None."""
    child = _children.get(pid)
    if child is not None and (code := child.poll()) is not None:
        _codes[pid] = code
        del _children[pid]
    return _codes.get(pid)
