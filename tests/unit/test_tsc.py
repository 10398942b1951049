"""The rate of the host's time stamp counter: measured once per boot, and only where it means something."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from unibeam_nb.machine import tsc
from unibeam_nb.store import Store

needs_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the counter is x86-64's")


@needs_x86
def test_two_measurements_agree_to_a_thousandth() -> None:
    first, second = tsc.measure(0.05), tsc.measure(0.05)
    assert first is not None
    assert second is not None
    assert first == pytest.approx(second, rel=1e-3)
    assert 200_000 < first < 20_000_000


@needs_x86
@pytest.mark.parametrize(("flags", "constant"), [
    ("fpu tsc msr constant_tsc nopl", True), ("fpu tsc msr nopl", False), ("fpu constant_tsc", True)])
def test_only_a_constant_counter_counts(tmp_path: Path, flags: str, constant: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n")
    assert tsc.is_constant(tmp_path / "cpuinfo") is constant


def test_it_is_measured_once_per_boot_of_the_host(fresh_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = [2_000_000, 3_000_000]
    monkeypatch.setattr(tsc, "is_constant", lambda: True)
    monkeypatch.setattr(tsc, "measure", lambda: rates.pop(0))
    assert (tsc.tsc_khz(fresh_store), tsc.tsc_khz(fresh_store)) == (2_000_000, 2_000_000)
    monkeypatch.setattr(tsc, "boot_id", lambda: "another boot")
    assert tsc.tsc_khz(fresh_store) == 3_000_000


def test_a_counter_that_cannot_be_used_is_remembered_as_such(
        fresh_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsc, "is_constant", lambda: False)
    assert tsc.tsc_khz(fresh_store) is None
    monkeypatch.setattr(tsc, "is_constant", lambda: pytest.fail("asked again"))
    assert tsc.tsc_khz(fresh_store) is None
