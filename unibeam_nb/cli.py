"""``unibeam`` in a shell: the magic's parser and commands, with a terminal for a face.

Results go to standard output; progress, notes and errors go to standard error. The exit status is 0 when
the work is done, 1 when it failed, 2 when the command line made no sense, 130 after Ctrl-C or
a polite kill.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType

from unibeam_nb.errors import Cancelled, UnibeamError, UsageError
from unibeam_nb.job import Job
from unibeam_nb.notebook.display import to_text
from unibeam_nb.notebook.execute import execute, title_of
from unibeam_nb.notebook.live import TerminalView, carry_out
from unibeam_nb.notebook.parser import Request, parse
from unibeam_nb.visible import visible

DONE, FAILED, MISUSED, STOPPED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line and return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _end_tidily()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that has no tick must not cost the whole answer.
        sys.stdout.reconfigure(errors="replace")
    try:
        if words[:1] in (["--version"], ["-V"]):
            from unibeam_nb import __version__

            return _say(f"unibeam {__version__}")
        request = parse(words)
        if request.help:
            return _say(request.help)
        return _carry_out(_with_body(request))
    except UnibeamError as error:
        print(_shown(error), file=sys.stderr)
        return STOPPED if isinstance(error, Cancelled) else MISUSED if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:
        print("unibeam: Stopped.", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does. Python would complain once more while it exits.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _end_tidily() -> None:
    """Have a polite end, by ``kill`` or by a terminal that goes away, stop what was started, as Ctrl-C does. ``nohup``
    has the last word on the latter."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _as_ctrl_c)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C would do now, which is not the same while work is under way."""
    now = signal.getsignal(signal.SIGINT)
    (now if callable(now) else signal.default_int_handler)(number, frame)


def _carry_out(request: Request) -> int:
    from unibeam_nb.lab import Lab

    if request.values.get("no_wait"):
        raise UsageError("A shell has no cell to go on with.", "Leave out --no-wait, or end the line with &.")
    result = carry_out(Job(title_of(request), lambda: execute(Lab(), request)), TerminalView())
    text = to_text(result)
    if request.command == "chart":
        output = request.values["output"]
        text += f"\nWrote {output}." if output else "\nA terminal cannot show it; add -o FILE.svg to keep it."
    return _say(text)


def _with_body(request: Request) -> Request:
    """The request with its body read from standard input, where that was asked for."""
    if not request.stdin:
        return request
    try:
        return replace(request, body=sys.stdin.read())
    except UnicodeDecodeError:
        raise UsageError("Standard input is not text.", "Pipe a source file in, encoded as UTF-8.") from None


def _say(text: str) -> int:
    print(text)
    sys.stdout.flush()
    return DONE


def _shown(error: UnibeamError) -> str:
    lines = [f"unibeam: {error.message}", *(f"  | {line}" for line in error.details)]
    # Hints are written for a notebook; a shell has the same commands without the magic's signs.
    hint = (error.hint or "").replace("%%unibeam", "unibeam").replace("%unibeam", "unibeam")
    return visible("\n".join([*lines, f"  Hint: {hint}"] if hint else lines))
