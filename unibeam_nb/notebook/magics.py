"""``%unibeam`` and ``%%unibeam``: what the user typed becomes a request, the request a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, magics_class
from traitlets import Bool, Enum, Float, Int, Unicode

from unibeam_nb.errors import UsageError
from unibeam_nb.job import Job
from unibeam_nb.notebook import completion, display
from unibeam_nb.notebook.execute import execute, title_of
from unibeam_nb.notebook.given import Defaults
from unibeam_nb.notebook.live import TerminalView, View, carry_out, go_on
from unibeam_nb.notebook.parser import overview, parse, split_line
from unibeam_nb.notebook.steps import StepLog

if TYPE_CHECKING:
    from unibeam_nb.lab import Lab


IN_BACKGROUND = ("build", "boot", "bench", "clone")
"""The commands that can go on while other cells run."""


class LazyWorkView:
    """A :class:`~unibeam_nb.notebook.widgets.work.WorkView` that is loaded when there is something to show: most
    commands are done before that."""

    def __init__(self, shell: Any, job: Job[Any], background: bool) -> None:
        self._shell, self._job, self._background = shell, job, background
        self._view: View | None = None

    def show(self, log: StepLog, now: float) -> None:
        if self._view is None:
            from unibeam_nb.notebook.widgets.work import WorkView

            self._view = WorkView(self._shell, self._job, background=self._background)
        self._view.show(log, now)


@magics_class
class UnibeamMagics(Magics):
    """The magic and its defaults, which ``%config UnibeamMagics`` shows and sets."""

    on = Unicode(Defaults.on, help="The runner or arm that boot uses.").tag(config=True)
    target = Unicode(Defaults.target, help="The kind of image that build makes.").tag(config=True)
    mem = Int(Defaults.mem, min=1, help="Memory of a virtual machine in MB.").tag(config=True)
    vcpus = Int(Defaults.vcpus, min=1, help="Processors of a virtual machine.").tag(config=True)
    accel = Enum(("auto", "kvm", "tcg"), Defaults.accel, help="The accelerator of virtual machines.").tag(config=True)
    deadline = Float(Defaults.deadline, min=0.1, help="Seconds after which a boot has failed.").tag(config=True)
    blocks = Int(Defaults.blocks, min=1, help="How often bench boots each arm.").tag(config=True)

    wait = Bool(True, help="Whether a cell waits for a build, a boot or an experiment.").tag(config=True)

    _lab: Lab | None = None

    def __init__(self, shell: Any) -> None:
        super().__init__(shell=shell)
        self._booted: list[Any] = []

    @property
    def lab(self) -> Lab:
        """The Lab behind the magic, made when it is first needed."""
        if self._lab is None:
            from unibeam_nb.lab import Lab

            self._lab = Lab()
        return self._lab

    @line_cell_magic
    def unibeam(self, line: str, cell: str | None = None) -> Any:
        """Replaced below by the help of all commands."""
        body = cell if cell is None else self._as_in_editor(cell)
        request = parse(split_line(line), body, "%unibeam" if cell is None else "%%unibeam")
        if request.stdin:
            raise UsageError("A notebook has no standard input to read.",
                             "Write the modules below %%unibeam build NAME.")
        lab, defaults = self.lab, self._defaults()
        job: Job[Any] = Job(title_of(request), lambda: execute(lab, request, defaults))
        waits = request.values.get("wait") or (self.wait and not request.values.get("no_wait"))
        if request.command in IN_BACKGROUND and not waits and not request.help:
            return go_on(job, self._view(job, background=True))
        result = carry_out(job, self._view(job))
        if request.command == "dashboard" and self._live and not request.help:
            from unibeam_nb.notebook.widgets.dashboard import Dashboard

            Dashboard(self.shell, result).show()
            return None
        if request.command in ("boot", "clone") and not request.help:
            self._booted += [result] if request.values.get("copies") is None else list(result)
        return result

    def show_booted(self, ran: Any) -> None:
        """Show the machines that the cell booted and does not show itself, as its value."""
        booted, self._booted = self._booted, []
        for machine in booted:
            if self._live and machine is not getattr(ran, "result", None):
                shell: Any = self.shell
                data, metadata = shell.display_formatter.format(machine)
                shell.display_pub.publish(data=data, metadata=metadata)

    def _as_in_editor(self, cell: str) -> str:
        """The body behind as many empty lines as stand above it in the cell.

        Every line number that a compiler, a TOML reader or a crash report then gives is the one that the
        user's editor shows.
        """
        history = getattr(self.shell, "history_manager", None)
        raw = history.input_hist_raw[-1] if history is not None and history.input_hist_raw else ""
        above = 1
        if raw.rstrip().endswith(cell.rstrip()):
            lines = raw.split("\n")
            above = 1 + next((i for i, text in enumerate(lines) if text.startswith("%%")), 0)
        return "\n" * above + cell

    def _defaults(self) -> Defaults:
        return Defaults(**{name: getattr(self, name) for name in Defaults.__dataclass_fields__})

    @property
    def _live(self) -> bool:
        """Whether there may be a front end that shows more than lines of text; a terminal cannot."""
        return getattr(self.shell, "kernel", None) is not None

    def _view(self, job: Job[Any], *, background: bool = False) -> View:
        return LazyWorkView(self.shell, job, background) if self._live else TerminalView()


UnibeamMagics.unibeam.__doc__ = overview("%unibeam")


def load(shell: Any) -> None:
    """Add the magic, its completion and the nouns' faces to ``shell``."""
    unload(shell)
    magics = UnibeamMagics(shell=shell)
    shell.register_magics(magics)
    shell.events.register("post_run_cell", magics.show_booted)
    completion.register(shell, magics)
    display.register(shell)


def unload(shell: Any) -> None:
    """Take away what :func:`load` added; does nothing where it was not loaded."""
    manager = shell.magics_manager
    magics = manager.registry.pop("UnibeamMagics", None)
    if magics is None:
        return
    shell.events.unregister("post_run_cell", magics.show_booted)
    for kind in ("line", "cell"):
        manager.magics[kind].pop("unibeam", None)
    shell.configurables[:] = [c for c in shell.configurables if not isinstance(c, UnibeamMagics)]
    completion.unregister(shell)
    display.unregister(shell)
