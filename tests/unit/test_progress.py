"""The stream of steps, and stopping."""

from __future__ import annotations

import threading

import pytest

from unibeam_nb.errors import Cancelled
from unibeam_nb.progress import StepEvent, checkpoint, listening, note, progress, step


def test_steps_nest_and_end_in_order() -> None:
    heard: list[StepEvent] = []
    with listening(heard.append), step("outer"):
        with step("inner"):
            progress(0.5, "half")
        note("by the way")
    assert [(e.kind, e.title, e.depth) for e in heard] == [
        ("begin", "outer", 0), ("begin", "inner", 1), ("progress", "inner", 1), ("end", "inner", 1),
        ("note", "by the way", 1), ("end", "outer", 0)]
    assert heard[2].fraction == 0.5
    assert heard[2].detail == "half"


def test_a_step_that_raises_is_reported_as_failed() -> None:
    heard: list[StepEvent] = []
    with pytest.raises(ValueError, match="broken"), listening(heard.append), step("outer"):
        raise ValueError("broken")
    assert [e.kind for e in heard] == ["begin", "failed"]


def test_a_cancelled_work_stops_at_its_next_checkpoint() -> None:
    stop = threading.Event()
    with listening(cancelled=stop):
        checkpoint()
        stop.set()
        with pytest.raises(Cancelled) as caught:
            checkpoint()
    assert str(caught.value) == "Stopped."


def test_nobody_has_to_listen() -> None:
    with step("alone"):
        progress(None, "still works")
    note("unheard")
