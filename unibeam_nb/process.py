"""The only place where unibeam starts programs.

Commands are plumbum commands, data until they run. :func:`run` waits for a program and returns what it
printed; :func:`spawn` starts one that outlives the call. Both give it a minimal environment, no standard
input, and a process group of its own, so that a Ctrl-C meant for us cannot kill it half-way, and stopping
it stops everything it started.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from plumbum import local

from unibeam_nb.errors import ProgramFailed, ProgramTimeout, ToolMissing
from unibeam_nb.held import VARIABLE, held_directory, kill_those_of, sweep
from unibeam_nb.progress import checkpoint, hurried
from unibeam_nb.store import disk_errors

PASSED_ON = ("PATH", "HOME", "USER", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
             "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE",
             "CONTAINERS_CONF", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG",
             "DBUS_SESSION_BUS_ADDRESS")
"""The variables a program inherits; everything else about the user's shell stays out of a build."""

DETAIL_LINES = 12

GENTLY = 10
"""The nice value of work that takes minutes."""

PLACE = "unibeam-run-"
"""How the name of a program's directory for temporary files begins."""

_swept: set[Path] = set()
"""The temporary directories in which this process has looked for the remains of others."""


@dataclass(frozen=True)
class Completed:
    """What a finished program left: its exit status and what it printed, decoded as UTF-8."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The minimal environment of every program, plus ``extra``."""
    kept = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
    return kept | {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"} | dict(extra or {})


def spawn(argv: Sequence[str | Path], *, stdout: IO[Any] | int = subprocess.DEVNULL,
          stderr: IO[Any] | int = subprocess.STDOUT, stdin: IO[Any] | int = subprocess.DEVNULL,
          cwd: Path | None = None, env: Mapping[str, str] | None = None,
          clean_env: bool = False, passes: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own and return at once.

    ``env`` is added to the minimal environment, or is all of it with ``clean_env``; ``passes`` are file descriptors
    that it inherits besides the three standard ones.
    Raises ToolMissing when the program does not exist.
    """
    words = tuple(str(word) for word in argv)
    try:
        command = local[words[0]][words[1:]]
    except Exception as error:  # plumbum.CommandNotFound, which lists the whole PATH
        raise ToolMissing(f"{words[0]} is not on this host.", "Run 'unibeam doctor' to see what is missing.") from error
    try:
        child: subprocess.Popen[bytes] = subprocess.Popen(
            command.formulate(), stdout=stdout, stderr=stderr, stdin=stdin, cwd=cwd, start_new_session=True,
            env=dict(env or {}) if clean_env else environment(env), pass_fds=passes)
    except FileNotFoundError as error:
        if cwd is not None and not Path(cwd).is_dir():
            raise
        # It was there a moment ago, or what its first line names is not.
        raise ToolMissing(f"{words[0]} cannot be started: it, or what interprets it, is not there.",
                          "Run 'unibeam doctor' to see what is missing.") from error
    return child


def give_way(child: subprocess.Popen[bytes]) -> None:
    """Leave the host to whoever works on it, as far as a program of :func:`spawn` and all that it will start go.

    Where Linux shares out processors by session first, being nice counts within a session alone, and the session's own
    value between them (sched(7), The autogroup feature).
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PGRP, child.pid, GENTLY)
        Path(f"/proc/{child.pid}/autogroup").write_text(str(GENTLY))


def run(argv: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None,
        input: bytes | None = None, timeout: float = 600, check: bool = True,
        makes: Sequence[Path] = ()) -> Completed:
    """Run a program to its end.

    ``makes`` are the files that it is to leave.
    Raises ProgramFailed when it exits non-zero and ``check`` holds, or has not made one of those, ProgramTimeout after
    ``timeout`` seconds, Cancelled when the user stopped the work; in the last two cases, and on Ctrl-C, everything
    the program started has been stopped. Its temporary files are in a directory of its own, which is gone afterwards.
    Where this process is killed meanwhile, the next one that runs a program ends this one and removes its files.
    """
    checkpoint()
    words = tuple(str(word) for word in argv)
    with (_place() as place, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err,
          tempfile.TemporaryFile() as inp):
        if input is not None:
            inp.write(input)
            inp.seek(0)
        child = spawn(words, stdout=out, stderr=err, cwd=cwd, env={"TMPDIR": str(place), **(env or {}), **mark(place)},
                      stdin=inp if input is not None else subprocess.DEVNULL)
        deadline = time.monotonic() + timeout
        try:
            while (code := _wait(child, 0.1)) is None:
                checkpoint()
                if time.monotonic() > deadline:
                    raise ProgramTimeout(f"{Path(words[0]).name} did not finish within {timeout:.0f} s.",
                                         f"Run it by hand to see why: {shlex.join(words)}", argv=words)
        finally:
            if child.poll() is None:
                stop_group(child)
                kill_those_of(place)  # What has left its group meanwhile, as programs started by an emulator do.
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "replace"))
    done = Completed(words, code, texts[0], texts[1])
    if check and code != 0:
        tail = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-DETAIL_LINES:]
        raise ProgramFailed(f"{Path(words[0]).name} failed with exit status {code}.",
                            f"The command was: {shlex.join(words)}", tail,
                            argv=words, code=code, output=done.stdout + done.stderr)
    for path in makes:
        if not path.is_file() or not path.stat().st_size:
            raise ProgramFailed(f"{Path(words[0]).name} made no {path.name}, and reported no failure.",
                                f"The command was: {shlex.join(words)}", argv=words, output=done.stdout + done.stderr)
    return done


@contextmanager
def _place() -> Iterator[Path]:
    """A directory for one program's temporary files, by which the program is known as well."""
    parent = Path(tempfile.gettempdir())
    if parent not in _swept:
        _swept.add(parent)
        sweep_places()
    with ExitStack() as stack:
        with disk_errors(parent):
            place = stack.enter_context(held_directory(parent, PLACE))
        yield place


def sweep_places() -> list[Path]:
    """End the programs of processes that were killed, and remove their temporary files."""
    return sweep(Path(tempfile.gettempdir()), f"{PLACE}*")


def mark(place: Path) -> dict[str, str]:
    """The variable that tells programs which are to end with the held directory ``place``."""
    return {VARIABLE: str(place)}


def _wait(child: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit status, as soon as there is one; None after ``seconds``.

    ``Popen.wait`` with a timeout looks every few milliseconds and sleeps longer each time; on a short program that
    wastes as much as the program takes.
    """
    try:
        file = os.pidfd_open(child.pid)
    except OSError:  # A kernel before 5.3, or a sandbox that forbids it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=seconds)
        return None
    try:
        select.select((file,), (), (), seconds)
    finally:
        os.close(file)
    return child.poll()


def stop_group(child: subprocess.Popen[bytes], grace: float = 2.0) -> None:
    """Stop a program started here and everything in its process group: ask first, kill after ``grace`` s, or
    a fifth of a second where the user is waiting for the stop."""
    if child.poll() is not None:
        return
    for sig, wait in ((signal.SIGTERM, min(grace, 0.2) if hurried() else grace), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sig)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=wait)
            return
