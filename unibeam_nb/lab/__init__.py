"""The Lab: every step from source to chart as one method, for Python, the magic and the shell alike.

    lab = Lab()
    lab.build("hello", text=erlang, ports=(8080,))
    machine = lab.boot("hello", arm="qemu", http="/", channel=True)
    lab.eval("hello", "length(processes()).").value
    experiment = lab.bench("hello", arms=("linux@qemu", "release@process"), blocks=10, http="/")
    lab.chart("boot")

The Lab remembers what the user called things (``<state>/names/NAME.json``); everything else it looks up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibeam_nb.lab.builds import Build
from unibeam_nb.lab.clouds import Clouds
from unibeam_nb.lab.experiments import Experiments
from unibeam_nb.lab.inside import Inside
from unibeam_nb.lab.kernels import Kernels
from unibeam_nb.lab.machines import Machines
from unibeam_nb.lab.share import Sharing
from unibeam_nb.lab.talk import Talk

if TYPE_CHECKING:
    from unibeam_nb.doctor import Diagnosis

__all__ = ["Build", "Lab", "Machines"]


class Lab(Talk, Experiments, Kernels, Clouds, Inside, Sharing):
    """All of unibeam over one :class:`~unibeam_nb.store.Store` (the user's own unless given)."""

    def doctor(self, *, prove: bool = False) -> Diagnosis:
        """What this host can do, why not, and how to get the rest; ``prove`` boots a tiny guest to know."""
        from unibeam_nb.doctor import diagnose

        return diagnose(self.store, prove=prove)
