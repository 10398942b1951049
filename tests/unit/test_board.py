"""The form of a dashboard and the cell it stands for; following a journal that grows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from unibeam_nb.bench.follow import Follow
from unibeam_nb.bench.planfile import plan_from_toml
from unibeam_nb.errors import BenchError
from unibeam_nb.notebook.board import Form, changed, progress_state

JOURNAL = Path(__file__).resolve().parents[2] / "notebooks" / "data" / "hello.jsonl"


def test_the_form_writes_a_cell_that_is_a_plan() -> None:
    form = Form("hello", ("linux@qemu", "release@process"), 7, 128, "https:8443/x")
    assert form.cell.startswith("%%unibeam bench\n")
    plan = plan_from_toml(form.toml())
    assert (plan.source, [str(arm) for arm in plan.arms], plan.blocks, plan.mem_mb) == (
        "hello", ["linux@qemu", "release@process"], 7, 128)
    assert plan.probe is not None
    assert plan.probe.port == 8443


def test_a_name_with_quotes_cannot_leave_its_line() -> None:
    form = Form('a"\nblocks = 99')
    assert "blocks = 99" not in form.toml().splitlines()


@pytest.mark.parametrize("given", [
    {"blocks": None}, {"blocks": "7"}, {"blocks": True}, {"blocks": 2.5}, {"arms": "linux@qemu"}, {"name": 3}, {}])
def test_what_a_page_sends_half_typed_changes_nothing(given: dict[str, object]) -> None:
    assert changed(Form("hello"), given) == Form("hello")


def test_only_arms_that_are_offered_can_be_chosen() -> None:
    assert changed(Form("hello"), {"arms": ["release@process", "evil@host"]}).arms == ("release@process",)


def test_a_journal_is_read_as_it_grows(tmp_path: Path) -> None:
    whole = JOURNAL.read_bytes()
    lines = whole.splitlines(keepends=True)
    path = tmp_path / "hello.jsonl"
    seen = Follow(path)
    assert not seen.read()
    path.write_bytes(lines[0] + lines[1][:20])
    assert seen.read()
    assert seen.samples == []
    state = progress_state(seen)
    assert state["cases"]
    assert state["words"] == "No boots yet."
    path.write_bytes(b"".join(lines[:9]) + lines[9][:5])
    assert seen.read()
    assert len(seen.samples) + len(seen.notes) == 8
    path.write_bytes(whole)
    assert seen.read()
    assert not seen.read()
    again = Follow(JOURNAL)
    again.read()
    assert [s.order for s in seen.samples] == [s.order for s in again.samples]
    assert seen.complete
    state = progress_state(seen)
    assert state["fraction"] == 1.0
    assert "median" in state["words"]
    assert {row for row, _, _ in state["samples"]} == set(range(len(state["cases"])))


def test_half_way_it_says_how_long_it_will_take(tmp_path: Path) -> None:
    path = tmp_path / "half.jsonl"
    lines = JOURNAL.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:len(lines) // 2]))
    seen = Follow(path)
    seen.read()
    assert "left" in progress_state(seen)["where"]
    assert 0 < progress_state(seen)["fraction"] < 1


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.jsonl"
    shutil.copyfile(__file__, path)
    with pytest.raises(BenchError):
        Follow(path).read()
