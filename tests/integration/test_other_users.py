"""What another user of the host can see of machines that run, tried by a process with another user's id; and that what
opens a machine stands in one file and nowhere else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from unibeam_nb import process, tools
from unibeam_nb.lab import Lab
from unibeam_nb.machine import Machine, dockerd, door
from unibeam_nb.machine.podman import run_directory
from unibeam_nb.store import Store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

NOBODY = 65534
MODULE = """\
-module(kept).
-export([start/0]).
start() -> io:format("@unibeam 0000000000000000 app 1 memory=1~n"), {ok, spawn(fun() -> timer:sleep(infinity) end)}.
"""

ARMS = ("release@process", "oci+scratch@crun", "oci+scratch@podman", "linux+tiny@qemu", "linux+tiny+resume@qemu",
        "linux@uml")

TOKEN = "the-users-own-password"
"""What every machine is given by `--env`."""

SPY = r"""
import json, os, socket, sys
wanted = json.load(sys.stdin)
found = {"uid": os.geteuid(), "read": [], "entered": [], "connected": [], "told": [], "environments": [], "answers": []}
for path in wanted["files"]:
    try:
        found["read"] += [path] if open(path, "rb").read(1) is not None else []
    except OSError:
        pass
for path in wanted["directories"]:
    try:
        found["entered"] += [path] if os.listdir(path) is not None else []
    except OSError:
        pass
for path in wanted["sockets"]:
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as one:
            try:
                one.connect(path)
                found["connected"].append(path)
            except OSError:
                pass
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name, key in (("cmdline", "told"), ("environ", "environments")):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as stream:
                data = stream.read()
        except OSError:
            continue
        found[key] += [pid for secret in wanted["secrets"] if secret.encode() in data]
for port in wanted["ports"]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        one.sendall((64).to_bytes(4, "big") + b"0" * 64)
        found["answers"].append(one.recv(100).decode("latin-1"))
