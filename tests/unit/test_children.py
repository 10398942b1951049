"""Children of this process are collected: a notebook that boots all day keeps no zombies."""

from __future__ import annotations

import time

import psutil

from unibeam_nb import process
from unibeam_nb.machine import children, proc


def zombies() -> set[int]:
    return {child.pid for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE}


def test_a_child_that_is_ended_leaves_no_zombie() -> None:
    ours = set()
    for _ in range(20):
        child = process.spawn(["sleep", "600"])
        children.adopt(child)
        ours.add(child.pid)
        found = proc.identify(child.pid)
        assert found
        assert proc.end([found], reap=lambda pid=child.pid: children.reap(pid))
    assert not zombies() & ours


def test_a_child_that_ended_by_itself_is_collected_when_the_next_one_comes() -> None:
    first = process.spawn(["true"])
    children.adopt(first)
    while proc.identify(first.pid):
        time.sleep(0.01)
    second = process.spawn(["sleep", "600"])
    children.adopt(second)
    try:
        assert first.pid not in zombies()
        assert children.reap(first.pid) == 0
    finally:
        process.stop_group(second)
        children.reap(second.pid)
