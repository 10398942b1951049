"""What this host can do, why not, and the exact command that gets the rest.

Nothing here is guessed: a program counts when it is found and tells its version, a device when it opens, the
accelerator when a guest has booted with it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unibeam_nb import tools
from unibeam_nb.arms import ONLY_ON, RESTORE
from unibeam_nb.errors import UnibeamError
from unibeam_nb.progress import step
from unibeam_nb.store import Store
from unibeam_nb.units import format_bytes

if TYPE_CHECKING:
    from unibeam_nb.machine import Accelerator

State = Literal["works", "limited", "missing"]

LEAST_DISK = 2_000_000_000
"""Free bytes below which builds may fail: a slim image with its base takes about half a gigabyte at its peak."""

LEAST_MEMORY = 700_000_000
"""Available bytes below which a guest of the default 256 MB and the build tools do not fit side by side."""


@dataclass(frozen=True)
class Capability:
    """One thing a host can or cannot do.

    ``detail`` is the version or figure where it works, and why where it does not; ``install`` is the exact
    command that mends it, empty where there is none or nothing to mend.
    """

    name: str
    state: State
    detail: str
    install: str = ""

    @property
    def works(self) -> bool:
        return self.state != "missing"


@dataclass(frozen=True)
class Diagnosis:
    """Every capability, in the order of the way from source to chart."""

    capabilities: tuple[Capability, ...]

    @property
    def missing(self) -> tuple[Capability, ...]:
        return tuple(c for c in self.capabilities if not c.works)

    def __getitem__(self, name: str) -> Capability:
        return next(c for c in self.capabilities if c.name == name)

    def __repr__(self) -> str:
        working = len(self.capabilities) - len(self.missing)
        lacking = "".join(("; missing: ", ", ".join(c.name for c in self.missing))) if self.missing else ""
        return f"<Diagnosis: {working} of {len(self.capabilities)} work{lacking}>"


PROGRAMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Erlang cells", ("erl", "erlc")),
    ("Elixir cells", ("elixirc",)),
    ("rebar3 projects", ("rebar3",)),
    ("mix projects", ("mix",)),
    ("PID 1 of linux images", ("musl-gcc",)),
    ("linux images", ("apt-get", "dpkg-deb", "depmod")),
    ("tiny kernels", ("make", "gcc", "ld", "flex", "bison", "bc", "xz", "lz4")),
    ("QEMU", ("qemu-system-x86_64",)),
    ("uml", ("linux.uml", "slirp4netns")),
    ("xen", ("xl",)),
    ("firecracker", ("firecracker", "ip")),
    ("podman", ("podman", "crun")),
    ("docker", ("docker",)),
    ("crun", ("crun",)),
    ("runc", ("runc",)),
    ("runsc", ("runsc",)),
    ("slim and full oci images", ("mmdebstrap",)),
    ("lean emulators", ("make", "musl-gcc", "perl", "dpkg-source")),
)
"""Capabilities that are programs: each name with the programs that it takes."""


RESTORERS = ONLY_ON[RESTORE]
"""The runtimes that can restore a container."""


def diagnose(store: Store, *, prove: bool = False) -> Diagnosis:
    """Look at this host. With ``prove`` the accelerator is proved by a tiny guest, else told as it was last proved."""
    rows = []
    for name, commands in PROGRAMS:
        with step(f"Looking at {name}"):
            rows.append(of_runner(name, of_programs(name, commands)))
    with step("Looking at restored containers"):
        rows.append(of_restore(store))
    accelerator = of_accelerator(store, prove)
    return Diagnosis((*rows, of_kvm(accelerator), accelerator, of_inotify(), of_disk(store), of_memory()))


def of_programs(name: str, commands: tuple[str, ...]) -> Capability:
    """A capability that takes programs: the first one's version, or which are missing and how to install them."""
    absent = [command for command in commands if tools.locate(command) is None]
    if absent:
        verb = "is" if len(absent) == 1 else "are"
        return Capability(name, "missing", f"{' and '.join(absent)} {verb} not on this host",
                          tools.install_command(*absent))
    try:
        version = tools.version(commands[0])
    except (UnibeamError, OSError) as error:
        return Capability(name, "missing", f"{commands[0]} is here but does not run: {_sentence(error)}",
                          _reinstall(commands[0]))
    if version == "unknown":
        return Capability(name, "limited", f"{commands[0]} does not tell its version, so it may be broken",
                          _reinstall(commands[0]))
    return Capability(name, "works", f"{commands[0]} {version}")


