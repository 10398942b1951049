"""Compiling expressions on the host (guest/unibeam_compile.erl): a compiler that stays, since starting one takes longer
than everything else together."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import select
import subprocess
import threading
import time
from functools import lru_cache
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import CompileError, UsageError
from unibeam_nb.progress import checkpoint
from unibeam_nb.release.cell import LANGUAGES
from unibeam_nb.release.otp import host_elixir, host_otp
from unibeam_nb.store import Store
from unibeam_nb.talk.etf import decode, encode
from unibeam_nb.talk.inside import COMPILER, compiled

PATIENCE = 60.0
"""Seconds for one expression; the first one in Elixir starts Elixir."""

MAX_LINES = 30


def language_of(text: str, said: str | None, spoken: tuple[str, ...]) -> str:
    """The language of an expression: as ``said``; Erlang where it ends in a full stop, which Elixir does not know;
    else Elixir where the machine speaks it. ``spoken`` are the machine's languages. Raises UsageError."""
    if not text.strip():
        raise UsageError("There is no expression.", "Write one below the line, for example: length(processes()).")
    if said is not None and said not in LANGUAGES:
        raise UsageError(f"{said!r} is not a language of expressions.", f"Choose one of {', '.join(LANGUAGES)}.")
    if said == "elixir" and "elixir" not in spoken:
        raise UsageError("There is no Elixir in this machine.", "Write the expression in Erlang.")
    if said is not None:
        return said
    return "erlang" if re.search(r"\.\s*(?:%[^\n]*\s*)*\Z", text) or "elixir" not in spoken else "elixir"


class Compiler:
    """One Erlang node without a name that compiles what it is given."""

    def __init__(self, directory: Path) -> None:
        self._lock = threading.Lock()
        self._node = process.spawn(
            [tools.find("erl"), "-noinput", "-boot", "start_clean", "-pa", directory, "-s", COMPILER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        atexit.register(self.close)

    @property
    def alive(self) -> bool:
        return self._node.poll() is None

    def close(self) -> None:
        """End the node: it ends when nobody can ask it anything any more."""
        for stream in (self._node.stdin, self._node.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        process.stop_group(self._node)

    def compile(self, language: str, module: str, otp: str, text: str, bound: list[str],
                paths: list[str]) -> bytes:
        """The expression ``text`` as the module ``module`` for OTP release ``otp``. Raises CompileError."""
        paths = [*paths, *([str(host_elixir().lib / "elixir" / "ebin")] if language == "elixir" else [])]
        with self._lock:
            try:
                answer = self._exchange(encode((language, module, otp, text, bound, paths)))
            except BaseException:
                self.close()  # Whatever it would say now would answer the wrong question.
                raise
        match answer:
            case ("ok", bytes(beam)):
                return beam
            case ("error", list(lines)):
                said = [line.decode("utf-8", "replace") for line in lines if isinstance(line, bytes)]
                raise CompileError("The expression does not compile.", "The line numbers are those of your source.",
                                   [line for line in said if line.strip()][:MAX_LINES])
        raise CompileError("The compiler makes no sense.", "Try again.")

    def _exchange(self, message: bytes) -> object:
        stdin, stdout = self._node.stdin, self._node.stdout
        assert stdin is not None
        assert stdout is not None
        until = time.monotonic() + PATIENCE
        try:
            stdin.write(len(message).to_bytes(4, "big") + message)
            stdin.flush()
            length = int.from_bytes(self._read(stdout.fileno(), 4, until), "big")
            return decode(self._read(stdout.fileno(), length, until))
        except OSError as error:
            raise CompileError("The compiler ended.", "Try again; does 'erl' work on this host?") from error

    def _read(self, handle: int, count: int, until: float) -> bytes:
        data = b""
        while len(data) < count:
            checkpoint()
            if time.monotonic() > until:
                raise CompileError(f"The compiler did not answer within {PATIENCE:.0f} s.", "Try again.")
            if select.select([handle], [], [], 0.1)[0]:
                piece = os.read(handle, count - len(data))
                if not piece:
                    raise BrokenPipeError
                data += piece
        return data


@lru_cache(maxsize=4)
def _compiler_in(directory: Path, paths: tuple[str, ...]) -> Compiler:
    return Compiler(directory)


def compile_expression(store: Store, language: str, module: str, otp: str, text: str, bound: list[str],
                       paths: tuple[str, ...] = ()) -> bytes:
    """Compile an expression for a machine. ``paths`` are directories of modules whose macros and structs it may use."""
    host = host_otp()
    directory = compiled(store, host, COMPILER, host.release)
    found = _compiler_in(directory, paths)
    if not found.alive:
        _compiler_in.cache_clear()
        found = _compiler_in(directory, paths)
    return found.compile(language, module, otp, text, bound, list(paths))
