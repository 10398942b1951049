"""Talking to machines that run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibeam_nb.errors import UsageError
from unibeam_nb.lab.machines import Running
from unibeam_nb.progress import step

if TYPE_CHECKING:
    from unibeam_nb.machine import Machine
    from unibeam_nb.talk import Evaluated, Reloaded, Top


class Talk(Running):
    """What can be said to a machine that was booted with a channel."""

    def eval(self, name: str, text: str, *, language: str | None = None, deadline: float = 30.0) -> Evaluated:
        """Evaluate an Erlang or Elixir expression in the machine ``name``; variables stay bound for the next one.

        Raises CompileError, and EvaluationFailed where it raised an exception or ran longer than ``deadline`` seconds.
        """
        from unibeam_nb import talk

        machine = self.machine(name)
        with step(f"Evaluating in {machine.name}"):
            return talk.evaluate(self.store, machine, text, language=language, deadline=deadline,
                                 paths=self._modules_of(machine))

    def forget(self, name: str) -> None:
        """Forget the variables bound in the machine ``name``."""
        from unibeam_nb import talk

        talk.forget(self.store, self.machine(name))

    def reload(self, name: str, text: str, *, language: str | None = None, kill: bool = False) -> Reloaded:
        """Compile the modules in ``text`` and load them into the machine ``name`` as it runs."""
        from unibeam_nb import talk

        machine = self.machine(name)
        with step(f"Loading code into {machine.name}"):
            return talk.reload(self.store, machine, text, language=language, kill=kill)

    def top(self, name: str, *, by: str = "memory", count: int = 15, seconds: float = 0.5) -> Top:
        """The processes in the machine ``name`` with most ``memory``, ``reductions`` or messages in their ``queue``."""
        from unibeam_nb import talk

        return talk.top(self.store, self.machine(name), by=by, count=count, seconds=seconds)

    def _modules_of(self, machine: Machine) -> tuple[str, ...]:
        """Where the program's own Elixir modules are, whose macros and structs an expression may name."""
        try:
            release = self.named(machine.image_name).release
        except UsageError:
            return ()
        own = sorted((release.path / "lib").glob("*/ebin"))
        return tuple(str(path) for path in own if any(path.glob("Elixir.*.beam")) and path.parent.name.partition("-")[0]
                     not in ("elixir", "logger", "eex", "iex", "mix", "ex_unit"))
