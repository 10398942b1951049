"""Loading new code into a running machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unibeam_nb.errors import MachineError
from unibeam_nb.machine import Machine
from unibeam_nb.release.cell import display_name, language_of, units
from unibeam_nb.release.compiler import compile_units
from unibeam_nb.release.workplace import build_directory
from unibeam_nb.store import Store, digest
from unibeam_nb.talk import inside
from unibeam_nb.talk.answers import sensible, text
from unibeam_nb.talk.channel import PATIENCE, channel_to


@dataclass(frozen=True)
class OldCode:
    """A process that still runs what a module was before: by its next call to the module from outside of it
    (``module:function()``), or when it ends, it is done with that."""

    module: str
    pid: str
    name: str
    at: str


@dataclass(frozen=True)
class Reloaded:
    """Which modules were ``replaced`` and which are ``new`` in the machine, and who still runs old code."""

    machine: str
    replaced: tuple[str, ...]
    new: tuple[str, ...]
    old: tuple[OldCode, ...] = ()

    def to_frame(self) -> Any:
        """The processes with old code as a pandas frame."""
        import pandas as pd

        return pd.DataFrame([vars(process) for process in self.old], columns=["module", "pid", "name", "at"])


def reload(store: Store, machine: Machine, text: str, *, language: str | None = None, kill: bool = False) -> Reloaded:
    """Compile the modules in ``text`` and load them into ``machine``, all or none.

    The emulator keeps two versions of a module. Processes that run the older one would have to end: without ``kill``
    that is refused. Raises SourceError, CompileError, MachineError.
    """
    chosen = language_of(text, language)
    files = units(text, chosen, machine.image_name)
    with channel_to(machine) as channel:
        inside.send(store, channel)
        with build_directory(digest("reload", text, chosen)) as work:
            beams = compile_units(files, chosen, work, files[0].filename if len(files) == 1 else machine.image_name)
        sent = [(name.encode(), f"{name}.beam".encode(), beam.stripped()) for name, beam in sorted(beams.items())]
        answer = channel.call(inside.INSIDE, "reload", [sent, kill], PATIENCE)
    return told(machine.name, answer)


def told(machine: str, answer: Any) -> Reloaded:
    """What the machine called ``machine`` answered, read. Raises MachineError."""
    with sensible(machine):
        match answer:
            case ("ok", list(loaded), list(old)):
                names = {how: tuple(_name(name) for name, what in loaded if what == how)
                         for how in ("replaced", "new")}
                return Reloaded(machine, names["replaced"], names["new"], _processes(old))
            case ("busy", list(old)):
                raise MachineError("Some processes still run code from before the last reload.",
                                   "Let them go on or end first, or end them with --kill.",
                                   [f"{p.pid} {p.name} in {p.at} ({p.module})" for p in _processes(old)])
            case ("error", list(reasons)):
                raise MachineError(f"{machine} does not load the modules.", "Its own words are above.",
                                   [f"{_name(name)}: {text(reason)}" for name, reason in reasons])
        raise ValueError("none of the known answers")


def _processes(rows: list[Any]) -> tuple[OldCode, ...]:
    return tuple(OldCode(_name(module), text(pid), text(name), text(at)) for module, pid, name, at in rows)


def _name(term: Any) -> str:
    return display_name(text(term))
