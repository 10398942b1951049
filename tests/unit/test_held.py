"""What a process that was killed leaves behind: told from what is in use, ended and removed by the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from unibeam_nb import process
from unibeam_nb.held import held_directory, hold, sweep
from unibeam_nb.store import Store, write_atomically


@pytest.fixture(autouse=True)
def _own_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


def killed(script: str, tmp_path: Path, ready: Path) -> None:
    """Run ``script`` as a process of its own, and kill it when ``ready`` has something in it."""
    child = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {
        "UNIBEAM_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")})
    ends = time.monotonic() + 60
    while not (ready.exists() and ready.read_text().strip()) and time.monotonic() < ends:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()


def test_what_is_held_stays_and_what_nobody_holds_goes(tmp_path: Path) -> None:
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "half").write_text("x")
    with held_directory(tmp_path, "mine") as mine:
        assert sweep(tmp_path, "mine*") == []
        assert sweep(tmp_path, "left") == [tmp_path / "left"]
        assert mine.is_dir()
    assert not mine.exists()


def test_what_was_swept_cannot_be_held_any_more(tmp_path: Path) -> None:
    assert hold(tmp_path / "gone") is None
    handle = hold(tmp_path)
    assert handle is not None
    assert hold(tmp_path) is None
    os.close(handle)


def test_a_compiler_whose_parent_was_killed_ends_with_everything_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    killed("from unibeam_nb import process\n"
           "process.run(['sh', '-c', 'setsid sleep 600 & mktemp; sleep 600 & echo $$ $! > "
           f"{pids}; wait'])", tmp_path, pids)
    (place,) = (tmp_path / "tmp").iterdir()
    assert place.name.startswith("unibeam-run-")
    orphans = [p for p in psutil.process_iter() if _environment(p).get("UNIBEAM_HELD") == str(place)]
    assert len(orphans) == 3
    assert process.sweep_places() == [place]
    _, alive = psutil.wait_procs(orphans, timeout=5)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    assert list((tmp_path / "tmp").iterdir()) == []


def _environment(one: psutil.Process) -> dict[str, str]:
    try:
        return one.environ()
    except psutil.Error:
        return {}


def test_a_program_that_ran_to_its_end_leaves_no_temporary_file(tmp_path: Path) -> None:
    assert process.run(["sh", "-c", "mktemp"]).stdout.startswith(str(tmp_path / "tmp" / "unibeam-run-"))
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_next_start_removes_what_a_killed_build_left_in_the_cache(tmp_path: Path) -> None:
    said = tmp_path / "said"
    killed("import time\nfrom pathlib import Path\nfrom unibeam_nb.store import Store\n"
           "def make(place):\n"
           "    (place / 'half').write_text('x')\n"
           f"    Path({str(said)!r}).write_text('x')\n"
           "    time.sleep(600)\n"
           "Store.default().build('image', 'abc', make)", tmp_path, said)
    store = Store(tmp_path / "home" / "cache", tmp_path / "home" / "state")
    (left,) = (store.cache / "tmp").iterdir()
    assert (left / "entry" / "half").exists()
    with store.scratch() as scratch:
        assert list((store.cache / "tmp").iterdir()) == [scratch]
    assert not store.entry("image", "abc").exists()


def test_a_small_file_that_was_never_finished_goes_when_it_is_written_again(tmp_path: Path) -> None:
    (tmp_path / ".name.json.abc.part").write_text("half")
    write_atomically(tmp_path / "name.json", "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["name.json", "tmp"]