def of_runner(name: str, programs: Capability) -> Capability:
    """The capability ``programs`` where it takes more than programs: docker's daemon (one that runs, or root to
    start one), a host that Xen or Firecracker can start machines on."""
    from unibeam_nb.machine import dockerd
    from unibeam_nb.machine.available import OBSTACLES

    if name in OBSTACLES and (found := OBSTACLES[name]()) is not None:
        return Capability(name, "missing", _told(found.why), found.install or found.hint.rstrip("."))
    why = dockerd.obstacle() if name == "docker" and programs.works else None
    if why is None:
        return programs
    reason, _, install = why.partition(": ")
    return Capability(name, "missing", _told(reason), install)


def _told(sentence: str) -> str:
    """A sentence as a row's detail."""
    return sentence[0].lower() + sentence[1:].rstrip(".")


def of_restore(store: Store) -> Capability:
    """Containers restored by CRIU (``+restore``): proved by keeping and restoring a process, once per host boot."""
    from unibeam_nb.machine import criu

    name = "restored containers"
    found = of_programs(name, ("criu",))
    if found.state == "missing":
        return found
    runtimes = [runtime for runtime in RESTORERS if tools.locate(runtime)]
    reasons = {runtime: criu.obstacle(store, runtime) for runtime in runtimes}
    working = [runtime for runtime, why in reasons.items() if why is None]
    if working:
        return Capability(name, "works", f"{found.detail}, under {' and '.join(working)}")
    why = next((why for why in reversed(reasons.values()) if why), "neither runc nor crun is on this host")
    return Capability(name, "missing", why.rstrip("."))


def _reinstall(command: str) -> str:
    return tools.install_command(command).replace("--no-install-recommends", "--reinstall")


def _sentence(error: Exception) -> str:
    return error.message.rstrip(".") if isinstance(error, UnibeamError) else str(error)


def of_kvm(accelerator: Capability, device: Path = Path("/dev/kvm")) -> Capability:
    """The device: whether it opens, and whether it has been seen to run a guest, which opening does not tell."""
    name = "/dev/kvm"
    if not device.exists():
        return Capability(name, "limited", "not on this host; guests run under tcg, several times slower")
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        return Capability(name, "limited", "there, but you may not open it", "sudo usermod -aG kvm $USER")
    except OSError as error:
        return Capability(name, "limited", f"there, but does not open: {error.strerror}")
    if accelerator.detail.startswith("tcg"):
        return Capability(name, "limited", "opens, but does not run a guest")
    if accelerator.state == "works":
        return Capability(name, "works", "opens and runs a guest")
    return Capability(name, "limited", "opens, which does not yet mean that a guest runs")


def of_accelerator(store: Store, prove: bool) -> Capability:
    """The accelerator as a tiny guest has proved it, now or earlier."""
    from unibeam_nb import machine

    name = "accelerator"
    prover = "unibeam doctor --prove"
    found: Accelerator | None
    try:
        found = machine.prove_accelerator(store) if prove else machine.known_accelerator(store)
    except UnibeamError as error:
        return Capability(name, "missing", _sentence(error), error.hint or "")
    if found is None:
        return Capability(name, "limited", "not proved on this host since it started", prover)
    state: State = "works" if found.name == "kvm" else "limited"
    return Capability(name, state, f"{found.name}: {found.reason.rstrip('.')}")


def of_inotify() -> Capability:
    """Whether consoles can be followed as they grow."""
    from inotify_simple import INotify

    try:
        INotify().close()
    except OSError as error:
        return Capability("inotify", "missing", f"no instance to be had: {error.strerror}",
                          "sudo sysctl fs.inotify.max_user_instances=512")
    return Capability("inotify", "works", "consoles are followed as they grow")


def of_disk(store: Store) -> Capability:
    """Free space where images are made."""
    place = next(path for path in (store.cache, *store.cache.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < LEAST_DISK:
        return Capability("disk space", "limited", f"{format_bytes(free)} free at {place}; images want "
                          f"{format_bytes(LEAST_DISK)}", "unibeam clean --cache")
    return Capability("disk space", "works", f"{format_bytes(free)} free at {place}")


def of_memory() -> Capability:
    """Memory that is free to use."""
    import psutil

    available = psutil.virtual_memory().available
    state: State = "works" if available >= LEAST_MEMORY else "limited"
    return Capability("memory", state, f"{format_bytes(available)} available"
                      + ("" if state == "works" else f"; {format_bytes(LEAST_MEMORY)} is comfortable"))
