"""Starting programs: output, failure, timeout, cancelling, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from unibeam_nb import process, tools
from unibeam_nb.errors import Cancelled, ProgramFailed, ProgramTimeout, ToolMissing
from unibeam_nb.progress import listening


def sh(script: str) -> tuple[str, str, str]:
    return ("sh", "-c", script)


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def test_what_a_program_prints_comes_back() -> None:
    done = process.run(sh("cat; echo warning >&2"), input="grüße\n".encode())
    assert (done.code, done.stdout, done.stderr) == (0, "grüße\n", "warning\n")


def test_work_of_minutes_gives_way_to_what_others_do() -> None:
    child = process.spawn(sh("sleep 60 & wait"))
    try:
        process.give_way(child)
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == process.GENTLY
        shares = Path(f"/proc/{child.pid}/autogroup")
        assert not shares.exists() or shares.read_text().endswith(f" nice {process.GENTLY}\n")
    finally:
        process.stop_group(child)
    process.give_way(child)


def test_a_failure_can_be_pasted_into_a_shell() -> None:
    with pytest.raises(ProgramFailed) as caught:
        process.run(sh("echo 'no such thing' >&2; exit 3"))
    assert str(caught.value) == ("sh failed with exit status 3.\n  | no such thing\n"
                                 "  Hint: The command was: sh -c 'echo '\"'\"'no such thing'\"'\"' >&2; exit 3'")
    assert caught.value.code == 3


def test_a_failure_may_be_asked_for() -> None:
    assert process.run(sh("exit 3"), check=False).code == 3


def test_a_program_that_does_not_exist_is_named() -> None:
    with pytest.raises(ToolMissing) as caught:
        process.run(["no-such-program-here"])
    assert str(caught.value) == ("no-such-program-here is not on this host.\n"
                                 "  Hint: Run 'unibeam doctor' to see what is missing.")


def test_a_program_that_makes_nothing_and_reports_no_failure_is_not_believed(tmp_path: Path) -> None:
    made = tmp_path / "made"
    for script in ("true", f": > {made}"):
        with pytest.raises(ProgramFailed) as caught:
            process.run(sh(script), makes=(made,))
        assert caught.value.message == "sh made no made, and reported no failure."
    process.run(sh(f"echo x > {made}"), makes=(made,))


def test_a_program_without_its_interpreter_is_one_sentence(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(ToolMissing) as caught:
        process.run([script])
    assert str(caught.value) == (f"{script} cannot be started: it, or what interprets it, is not there.\n"
                                 "  Hint: Run 'unibeam doctor' to see what is missing.")


def test_a_program_that_vanishes_while_it_is_looked_at_is_one_that_is_missing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="no-such-tool is not on this host"), tools.needing("no-such-tool"):
        (tmp_path / "no-such-tool").stat()
    monkeypatch.setenv("PATH", "/bin")
    with pytest.raises(FileNotFoundError), tools.needing("ls"):
        (tmp_path / "something else").stat()


def test_the_users_environment_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERL_FLAGS", "+S 99")
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example")
    printed = process.run(["env"], env={"EXTRA": "1"}).stdout.splitlines()
    assert "EXTRA=1" in printed
    assert "HTTPS_PROXY=proxy.example" in printed
    assert not any(line.startswith("ERL_FLAGS") for line in printed)


def test_a_clean_environment_is_exactly_what_was_given() -> None:
    child = process.spawn(["/usr/bin/env"], stdout=subprocess.PIPE, env={"ONLY": "this"}, clean_env=True)
    out, _ = child.communicate()
    assert out == b"ONLY=this\n"


def test_a_timeout_stops_the_program_and_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(ProgramTimeout, match=r"sh did not finish within 1 s\."):
        process.run(sh(f"sleep 600 & echo $! > {pid_file}; wait"), timeout=1)
    assert gone(int(pid_file.read_text()))


def test_cancelling_stops_a_running_program(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    stop = threading.Event()
    threading.Timer(0.4, stop.set).start()
    with listening(cancelled=stop), pytest.raises(Cancelled):
        process.run(sh(f"echo $$ > {pid_file}; exec sleep 600"))
    assert gone(int(pid_file.read_text()))


def test_ctrl_c_stops_the_program_and_reaches_the_caller(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = ("from unibeam_nb import process\n"
              f"process.run(['sh', '-c', 'echo $$ > {pid_file}; exec sleep 600'])\n")
    ours = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, start_new_session=True)
    while not (pid_file.exists() and pid_file.read_text().strip()):
        time.sleep(0.02)
    os.killpg(ours.pid, signal.SIGINT)
    _, err = ours.communicate(timeout=10)
    assert b"KeyboardInterrupt" in err
    assert gone(int(pid_file.read_text()))


def test_a_program_that_ignores_being_asked_is_killed() -> None:
    child = process.spawn(sh("trap '' TERM; while :; do sleep 0.1; done"))
    time.sleep(0.3)
    process.stop_group(child, grace=0.3)
    assert child.returncode == -signal.SIGKILL
