"""Image -> machine, and what becomes of machines."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unibeam_nb.arms import CLOUDINIT, RESUME, Arm, parse_arm
from unibeam_nb.errors import UsageError
from unibeam_nb.held import remove_tree
from unibeam_nb.lab.builds import Build, Builds
from unibeam_nb.lab.words import parse_env, parse_port
from unibeam_nb.manners import Manners
from unibeam_nb.model import Probe
from unibeam_nb.progress import step
from unibeam_nb.store import Store

if TYPE_CHECKING:
    from unibeam_nb.machine import BootOptions, Machine


@dataclass(frozen=True)
class Machines(Sequence["Machine"]):
    """The machines that run, as a sequence with a table for a face."""

    machines: tuple[Machine, ...]
    store: Store | None = None

    def __len__(self) -> int:
        return len(self.machines)

    def __getitem__(self, index: Any) -> Any:
        return self.machines[index]


def absolute(user_data: str | None) -> str:
    """A file of user data by its whole path, so that it is found again when its machine is cloned; an address as it
    is."""
    if user_data is None or "://" in user_data:
        return user_data or ""
    return str(Path(user_data).expanduser().absolute())


def copied(arm: Arm, options: BootOptions) -> bool:
    """Whether another machine like this one comes from a snapshot: what is alone in its machine can be copied."""
    alone = not (options.shell or options.dhcp or options.channel or options.user_data or options.data
                 or options.manners)
    return (arm.target, arm.runner) == ("linux", "qemu") and RESUME not in arm.extras and alone


class Running(Builds):
    """Machines: boot them, find them, end them."""

    def boot(self, name: str, *, arm: str | None = None, mem_mb: int = 256, vcpus: int = 1,
             accelerator: str = "auto", ports: tuple[str, ...] = (), http: str | None = None,
             until: str | None = None, deadline: float = 120.0, env: tuple[str, ...] = (),
             machine_name: str | None = None, resume: bool = False, dhcp: bool = False,
             channel: bool = False, shell: bool = False, user_data: str | None = None, data: str | None = None,
             guard: int = 0, heart: int = 0, restarts: int = 0, outgoing: bool = False) -> Machine:
        """Boot ``name`` and return the machine when it has reached ``until`` (``http`` where a probe is given).

        With ``resume`` it is not booted but copied from a snapshot, which is taken where there is none yet. With
        ``channel`` it can be talked to (``eval``, ``reload``, ``top``). With ``shell`` an Erlang shell reads what is
        sent to it by :meth:`Machine.write`. ``user_data`` is a file of user data, or the address of some, which
        an image that reads such (``cloudinit``) applies before the release starts. ``data`` is the size of the disk
        that the program's home is on, such as ``64M``, or the file that is this disk; it is made on first use and
        kept. ``guard``, ``heart`` and ``restarts`` say how the program is watched
        (:class:`~unibeam_nb.manners.Manners`). With ``outgoing`` a virtual machine may connect to others, to this
        host's own services too, which it cannot otherwise.
        """
        from unibeam_nb.machine import BootOptions
        from unibeam_nb.machine import boot as boot_machine
        from unibeam_nb.machine.options import SLIRP

        build = self.named(name)
        chosen = parse_arm(arm or "qemu")
        if dhcp and chosen.runner != "qemu":
            raise UsageError(f"{chosen} does not ask the network for an address.", "Leave --dhcp out, or use qemu.")
        if outgoing and chosen.runner not in SLIRP:
            raise UsageError(f"{chosen} has the network of this host.", "Leave --outgoing out, or use qemu.")
        if resume and RESUME not in chosen.extras:
            if chosen.runner != "qemu":
                raise UsageError(f"{chosen} cannot be resumed.", "Only a linux image on qemu can: leave out --on.")
            chosen = Arm.parse("+".join((chosen.target, *chosen.options, RESUME)) + f"@{chosen.runner}")
        if user_data is not None and (chosen.target, chosen.runner) == ("linux", "qemu"):
            chosen = Arm.parse("+".join((chosen.target, *chosen.options, CLOUDINIT)) + f"@{chosen.runner}")
        options = BootOptions(
            mem_mb=mem_mb, vcpus=vcpus, accelerator=accelerator, deadline=deadline,
            ports=tuple(parse_port(port) for port in ports) or None,
            probe=Probe.parse(http, build.release.ports or tuple(parse_port(p)[1] for p in ports)) if http else None,
            until=until or ("http" if http else "app"), env=tuple(parse_env(item) for item in env), dhcp=dhcp,
            channel=channel, shell=shell, user_data=absolute(user_data), manners=Manners(guard, heart, restarts),
            outgoing=outgoing)
        if data is not None:
            options = dataclasses.replace(options, data=self._disk(build, chosen, data, machine_name or name))
        image = self._image(build, chosen.target, chosen.flavour, chosen.extras, chosen.runner)
        with step(f"{'Resuming' if RESUME in chosen.extras else 'Booting'} {name} as {chosen}"):
            return boot_machine(self.store, image, chosen.runner, options, name=machine_name or name)

    def _disk(self, build: Build, arm: Arm, wanted: str, name: str) -> Path:
        """The data disk of a machine, made where there is none."""
        from unibeam_nb.image.tiny import is_tiny
        from unibeam_nb.machine import data

        kernel = build.kernel or ("tiny" if "tiny" in arm.extras else None)
        if arm.runner == "qemu" and kernel is not None and is_tiny(kernel) and "block" not in kernel.split("+"):
            raise UsageError(f"The kernel {kernel} can write to no disk.",
                             f"Build {name} with --kernel {kernel}+block, or boot it on the distribution's kernel.")
        return data.provide(self.store, wanted, name)

    def clone(self, name: str | Machine, *, machine_name: str | None = None) -> Machine:
        """Another machine like the one called ``name``, with the same options on ports of its own: a copy of its
        snapshot where it is a linux machine on qemu, otherwise a boot of the same image."""
        from unibeam_nb.machine import BootOptions
        from unibeam_nb.machine import boot as boot_machine

        record = (self.machine(name) if isinstance(name, str) else name).record
        options = record.options or BootOptions()
        if options.data is not None:
            raise UsageError(f"{record.name} has a data disk, which no other machine can have at the same time.",
                             f"Boot another one: boot {record.image_name} --as NAME --data SIZE")
        arm = Arm.parse(record.arm)
        if copied(arm, options):
            arm = Arm.parse("+".join((arm.target, *arm.options, RESUME)) + f"@{arm.runner}")
        ports = None if options.ports is None else tuple((0, guest) for _, guest in options.ports)
        build = self.named(record.image_name)
        image = self._image(build, arm.target, arm.flavour, arm.extras, arm.runner)
        taken = {machine.name for machine in self.ps() if machine.alive}
        chosen = machine_name or next(f"{record.name}-{n}" for n in range(2, len(taken) + 3)
                                      if f"{record.name}-{n}" not in taken)
        with step(f"{'Resuming' if RESUME in arm.extras else 'Booting'} {chosen} as {arm}"):
            return boot_machine(self.store, image, arm.runner, dataclasses.replace(options, ports=ports), name=chosen)

    def clones(self, name: str | Machine, copies: int, machine_name: str | None = None) -> Machines:
        """So many more machines like the one called ``name`` (:meth:`clone`), of which all are up or none is.

        Raises MachineError, with the number that would fit, where this host has no memory for them.
        """
        from unibeam_nb.lab.copies import booted
        from unibeam_nb.machine import memory

        if machine_name is not None:
            raise UsageError("Several copies cannot have one name.", "Leave out --as, or --copies.")
        source = self.machine(name) if isinstance(name, str) else name
        return Machines(tuple(booted(source.name, copies, lambda: self.clone(source), memory.available)), self.store)

    def ps(self) -> Machines:
        """The machines that run."""
        from unibeam_nb.machine import machines

        return Machines(tuple(machines(self.store)), self.store)

    def machine(self, name: str) -> Machine:
        """A machine by name or by the start of its id."""
        from unibeam_nb.machine import find_machine

        return find_machine(self.store, name)

    def logs(self, name: str, lines: int = 40) -> str:
        """The last lines of a machine's console."""
        return "\n".join(self.machine(name).console.tail(lines))

    def stop(self, name: str | None = None, *, all: bool = False, grace: float | None = None) -> list[str]:
        """Stop one machine, or all of them; returns one line each. A program has ``grace`` seconds to end in good
        order (:meth:`Machine.stop`)."""
        if (name is None) != all:
            raise UsageError("Say which machine to stop.", "Name one that 'ps' lists, or use --all.")
        chosen = list(self.ps()) if all else [self.machine(name or "")]
        for machine in chosen:
            machine.stop(grace=grace)
        return [f"Stopped {machine.name} ({machine.id})." for machine in chosen] or ["Nothing is running."]

    def clean(self, *, cache: bool = False) -> list[str]:
        """Stop and remove everything that runs or was left behind; with ``cache`` also what was built.

        Journals of experiments are never deleted.
        """
        from unibeam_nb.machine import clean

        lines = clean(self.store)
        if cache and self.store.cache.is_dir():
            remove_tree(self.store.cache)
            lines.append(f"Removed the cache {self.store.cache}.")
        return lines or ["Nothing to clean."]