json.dump(found, sys.stdout)
"""


def spied(**wanted: Any) -> dict[str, Any]:
    """What a process of another user finds."""
    python = Path(sys.executable).resolve()
    done = process.run([tools.find("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", python,
                        "-I", "-S", "-c", SPY], input=json.dumps(wanted).encode(), cwd=Path("/"), timeout=120)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["uid"] == NOBODY
    return found


@pytest.fixture(scope="module")
def open_place() -> Iterator[Path]:
    """A directory that everybody may enter, as a home directory often is; pytest's own would hide what is tested."""
    place = Path(tempfile.mkdtemp(prefix="unibeam-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def running(store: Store, open_place: Path) -> Iterator[dict[str, Machine]]:
    """A machine on every runner, started by somebody whose umask keeps nothing from anybody."""
    umask = os.umask(0)
    lab = Lab(Store(store.cache, open_place / "state"))
    machines = {}
    try:
        for arm in ARMS:
            target = arm.partition("@")[0].split("+")[0]
            lab.build("kept", text=MODULE, target=target, flavour="scratch" if target == "oci" else "")
            machines[arm] = lab.boot("kept", arm=arm, channel=True, deadline=240, env=(f"TOKEN={TOKEN}",),
                                     machine_name=arm.replace("@", "-"))
        yield machines
    finally:
        os.umask(umask)
        lab.clean()


def secrets(machines: dict[str, Machine]) -> list[str]:
    found = [door.secret_of(machine.directory) for machine in machines.values()]
    assert all(secret is not None and len(secret) == 64 for secret in found)
    assert len(set(found)) == len(ARMS)
    return [secret for secret in found if secret]


def test_another_user_gets_at_nothing_that_belongs_to_a_machine(running: dict[str, Machine], store: Store) -> None:
    state = next(iter(running.values())).directory.parent.parent
    everything = [path for root in (state, store.cache / "snapshots", run_directory(store.cache / "podman"))
                  for path in (root, *root.rglob("*"))]
    sockets = [path for path in everything if path.is_socket()]
    assert {path.name for path in sockets} >= {"qmp.sock", "console.sock"}
    if tools.locate("dockerd"):
        dockerd.engine(store)
        engine = Path(dockerd.places(store).address.removeprefix("unix://"))
        if engine.is_socket():  # Else the host's own daemon is used, which is not ours to keep.
            sockets.append(engine)
    assert any(path.name == "ram" for path in everything)
    found = spied(files=[str(p) for p in everything if p.is_file() or p.is_fifo()],
                  directories=[str(p) for p in everything if p.is_dir() and not p.is_symlink()],
                  sockets=[str(path) for path in sockets],
                  secrets=[*secrets(running), TOKEN], ports=[machine.channel for machine in running.values()])
    assert (found["read"], found["entered"], found["connected"], found["told"], found["environments"]) == ([],) * 5
    # The port is there for everybody, and answers all with the same: {error, <<"refused">>}.
    assert len(found["answers"]) == len(ARMS)
    assert all("refused" in answer and "error" in answer for answer in found["answers"])


def test_what_opens_a_machine_stands_in_one_file(running: dict[str, Machine], store: Store, tmp_path: Path,
                                                 capfd: pytest.CaptureFixture[str]) -> None:
    from unibeam_nb.notebook.display import machine_sheet
    from unibeam_nb.notebook.sheet import as_html, as_text

    wanted = [secret.encode() for secret in secrets(running)]
    for machine, secret in zip(running.values(), wanted, strict=True):
        holding = [path.name for path in machine.directory.rglob("*") if path.is_file() and not path.is_symlink()
                   and "upper" not in path.parts and secret in path.read_bytes()]
        # A runtime or an engine takes a program's environment from a file of the same directory.
        assert set(holding) - {"config.json", "variables"} == {door.SECRET_FILE}, machine.arm
        assert stat.S_IMODE((machine.directory / door.SECRET_FILE).stat().st_mode) == 0o600
        shown = repr(machine) + repr(machine.record) + as_html(machine_sheet(machine)) + as_text(machine_sheet(machine))
        assert secret not in shown.encode()
        assert secret not in machine.console.raw()
    for root in (store.cache / "snapshots", next(iter(running.values())).directory.parent.parent / "names"):
        for path in root.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert not any(secret in data for secret in wanted), path
    lines = [word.encode() for one in psutil.process_iter() for word in command_line(one)]
    assert not any(secret in line for secret in wanted for line in lines)


def test_a_variable_of_the_user_reaches_the_program_and_nobody_else(running: dict[str, Machine], store: Store) -> None:
    from unibeam_nb.notebook.display import machine_sheet
    from unibeam_nb.notebook.sheet import as_html, as_text
    from unibeam_nb.talk.evaluating import evaluate

    for arm, machine in running.items():
        assert evaluate(store, machine, 'os:getenv("TOKEN").').value == TOKEN, arm
        shown = repr(machine) + repr(machine.record) + as_html(machine_sheet(machine)) + as_text(machine_sheet(machine))
        assert TOKEN not in shown
        assert TOKEN.encode() not in machine.console.raw()
    lines = [word for one in psutil.process_iter() for word in command_line(one)]
    assert not [line for line in lines if TOKEN in line]
    # A nonce lets nobody in. On User-mode Linux it is told as that lets itself be told.
    assert not [line for line in lines for arm, machine in running.items()
                if machine.record.nonce in line and arm != "linux@uml"]


def command_line(one: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return one.cmdline()
    return []


def test_qemu_runs_in_its_sandbox_and_listens_to_its_owner_alone(running: dict[str, Machine]) -> None:
    for arm in ("linux+tiny@qemu", "linux+tiny+resume@qemu"):
        pid = running[arm].pid
        assert pid is not None
        for thread in (Path("/proc") / str(pid) / "task").iterdir():
            status = dict(line.split(":\t", 1) for line in (thread / "status").read_text().splitlines())
            assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        found = psutil.Process(pid)
        listening = {c.laddr.ip for c in found.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
        words = found.cmdline()
        assert not {"-monitor", "-gdb", "-s", "-vnc", "-spice", "-usb"} & set(words)
        assert {"-nodefaults", "-no-user-config"} <= set(words)
        assert ",restrict=on" in words[words.index("-netdev") + 1]


def test_a_mark_that_a_program_prints_is_text(running: dict[str, Machine]) -> None:
    for arm, machine in running.items():
        assert "@unibeam 0000000000000000 app 1 memory=1" in machine.console.text() or "resume" in arm
        app = machine.marks.get("app")
        assert app is None or (app.guest or 0) > 1e-3, "the program's was 1 ns"
        assert (machine.record.beam or 2) > 1
