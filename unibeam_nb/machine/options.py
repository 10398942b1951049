"""What a boot is asked for, and the seat a machine takes: plain data that every runner shares."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from unibeam_nb.arms import Arm
from unibeam_nb.errors import UsageError
from unibeam_nb.machine.door import Door
from unibeam_nb.machine.link import LOOPBACK, link_of
from unibeam_nb.machine.seed import is_url
from unibeam_nb.manners import UNWATCHED, Manners
from unibeam_nb.model import ACCELERATORS, NONCE_VARIABLE, PORT_VARIABLE, Image, Probe
from unibeam_nb.store import Store

SHELL_FLAGS = "-user user -s shell start"
"""Behind everything else on the emulator's command line (erl(1) on ERL_ZFLAGS): the input that ``-noinput`` took away,
and a shell that reads it. It has no terminal and needs none: lines come whole."""

SHELL_RUNNERS = ("qemu", "podman", "crun", "process")
"""The runners that can be asked for a shell."""

INPUT = "console.in"
"""A pipe in the machine's directory that is its program's standard input, where that is no virtual console."""

SLIRP = ("qemu", "uml")
"""The runners whose network is made by a program, which lets out what it is told to."""

UNTIL = ("app", "http")
"""The marks a boot can wait for."""


@dataclass(frozen=True)
class BootOptions:
    """How a machine is booted.

    ``ports`` are pairs (port on 127.0.0.1, or 0 for a free one; port inside the machine); None stands for
    the image's own ports. ``until`` is the mark that ends the boot, ``deadline`` the seconds it may take
    from ``spawn``. ``env`` is added to the program's environment. ``mem_mb`` is in MiB, as QEMU counts.
    With ``dhcp`` a virtual machine asks for its address. With ``channel`` the running program can be talked to
    (guest/unibeam_channel.erl). With ``shell`` the program's standard input is the console, and an Erlang shell reads
    it. ``user_data`` is a file of user data, or the address of some (guest/unibeam_cloud.erl). ``data`` is a disk that
    the program's home is on (machine/data.py). ``manners`` say how a virtual machine watches its program. Without
    ``outgoing`` a virtual machine's network leads nowhere: ports are forwarded in, and nothing gets out.
    Raises UsageError when a value makes no sense.
    """

    mem_mb: int = 256
    vcpus: int = 1
    accelerator: str = "auto"
    ports: tuple[tuple[int, int], ...] | None = None
    probe: Probe | None = None
    until: str = "app"
    deadline: float = 120.0
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # One may be a secret.
    dhcp: bool = False
    channel: bool = False
    shell: bool = False
    user_data: str = ""
    data: Path | None = None
    manners: Manners = UNWATCHED
    outgoing: bool = False

    def __post_init__(self) -> None:
        if self.accelerator not in ACCELERATORS:
            raise UsageError(f"{self.accelerator!r} is not an accelerator.",
                             f"Choose one of {', '.join(ACCELERATORS)}.")
        if self.until not in UNTIL:
            raise UsageError(f"A boot cannot wait for {self.until!r}.", f"Choose one of {', '.join(UNTIL)}.")
        if self.until == "http" and self.probe is None:
            raise UsageError("A boot that waits for http needs a probe.", "Say what to ask for, as in --http 8080/.")
        if self.mem_mb < 1 or self.vcpus < 1 or self.deadline <= 0:
            raise UsageError("Memory, processors and deadline must be positive.",
                             "For example --mem 256 --vcpus 1 --deadline 120.")
        for pair in self.ports or ():
            if not (0 <= pair[0] <= 65535 and 1 <= pair[1] <= 65535):
                raise UsageError(f"{pair[0]}:{pair[1]} is not a pair of ports.",
                                 "Ports go from 1 to 65535; host port 0 means a free one.")
        for key, _ in self.env:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
                raise UsageError(f"{key!r} is not the name of an environment variable.",
                                 "Use letters, digits and underscores.")


@dataclass(frozen=True)
class Snapshot:
    """A virtual machine's RAM in the file ``ram``, and the rest of it in the file ``state``, which is None while the
    snapshot is being taken."""

    ram: Path
    state: Path | None = None


@dataclass(frozen=True)
class Seat:
    """One machine about to start: where it lives, what it runs, and what was settled for it.

    ``ports`` are pairs (host, guest) with no zero left. ``accelerator`` is ``kvm``, ``tcg`` or ``native``.
    ``snapshot`` is what it is resumed from, or becomes. ``door`` is where it can be talked to.
    """

    store: Store
    directory: Path
    id: str
    name: str
    nonce: str
    arm: Arm
    image: Image
    options: BootOptions
    accelerator: str
    ports: tuple[tuple[int, int], ...] = ()
    snapshot: Snapshot | None = None
    door: Door | None = None

    @property
    def address(self) -> str:
        """Where this host finds the machine's ports."""
        return link_of(self.id).guest if self.arm.linked else LOOPBACK

    @property
    def forwarded(self) -> tuple[tuple[int, int], ...]:
        """The ports that a machine with a network of its own is reached by: its program's, and its channel's."""
        return self.ports if self.door is None else (*self.ports, (self.door.host, self.door.guest))

    @property
    def outgoing(self) -> bool:
        """Whether a virtual machine may connect to others: it was asked for, or its user data lie elsewhere."""
        return self.options.outgoing or is_url(self.options.user_data)

    @property
    def told(self) -> tuple[str, ...]:
        """What a machine's PID 1 is told besides."""
        return (*(("unibeam.data",) if self.options.data else ()), *self.options.manners.words())

    @property
    def private(self) -> dict[str, str]:
        """What a program on this host is told besides, and what must not stand on a command line."""
        return {} if self.door is None else self.door.environment(self.arm.own_network)

    @property
    def given(self) -> dict[str, str]:
        """All that a program on this host finds in its environment besides what its image says."""
        return self.variables | self.private | {NONCE_VARIABLE: self.nonce}

    @property
    def fixed(self) -> dict[str, str]:
        """What the image says of its program's environment, as far as this boot does not say otherwise."""
        return {key: value for key, value in self.image.launch.env().items() if key not in self.given}

    @property
    def variables(self) -> dict[str, str]:
        """What this boot adds to the program's environment: the usual, and the user's own."""
        return self.usual | dict(self.options.env)

    @property
    def usual(self) -> dict[str, str]:
        """What a boot adds to the program's environment without being asked: schedulers and ``PORT``.

        The emulator gets as many schedulers as there are processors in ``options``, in every runner alike: a
        container that loads its code on all of the host's processors would be compared with a machine of one.
        ``ERL_AFLAGS`` comes before the release's own flags (erl(1)), which may say otherwise.

        ``PORT`` is the number the program itself binds: the machine's where it has a network of its own, else
        the host's.
        """
        count = self.options.vcpus
        flags = f"+S {count}:{count} +SDcpu {count}:{count}"
        if self.snapshot is not None:
            # Erlang's clock stays unsettled until the copy knows the time (the ERTS User's Guide on time warp modes).
            flags += " +C single_time_warp"
        schedulers = {"ERL_AFLAGS": flags}
        if self.options.shell:
            schedulers["ERL_ZFLAGS"] = SHELL_FLAGS
        port = self.ports[:1]
        shown = {PORT_VARIABLE: str(port[0][1] if self.arm.own_network else port[0][0])} if port else {}
        return schedulers | shown


@dataclass(frozen=True)
class Start:
    """One command line that becomes a machine. Its output goes to the file ``output`` in the machine's directory.
    ``passes`` are file descriptors that it inherits, and that whoever starts it closes. ``piped`` says that the
    output gets to its file through a pipe, ``fed`` that its input is a pipe that never ends."""

    argv: tuple[str, ...]
    output: str
    env: tuple[tuple[str, str], ...] = ()
    clean_env: bool = False
    cwd: Path | None = None
    passes: tuple[int, ...] = ()
    piped: bool = False
    fed: bool = False
