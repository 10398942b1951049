"""Image -> machine: runners, consoles, marks, the registry of what runs, and the accelerator's proof.

    boot(store, image, "qemu") -> Machine          machines(store), find_machine(store, "hello"), clean(store)
    available("podman") -> None, or why it cannot run here            obstacle(store, arm) -> the same for an arm
"""

from __future__ import annotations

from unibeam_nb.machine.accelerator import Accelerator, known_accelerator, prove_accelerator
from unibeam_nb.machine.available import available, obstacle
from unibeam_nb.machine.boot import boot
from unibeam_nb.machine.console import Console
from unibeam_nb.machine.machine import Machine, clean, find_machine, machines
from unibeam_nb.machine.options import BootOptions

__all__ = ["Accelerator", "BootOptions", "Console", "Machine", "available", "boot", "clean", "find_machine",
           "known_accelerator", "machines", "obstacle", "prove_accelerator"]
