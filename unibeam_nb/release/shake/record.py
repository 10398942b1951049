"""Starting a release once on this host: which modules it loads until it is up, or what it lacks."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb import process
from unibeam_nb.errors import ProgramFailed, ProgramTimeout
from unibeam_nb.model import PORT_VARIABLE, Release
from unibeam_nb.release.shake.missing import undefined
from unibeam_nb.store import Store

PATIENCE = 60.0
RECORD_VARIABLE = "UNIBEAM_RECORD"
"""The environment variable that tells the guest agent to write down what is loaded when all is up, and to end."""


@dataclass(frozen=True)
class Start:
    """What came of a start: the modules loaded when it was up; or, where it failed, its last words."""

    modules: frozenset[str] = frozenset()
    said: tuple[str, ...] = ()

    @property
    def up(self) -> bool:
        return bool(self.modules)

    @property
    def missing(self) -> frozenset[str]:
        """The modules of functions that were called and are not there."""
        return frozenset(module for module, _ in undefined("\n".join(self.said)))


def record(store: Store, release: Release, tree: Path) -> Start:
    """Start the release whose files are in ``tree`` and wait until it is up. A program that fails is an answer too."""
    with store.scratch() as scratch:
        told = scratch / "modules"
        state = scratch / "state"
        state.mkdir()
        environment = {**release.launch.env(str(tree), str(state)), RECORD_VARIABLE: str(told),
                       "ERL_AFLAGS": "+S 1:1 +SDcpu 1:1", PORT_VARIABLE: str(_free_port())}
        try:
            done = process.run(release.launch.argv(str(tree), str(state)), cwd=state, env=environment,
                               timeout=PATIENCE, check=False)
            said = done.stdout + done.stderr
        except (ProgramFailed, ProgramTimeout) as error:
            said = str(error)
        modules = told.read_text().split("\n")[:-1] if told.is_file() else ()
    return Start(frozenset(modules), tuple(line for line in said.splitlines() if line.strip()))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
