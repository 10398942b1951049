"""A panel of machines, live: state, timeline, memory, ports, and what can be done with them.

What a page shows is plain data (``state``), made here and sent when it differs from what was sent before. A page that
is in view asks for it every two seconds; nothing runs here otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from unibeam_nb.errors import UnibeamError
from unibeam_nb.job import Job
from unibeam_nb.notebook.display import memory_words, state_words
from unibeam_nb.notebook.sheet import printable
from unibeam_nb.notebook.widgets.comms import reachable

if TYPE_CHECKING:
    from unibeam_nb.lab import Lab, Machines
    from unibeam_nb.machine import Machine

FACE = (Path(__file__).parents[1] / "static" / "face.js").read_text(encoding="utf-8")


class Face(anywidget.AnyWidget):
    """What ``static/face.js`` draws: ``kind`` says how, ``state`` what."""

    _esm = FACE
    kind = traitlets.Unicode("panel").tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, label: str, state: dict[str, Any], **traits: Any) -> None:
        super().__init__(label=label, state=state, **traits)
        reachable(self)
        self._update = threading.Lock()
        self.on_msg(lambda _widget, content, _buffers: self._received(content))

    def _received(self, content: dict[str, Any]) -> None:
        self.heard(content)
        if content.get("do") == "refresh":
            self.send({"answered": True})  # Also where nothing has changed: so a page knows that somebody is there.

    def heard(self, content: dict[str, Any]) -> None:
        """Something was pressed in a page, or it asks for what is new."""

    def change(self, **values: Any) -> None:
        """Send what is new. Callbacks of several pages and the work's own thread may meet here."""
        with self._update:
            self.state = {**self.state, **values}


def machine_state(machine: Machine, busy: str = "") -> dict[str, Any]:
    """What a page shows of one machine; ``busy`` is what is being done with it."""
    alive = machine.alive
    memory = memory_words(machine)
    facts = [f"{machine.arm}, accelerator {machine.accelerator}", f"id {machine.id}", *([memory] if memory else [])]
    links = [{"text": f"port {guest}: {machine.url or f'{machine.address}:{host}'}", "url": machine.url or ""}
             for guest, host in sorted(machine.ports.items())] if alive else []
    marks = [{"name": mark.name, "at": round(mark.at, 4)}
             for mark in sorted(machine.marks.values(), key=lambda mark: mark.at) if mark.at > 0]
    return {"id": machine.id, "name": printable(machine.name), "alive": alive, "state": busy or state_words(machine),
            "facts": [printable(fact) for fact in facts], "links": links, "marks": marks,
            "actions": _actions(alive, bool(busy))}


def _actions(alive: bool, busy: bool) -> list[dict[str, Any]]:
    if alive:
        return [{"do": "stop", "text": "Stop", "hint": "End this machine", "off": busy},
                {"do": "clone", "text": "Clone", "hint": "Another machine like it, from its snapshot where it has one",
                 "off": busy}]
    return [{"do": "resume", "text": "Resume", "hint": "Up again under its name, from its snapshot where it has one",
             "off": busy}]


class MachinesPanel(Face):
    """Machines and their buttons. With ``listing`` the machines are asked for anew at every refresh, so that a table
    of all machines stays one; those that were stopped here stay in view and can be resumed."""

    def __init__(self, machines: Iterable[Machine], listing: Callable[[], Iterable[Machine]] | None = None,
                 label: str = "Machines") -> None:
        self._shown: dict[str, Machine] = {machine.id: machine for machine in machines}
        self._busy: dict[str, str] = {}
        self._listing = listing
        super().__init__(label, {})
        self.refresh()

    def heard(self, content: dict[str, Any]) -> None:
        do, machine = content.get("do"), self._shown.get(str(content.get("machine", "")))
        if do == "refresh":
            self.refresh()
        elif machine is not None and machine.id not in self._busy and do in _DOING:
            self._act(str(do), machine)

    def refresh(self) -> None:
        """Look again, and send what has changed."""
        if self._listing is not None:
            listed = {machine.id: machine for machine in self._listing()}
            # What was coming up is seen anew, and is gone where it never came up.
            known = {key: one for key, one in self._shown.items() if key in listed or not one.booting}
            self._shown = known | {key: one for key, one in listed.items() if key not in known or known[key].booting}
        states = [machine_state(machine, self._busy.get(key, "")) for key, machine in self._shown.items()]
        title = "" if states else "Nothing is running."
        self.change(machines=states, title=title)

    def _act(self, do: str, machine: Machine) -> None:
        self._busy[machine.id] = _DOING[do]
        self.refresh()
        job: Job[Machine | None] = Job(f"{do} {machine.name}", lambda: self._done(do, machine))
        job.when_over(lambda: self._over(machine, job.error))
        job.start()

    def _done(self, do: str, machine: Machine) -> Machine | None:
        if do == "stop":
            machine.stop()
            return None
        from unibeam_nb.lab import Lab

        made = Lab(machine.store).clone(machine, machine_name=machine.name if do == "resume" else None)
        if do == "resume":
            self._shown = {made.id if key == machine.id else key: made if key == machine.id else kept
                           for key, kept in self._shown.items()}
        self._shown[made.id] = made
        return made

    def _over(self, machine: Machine, error: BaseException | None) -> None:
        self._busy.pop(machine.id, None)
        told = "" if error is None else error.message if isinstance(error, UnibeamError) else repr(error)
        self.change(message=printable(told))
        self.refresh()


_DOING = {"stop": "stopping …", "clone": "being cloned …", "resume": "coming up …"}


def machine_panel(machine: Machine) -> MachinesPanel:
    """The panel of one machine."""
    return MachinesPanel((machine,), label=f"Machine {machine.name}")


def machines_panel(machines: Machines) -> MachinesPanel:
    """The panel of all machines."""
    store = machines.store

    def listing() -> Iterable[Machine]:
        from unibeam_nb.lab import Lab

        lab: Lab = Lab(store)
        return lab.ps()

    return MachinesPanel(machines, listing if store is not None else None)
