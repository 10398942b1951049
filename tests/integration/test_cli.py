"""The shell's face over the real thing: one process builds and boots, others list, read and stop."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from unibeam_nb.machine import clean, machines
from unibeam_nb.store import Store

SERVER = """\
-module(server).
-export([start/0, init/0]).
start() -> proc_lib:start_link(?MODULE, init, []).
init() ->
    {ok, Listen} = gen_tcp:listen(list_to_integer(os:getenv("PORT")), [binary, {active, false}, {reuseaddr, true}]),
    proc_lib:init_ack({ok, self()}),
    io:format("serving~n"),
    accept(Listen).
accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    {ok, _} = gen_tcp:recv(Socket, 0),
    ok = gen_tcp:send(Socket, "HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 2\\r\\n\\r\\nok"),
    gen_tcp:close(Socket),
    accept(Listen).
"""

NEVER_READY = "-module(slow).\n-export([start/0]).\nstart() -> io:format(\"starting~n\"), timer:sleep(infinity).\n"

@pytest.fixture
def home(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A UNIBEAM_HOME of this test's own over the cache that all tests share, left with nothing running."""
    path = tmp_path / "home"
    path.mkdir()
    store.cache.mkdir(parents=True, exist_ok=True)
    (path / "cache").symlink_to(store.cache)
    monkeypatch.setenv("UNIBEAM_HOME", str(path))
    own = Store(path / "cache", path / "state")
    yield own
    clean(own)


def unibeam(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "unibeam_nb", *words], input=stdin, capture_output=True, text=True,
                          timeout=300, check=False)


@pytest.mark.usefixtures("home")
def test_a_machine_booted_by_one_process_is_listed_read_and_stopped_by_others() -> None:
    built = unibeam("build", "server", "-", "--port", "8080", "--target", "release", stdin=SERVER)
    assert built.returncode == 0, built.stderr
    assert built.stdout.startswith("Built server\n")

    inside = unibeam("explore", "server", "--against", "oci+scratch", "--depth", "1").stdout
    assert re.search(r"\nlibraries +[\d.]+ MB +- +-[\d.]+ MB +gone$", inside, re.MULTILINE)
    found = unibeam("explore", "server", "--search", "server").stdout
    assert re.search(r"\napplications/server 1 +[\d.]+ kB", found)
    assert re.search(r"\napplications/stdlib/gen_server +[\d.]+ kB", found)
    booted = unibeam("boot", "server", "--on", "process", "--http", "/", "--as", "web")
    assert booted.returncode == 0, booted.stderr
    url = re.search(r"http://127\.0\.0\.1:\d+/", booted.stdout)
    assert url is not None, booted.stdout
    assert urllib.request.urlopen(url[0], timeout=10).read() == b"ok"

    listed = unibeam("ps").stdout
    assert re.search(r"^web +[0-9a-f]{8} +release@process +native +running", listed, re.MULTILINE), listed
    assert "serving" in unibeam("logs", "web").stdout.splitlines()

    stopped = unibeam("stop", "web")
    assert stopped.returncode == 0, stopped.stderr
    assert stopped.stdout.startswith("Stopped web (")
    assert unibeam("ps").stdout == "Nothing is running.\n"


@pytest.mark.usefixtures("home")
def test_a_compile_error_names_the_line_of_the_file_piped_in() -> None:
    source = "-module(broken).\n-export([start/0]).\nstart() ->\n    nowhere(1).\n"
    failed = unibeam("build", "broken", "-", stdin=source)
    assert failed.returncode == 1
    assert failed.stdout == ""
    # Before it stands what was done, where that took longer than a second.
    assert "unibeam: broken.erl does not compile." in failed.stderr.splitlines()
    assert re.search(r"broken\.erl:4:", failed.stderr), failed.stderr
    assert "Traceback" not in failed.stderr


def test_ctrl_c_during_a_boot_leaves_nothing_running(home: Store) -> None:
    built = unibeam("build", "slow", "-", "--target", "release", stdin=NEVER_READY)
    assert built.returncode == 0, built.stderr
    child = subprocess.Popen([sys.executable, "-m", "unibeam_nb", "boot", "slow", "--on", "process"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    pid = wait_for_pid(home)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert out == ""
    assert "unibeam: Stopped.\n" in err
    assert "Traceback" not in err
    assert not is_running(pid)
    assert machines(home) == []


def wait_for_pid(home: Store) -> int:
    """The process of the one machine that is booting, once it runs."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pid = next((m.pid for m in machines(home) if m.pid), None)
        if pid is not None:
            time.sleep(1.0)
            return pid
        time.sleep(0.05)
    raise TimeoutError("No machine appeared.")


def is_running(pid: int) -> bool:
    """Whether the process still does anything; where nobody reaps orphans, a dead one stays as a zombie."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.usefixtures("home")
def test_the_doctor_examines_this_host() -> None:
    told = unibeam("doctor")
    assert told.returncode == 0, told.stderr
    assert re.search(r"^QEMU +✓ works +qemu-system-x86_64 \d", told.stdout, re.MULTILINE), told.stdout
    assert re.search(r"^Elixir cells +✓ works +elixirc 1\.", told.stdout, re.MULTILINE), told.stdout
