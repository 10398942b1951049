"""The panel of all machines: one that comes up, one that never does, one that was stopped here."""

from __future__ import annotations

from typing import Any

from tests.unit.test_display import FakeMachine
from unibeam_nb.notebook.widgets.panel import MachinesPanel


def shown(panel: MachinesPanel) -> list[tuple[str, str]]:
    panel.heard({"do": "refresh"})
    return [(machine["name"], machine["state"]) for machine in panel.state["machines"]]


def test_a_machine_that_was_coming_up_is_seen_anew_or_gone() -> None:
    listed: list[Any] = [FakeMachine("one", booting=True), FakeMachine("two", booting=True), FakeMachine("three")]
    panel = MachinesPanel(listed, lambda: listed)
    assert shown(panel) == [("one", "booting"), ("two", "booting"), ("three", "running, process 42")]
    # A record is what it was when it was read: the next look has another object. The second boot has failed meanwhile.
    listed = [FakeMachine("three"), FakeMachine("one", pid=7), FakeMachine("four", booting=True)]
    assert shown(panel) == [("one", "running, process 7"), ("three", "running, process 42"), ("four", "booting")]


def test_what_was_stopped_stays_in_view_and_can_be_resumed() -> None:
    one = FakeMachine("one")
    listed: list[Any] = [one]
    panel = MachinesPanel(listed, lambda: listed)
    one.alive, one.exit_code, listed = False, 0, []
    assert shown(panel) == [("one", "ended with exit status 0")]
    assert [action["do"] for action in panel.state["machines"][0]["actions"]] == ["resume"]


def test_nothing_is_said_where_nothing_runs() -> None:
    panel = MachinesPanel([], lambda: [])
    assert shown(panel) == []
    assert panel.state["title"] == "Nothing is running."
