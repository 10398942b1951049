"""Runner ``xen``: a linux image as a domain of the Xen hypervisor that this host runs on, by ``xl``.

The process that stands for the machine is ``xl create -F -c``, which shows the console and ends with the domain.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.arms import PV
from unibeam_nb.errors import MachineError, UsageError
from unibeam_nb.machine import memory, proc
from unibeam_nb.machine.link import link_of
from unibeam_nb.machine.options import Seat, Start
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.qemu_arguments import CONSOLE
from unibeam_nb.machine.registry import Record
from unibeam_nb.machine.ways import container_name
from unibeam_nb.machine.xen_arguments import CONFIGURATION, PLUG, Guest, configuration, create, memory_mb, script
from unibeam_nb.store import Store, write_atomically

PROGRAM = "xl"


def prepare(seat: Seat) -> Start:
    """The configuration of this machine, and the command that starts it."""
    image, options = seat.image, seat.options
    program = tools.find(PROGRAM)
    if PV not in seat.arm.options:
        _refuse_without_virtualisation(program)
    plug, place = seat.directory / PLUG, seat.directory / CONFIGURATION
    initramfs = image.artefact("initramfs")
    if initramfs is None:
        raise UsageError(f"The root of {image.name} is on a disk, and machines on Xen have none.",
                         "Boot it with its root in memory: --on linux+initramfs@xen.")
    link = link_of(seat.id)
    guest = Guest(container_name(seat.id), image.file("kernel"), initramfs, seat.nonce, link, plug, seat.arm.options,
                  options.mem_mb, options.vcpus, tuple(seat.variables.items()), seat.door.guest if seat.door else None)
    write_atomically(place, configuration(guest))
    write_atomically(plug, script(link))
    plug.chmod(0o700)
    return Start(create(program, place), CONSOLE)


def _refuse_without_virtualisation(program: Path) -> None:
    told = process.run([program, "info", "virt_caps"], check=False)
    if told.code == 0 and not re.search(r"\bhvm\b", told.stdout):
        raise MachineError("This Xen host cannot run PVH machines: its processors have no virtualisation.",
                           f"Boot it as a PV machine: --on linux+{PV}@xen.")


def started(seat: Seat, alive: Callable[[], bool]) -> float | None:
    """The guest runs as soon as xl has made its domain; when that was cannot be seen from here."""
    return None


def terminal(seat: Seat) -> Path:
    """The terminal of this host that is the console of a domain: what is written there is its input. xl's own console
    hears nobody but a terminal (``xenconsole``, which takes no input where its own is none). Raises MachineError."""
    program, reader = tools.find(PROGRAM), tools.find("xenstore-read")
    number = process.run([program, "domid", container_name(seat.id)], check=False).stdout.strip()
    path = process.run([reader, f"/local/domain/{number}/console/tty"], check=False).stdout.strip()
    if not path.startswith("/dev/"):
        raise MachineError(f"Xen does not tell which terminal is the console of {seat.name}.", "Boot it again.")
    return Path(path)


def payload(record: Record, directory: Path) -> list[ProcessId]:
    """The program's own processes are inside: none on the host."""
    return []


def runtime(record: Record, directory: Path) -> list[ProcessId]:
    """xl and its console. The domain itself is no process of this host."""
    return [record.process, *proc.descendants(record.process)] if record.process else []


def measure(record: Record, directory: Path) -> tuple[int, int]:
    """Bytes of the domain, all of which Xen has set aside for it, and bytes of xl and its console."""
    listed = process.run([tools.find(PROGRAM), "list"], check=False).stdout
    return memory_mb(listed, container_name(record.id)) << 20, memory.pss(runtime(record, directory))


def ask(record: Record) -> None:
    """Ask the domain's kernel to end, which asks PID 1 (guest/init.c). Raises MachineError where xl cannot."""
    program = tools.locate(PROGRAM)
    if program is None or process.run([program, "shutdown", container_name(record.id)], check=False, timeout=30).code:
        raise MachineError(f"xl cannot ask {record.name} to stop.", "It can be ended all the same: --grace 0.")


def halt(store: Store, record: Record, directory: Path, reap: Callable[[], object]) -> bool:
    """End the domain where it has not ended by itself; xl ends with it. Returns whether both are gone."""
    known = runtime(record, directory)
    if (program := tools.locate(PROGRAM)) is not None:
        process.run([program, "destroy", container_name(record.id)], check=False, timeout=30)
    return proc.wait(known, 2.0, reap) or proc.end(known, reap=reap)
