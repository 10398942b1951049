"""Every error that unibeam raises on purpose.

    UnibeamError               one sentence and a hint; never shown as a traceback
    ├── UsageError             the command line, an arm, a plan or a flag makes no sense
    ├── ToolMissing            a program this work needs is not on this host
    ├── ProgramFailed          a program ran and failed; carries its command line and last output
    ├── ProgramTimeout         a program did not finish in time
    ├── SourceError            the user's source cannot become a release
    │   └── CompileError       the compiler refused it; line numbers are those of the cell or file
    ├── ArchiveError           an archive is unreadable or would write outside its directory
    ├── ImageError             a release cannot become this kind of image
    ├── MachineError           a machine cannot be started, found or stopped
    │   ├── BootFailed         it started and did not reach its mark; carries the telling console lines
    │   ├── PortInUse          the wanted host port is taken
    │   └── EvaluationFailed   an expression raised an exception in a machine; carries kind, reason, stack and output
    ├── BenchError             an experiment cannot be run or read
    └── Cancelled              the user stopped the work

Anything else that escapes is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence

from unibeam_nb.visible import visible


class UnibeamError(Exception):
    """One sentence that says what happened, and a hint that says what to do next.

    ``message`` ends with a full stop; ``hint`` may be None when there is nothing useful to say;
    ``details`` are further lines (compiler messages, console lines), shown after the message as they are.
    """

    def __init__(self, message: str, hint: str | None = None, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)

    def __str__(self) -> str:
        # A compiler's message, a guest's last line, the name of a file: what is quoted must not steer a terminal.
        lines = [self.message, *(f"  | {line}" for line in self.details)]
        if self.hint:
            lines.append(f"  Hint: {self.hint}")
        return visible("\n".join(lines))

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of a traceback; the cell still fails under nbclient."""
        return [f"{type(self).__name__}: {line}" if i == 0 else line
                for i, line in enumerate(str(self).split("\n"))]


class UsageError(UnibeamError):
    """The command line, an arm, a plan or a flag makes no sense."""


class ToolMissing(UnibeamError):
    """A program this work needs is not on this host; the hint is the command that installs it."""


class ProgramFailed(UnibeamError):
    """A program ran and failed.

    ``argv`` and ``code`` are what was run and how it ended; ``output`` is all it printed, of which the
    last lines are in ``details``.
    """

    def __init__(self, message: str, hint: str | None = None, details: Sequence[str] = (), *,
                 argv: Sequence[str] = (), code: int | None = None, output: str = "") -> None:
        super().__init__(message, hint, details)
        self.argv = tuple(argv)
        self.code = code
        self.output = output


class ProgramTimeout(ProgramFailed):
    """A program did not finish in time and was stopped with everything it had started."""


class SourceError(UnibeamError):
    """The user's source cannot become a release."""


class CompileError(SourceError):
    """The compiler refused the source; ``details`` hold its messages with the user's own line numbers."""


class ArchiveError(UnibeamError):
    """An archive is unreadable or would write outside its directory."""


class ImageError(UnibeamError):
    """A release cannot become this kind of image."""


class MachineError(UnibeamError):
    """A machine cannot be started, found or stopped."""


class BootFailed(MachineError):
    """A machine started and did not reach its mark; ``details`` are the telling console lines."""


class PortInUse(MachineError):
    """The wanted host port is taken."""


class EvaluationFailed(MachineError):
    """An expression raised an exception in a machine, or took too long.

    ``kind`` is ``error``, ``exit``, ``throw`` or ``timeout``; ``reason`` the exception as Erlang or Elixir writes it;
    ``stack`` its frames, innermost first; ``output`` what was printed before.
    """

    def __init__(self, kind: str, reason: str, stack: Sequence[str] = (), output: str = "",
                 hint: str | None = None) -> None:
        late = kind == "timeout"
        printed = [f"printed: {line}" for line in output.splitlines()]
        shown = [] if late else reason.splitlines()
        super().__init__(reason if late else f"The expression ended in an exception ({kind}).",
                         hint, [*printed, *shown, *(f"  in {frame}" for frame in stack)])
        self.kind, self.reason, self.stack, self.output = kind, reason, tuple(stack), output


class BenchError(UnibeamError):
    """An experiment cannot be run or read."""


class Cancelled(UnibeamError):
    """The user stopped the work."""

    def __init__(self, message: str = "Stopped.", hint: str | None = None) -> None:
        super().__init__(message, hint)
