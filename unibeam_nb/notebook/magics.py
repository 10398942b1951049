"""``%unibeam`` and ``%%unibeam``: what the user typed becomes a request, the request a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, magics_class
from traitlets import Enum, Float, Int, Unicode

from unibeam_nb.errors import UsageError
from unibeam_nb.job import Job
from unibeam_nb.notebook import completion, display
from unibeam_nb.notebook.execute import Defaults, execute, title_of
from unibeam_nb.notebook.live import NotebookView, TerminalView, View, carry_out
from unibeam_nb.notebook.parser import overview, parse, split_line

if TYPE_CHECKING:
    from unibeam_nb.lab import Lab


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

    _lab: Lab | None = None

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
        return carry_out(Job(title_of(request), lambda: execute(lab, request, defaults)), self._view())

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

    def _view(self) -> View:
        """A display that updates in place where the front end can do that; IPython in a terminal cannot."""
        return NotebookView(self.shell) if getattr(self.shell, "kernel", None) is not None else TerminalView()


UnibeamMagics.unibeam.__doc__ = overview("%unibeam")


def load(shell: Any) -> None:
    """Add the magic, its completion and the nouns' faces to ``shell``."""
    unload(shell)
    magics = UnibeamMagics(shell=shell)
    shell.register_magics(magics)
    completion.register(shell, magics)
    display.register(shell)


def unload(shell: Any) -> None:
    """Take away what :func:`load` added; does nothing where it was not loaded."""
    manager = shell.magics_manager
    if manager.registry.pop("UnibeamMagics", None) is None:
        return
    for kind in ("line", "cell"):
        manager.magics[kind].pop("unibeam", None)
    shell.configurables[:] = [c for c in shell.configurables if not isinstance(c, UnibeamMagics)]
    completion.unregister(shell)
    display.unregister(shell)
