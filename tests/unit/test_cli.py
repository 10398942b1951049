"""The shell's face: exit statuses, what goes to which stream, standard input."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from unibeam_nb import __version__
from unibeam_nb.cli import main
from unibeam_nb.errors import BootFailed, Cancelled
from unibeam_nb.lab import Lab


def test_help_goes_to_standard_output_and_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h"]) == 0
    assert main([]) == 0
    assert main(["boot", "-h"]) == 0
    out, err = capsys.readouterr()
    assert "Usage: unibeam boot NAME [options]" in out
    assert err == ""


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"unibeam {__version__}\n"


def test_a_mistake_is_a_sentence_and_a_hint_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["biuld"]) == 2
    assert capsys.readouterr() == ("", "unibeam: 'biuld' is not a command.\n  Hint: Did you mean build?\n")


def test_failed_work_has_status_one_and_its_details(capsys: pytest.CaptureFixture[str],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Lab, name: str, **_named: Any) -> None:
        raise BootFailed("hello did not start.", "Give it more memory.", ["Out of memory"])

    monkeypatch.setattr(Lab, "boot", fail)
    assert main(["boot", "hello"]) == 1
    assert capsys.readouterr().err == ("unibeam: hello did not start.\n  | Out of memory\n"
                                       "  Hint: Give it more memory.\n")


def test_stopped_work_has_the_shells_status_for_it(capsys: pytest.CaptureFixture[str],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Lab) -> None:
        raise Cancelled

    monkeypatch.setattr(Lab, "ps", stop)
    assert main(["ps"]) == 130
    assert capsys.readouterr().err == "unibeam: Stopped.\n"


def test_results_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ps"]) == 0
    assert capsys.readouterr() == ("Nothing is running.\n", "")


def test_a_dash_reads_the_modules_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    class Enough(Exception):
        """Ends the work once the arguments are known."""

    def build(self: Lab, name: str, **named: Any) -> None:
        given.update(named)
        raise Enough

    monkeypatch.setattr(Lab, "build", build)
    monkeypatch.setattr(sys, "stdin", io.StringIO("-module(hello).\n"))
    with pytest.raises(Enough):
        main(["build", "hello", "--from", "-"])
    assert given["text"] == "-module(hello).\n"
    assert given["path"] is None


def test_standard_input_that_is_not_text_is_refused(capsys: pytest.CaptureFixture[str],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\x00"), encoding="utf-8"))
    assert main(["build", "hello", "-"]) == 2
    assert capsys.readouterr().err == ("unibeam: Standard input is not text.\n"
                                       "  Hint: Pipe a source file in, encoded as UTF-8.\n")


def program(*words: str, **named: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "unibeam_nb", *words], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **named)


def test_the_package_runs_as_a_program_and_hands_on_its_status() -> None:
    child = program("boot", "nobody")
    out, err = child.communicate(timeout=60)
    assert child.returncode == 2
    assert out == ""
    # Before it stands what was done, where that took longer than a second.
    assert "\nunibeam: Nothing has been built under the name 'nobody'.\n  Hint: " in f"\n{err}"


def test_a_reader_that_goes_away_causes_no_traceback() -> None:
    child = program("--help")
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    error = child.stderr.read()
    child.stderr.close()
    assert child.wait(timeout=60) in (0, 1)
    assert error == ""


def test_ctrl_c_is_one_line_and_status_130(tmp_path: Path) -> None:
    fifo = tmp_path / "plan.toml"
    os.mkfifo(fifo)
    # Reading a plan from a pipe that nobody writes waits in a system call, as much of the real work does.
    child = program("bench", str(fifo))
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=2)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert err.splitlines()[-1] == "unibeam: Stopped."
    assert "Traceback" not in err


def test_a_terminal_without_ticks_gets_its_answer_all_the_same() -> None:
    child = program("doctor", env={"PATH": "", "PYTHONIOENCODING": "ascii", "UNIBEAM_HOME": os.environ["UNIBEAM_HOME"]})
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert "? missing" in out


ENDLESS = """
import sys
from unibeam_nb import cli, process
cli.execute = lambda lab, request: process.run(["sleep", sys.argv[1]])
sys.exit(cli.main(["ps"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_polite_end_leaves_no_program_behind(number: signal.Signals) -> None:
    length = f"31{os.getpid()}{number:d}.25"  # Nobody else sleeps for exactly as long.
    work = subprocess.Popen([sys.executable, "-c", ENDLESS, length], stderr=subprocess.PIPE, text=True)
    ends = time.monotonic() + 60
    while not sleepers(length) and time.monotonic() < ends:
        time.sleep(0.02)
    assert sleepers(length)
    work.send_signal(number)
    assert "unibeam: Stopped." in work.communicate(timeout=60)[1]
    assert work.returncode == 130
    assert not sleepers(length)


def sleepers(length: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if process.read_bytes().endswith(f"sleep\0{length}\0".encode()):
                found.append(process.parent.name)
    return found
