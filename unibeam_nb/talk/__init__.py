"""Talking to a running machine: evaluate an expression in it, load new code into it, look at its processes.

    evaluate(store, machine, "1 + 1.").value -> 2          reload(store, machine, text)          top(store, machine)

The machine has to be booted with a channel (guest/unibeam_channel.erl, machine/door.py). Expressions are compiled
on the host, so that no image needs a compiler; what they need in the machine is sent in.
"""

from __future__ import annotations

from unibeam_nb.talk.evaluating import Evaluated, evaluate, forget
from unibeam_nb.talk.looking import Top, top
from unibeam_nb.talk.reloading import Reloaded, reload

__all__ = ["Evaluated", "Reloaded", "Top", "evaluate", "forget", "reload", "top"]
