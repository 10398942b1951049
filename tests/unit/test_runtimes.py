"""How the bare runtimes are called, and which of the processes below one are the program's."""

from __future__ import annotations

from pathlib import Path

import pytest

from unibeam_nb.machine.runtimes import OVERLAY, RUNTIMES
from unibeam_nb.machine.ways import COVER, Way


@pytest.fixture(autouse=True)
def _programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RUNTIMES:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def last(name: str, way: Way) -> tuple[str, ...]:
    """The words from the runtime's own name on."""
    words = RUNTIMES[name].words(way, ("run", "unibeam-1"))
    at = next(index for index, word in enumerate(words) if word.endswith(f"/{name}"))
    return words[at + 1:]


@pytest.mark.parametrize("name", RUNTIMES)
def test_state_lies_in_the_machines_directory(name: str) -> None:
    assert last(name, Way())[:2] == ("--root", "runtime")
    assert last(name, Way())[-2:] == ("run", "unibeam-1")


def test_each_runtime_has_its_own_way_to_do_without_cgroups() -> None:
    bare = Way(cgroups=False)
    assert last("crun", bare) == ("--root", "runtime", "--cgroup-manager=disabled", "run", "unibeam-1")
    assert last("runc", bare) == ("--root", "runtime", "run", "unibeam-1")
    assert last("runsc", bare) == ("--root", "runtime", "--network=host", "--overlay2=none", "--ignore-cgroups",
                                   "run", "unibeam-1")


def test_mounts_are_made_in_a_namespace_that_ends_with_the_machine() -> None:
    words = RUNTIMES["runc"].words(Way(cover=True), ("run", "x"))
    assert words[0] == "unshare"
    assert f'{COVER} && {OVERLAY} && exec "$@"' in words
    assert not any(OVERLAY in word for word in RUNTIMES["runc"].words(Way(copy=True), ("run", "x")))
