"""Erlang and Elixir code becomes a booted, measured machine image.

    cell or project -> Release -> Image -> Machine -> Samples -> Frame -> Chart

Start with ``%load_ext unibeam_nb`` in a notebook, ``unibeam --help`` in a shell, or
:class:`unibeam_nb.lab.Lab` in Python. Importing this package is cheap: everything heavy loads on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Experiment", "Lab", "load_ipython_extension", "unload_ipython_extension"]

if TYPE_CHECKING:
    from unibeam_nb.bench import Experiment
    from unibeam_nb.lab import Lab


def __getattr__(name: str) -> Any:
    if name == "Lab":
        from unibeam_nb.lab import Lab

        return Lab
    if name == "Experiment":
        from unibeam_nb.bench import Experiment

        return Experiment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(shell: Any) -> None:
    """What ``%load_ext unibeam_nb`` calls."""
    from unibeam_nb.notebook.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """What ``%unload_ext unibeam_nb`` calls."""
    from unibeam_nb.notebook.magics import unload

    unload(shell)
