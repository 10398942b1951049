"""The nouns of unibeam: frozen, dumb, and the same for every module.

    Release -> Image -> Mark, Memory (of a machine) -> Sample

Bytes are bytes, times are seconds, unless a name says otherwise (``_ns``, ``mem_mb``). Nothing here
touches the world; :func:`to_json` and :func:`from_json` carry these values to and from JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from unibeam_nb.arms import RESUME
from unibeam_nb.errors import UsageError
from unibeam_nb.units import format_bytes

MARKS = ("spawn", "vmm", "kernel", "init", "beam", "app", "resume", "http", "exit")
"""The named instants of a boot, in the order in which they happen; ``resume`` is never one of a boot, and ``kernel``
to ``app`` never one of a resumed machine."""

ASKS = "asks"
"""Not an instant of a boot but a question: PID 1 of a machine with a channel wants to know its secret."""

AGAIN, FALLBACK = "again", "fallback"
"""No instants of a boot either, but what PID 1 did since: it started the program again; it turned to the other release
(guest/watch.c, guest/program.c)."""

READY = ("app", RESUME)
"""The marks after which a machine should answer: every application is started, or runs on."""

ICOUNT = "icount"
"""The accelerator that is emulation by the count of instructions: the guest's clock counts them, a nanosecond each, and
leaps where it would wait. It tells what a boot costs, whatever else the host does."""

ACCELERATORS = ("auto", "kvm", "tcg", ICOUNT)
"""What can be asked for; ``auto`` proves ``kvm`` and else takes ``tcg``."""

IMAGE_ROOT = "/opt/release"
"""Where the release lives inside every image."""

IMAGE_STATE = "/var/lib/unibeam"
"""The directory inside every image that the program may write to: its home and working directory."""

NONCE_VARIABLE = "UNIBEAM_NONCE"
"""The environment variable that tells the guest agent this boot's nonce; the agent unsets it at once."""

PORT_VARIABLE = "PORT"
"""The environment variable that tells the program which port to serve (its first declared one)."""


@dataclass(frozen=True)
class Application:
    """One OTP application in a release."""

    name: str
    version: str
    modules: int
    bytes: int


@dataclass(frozen=True)
class Finding:
    """Something in a release that the user should know before it runs without a whole system around it.

    ``kind`` is one of ``port``, ``nif``, ``os-cmd``, ``lookup``, ``disk``, ``distribution``, ``executable``, ``note``;
    ``where`` is a module, an application or a path inside the release.
    """

    kind: str
    where: str
    message: str


@dataclass(frozen=True)
class LeftOut:
    """Something that shaking left out of a release: ``kind`` is ``application`` (all its modules), ``module``,
    ``functions`` (some of those of the module ``name``) or ``library``; ``why`` says it in words."""

    kind: str
    name: str
    bytes: int
    why: str


@dataclass(frozen=True)
class Locked:
    """A package that a project's lock file names for its application ``name``: ``kind`` is ``hex``, where ``package``
    is its name there, or ``git``, where it is the repository's address and ``version`` the commit. ``sha256`` is that
    of the package as it is fetched, empty where the lock file does not tell."""

    name: str
    kind: str
    package: str
    version: str
    sha256: str = ""


@dataclass(frozen=True)
class Launch:
    """How the release's emulator is started, the same in every arm: no shell, straight into ``erlexec``.

    In ``arguments`` and ``environment``, ``{root}`` stands for the release's root directory and ``{state}``
    for a directory the program may write to (its home and working directory); both differ between a guest
    and the bare host. ``emulator_flags`` (``+S 1:1``) come first on the command line.
    """

    erts: str
    emulator_flags: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    def argv(self, root: str = IMAGE_ROOT, state: str = IMAGE_STATE) -> tuple[str, ...]:
        """The command line for a release that lives at ``root`` and writes to ``state``."""
        words = (f"{{root}}/{self.erts}/bin/erlexec", *self.emulator_flags, *self.arguments)
        return tuple(word.replace("{root}", root).replace("{state}", state) for word in words)

    def env(self, root: str = IMAGE_ROOT, state: str = IMAGE_STATE) -> dict[str, str]:
        """The whole environment for that release, but for the nonce and ``PORT``, which a boot adds."""
        binaries = f"{{root}}/{self.erts}/bin"
        base = {"ROOTDIR": "{root}", "BINDIR": binaries, "EMU": "beam", "PROGNAME": "erl", "HOME": "{state}",
                "LANG": "C.UTF-8", "PATH": f"{binaries}:/usr/bin:/bin"} | dict(self.environment)
        return {key: value.replace("{root}", root).replace("{state}", state) for key, value in base.items()}


@dataclass(frozen=True)
class Release:
    """A self-contained OTP release on disk, with ERTS, and what is known about it.

    ``path`` is the release's root (it holds ``erts-*``, ``lib``, ``releases``); ``key`` identifies the
    inputs it was made from, ``sha256`` its contents. ``ports`` are the TCP ports it serves. ``origin`` is the
    sha256 of the release it was made from, where it is that release on another emulator or shaken. ``left_out`` is
    what shaking took; None where nothing was shaken. ``locked`` are the packages that its project's lock file names.
    """

    name: str
    version: str
    path: Path
    key: str
    sha256: str
    otp: str
    erts: str
    source: str
    applications: tuple[Application, ...]
    launch: Launch
    ports: tuple[int, ...] = ()
    findings: tuple[Finding, ...] = ()
    cached: bool = False
    origin: str = ""
    left_out: tuple[LeftOut, ...] | None = None
    locked: tuple[Locked, ...] = ()

    def __repr__(self) -> str:
        return (f"<Release {self.name} {self.version}: OTP {self.otp}, {len(self.applications)} applications, "
                f"{format_bytes(sum(a.bytes for a in self.applications))}>")


@dataclass(frozen=True)
class Part:
    """One part of an image: ``linux kernel``, ``init``, ``kernel modules``, ``libraries``, ``erts``, ``base``,
    ``configuration`` or an application's name. ``bytes`` is its unpacked size."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Image:
    """The artefact of one release for one target, content-addressed.

    ``path`` is its directory; ``key`` identifies its inputs, ``sha256`` its bytes. ``shipped_bytes`` is
    what would travel over a network (compressed); ``unpacked_bytes`` what it is when it runs.
    ``files`` names the artefacts inside ``path`` (``kernel`` with ``initramfs`` or ``root``; ``layout``, ``rootfs``).
    ``origin`` is the release's own (:class:`Release`): images of equal origin do the same work.
    ``platform`` is the virtual machine its kernel is for, ``pci``, ``mmio`` or ``uml``; ``processors`` how many of
    those it can use, None for any number. ``left_out`` names the modules that lack functions, or are not there, because
    the release was shaken.
    """

    name: str
    target: str
    flavour: str
    path: Path
    key: str
    sha256: str
    release_sha256: str
    shipped_bytes: int
    unpacked_bytes: int
    parts: tuple[Part, ...]
    files: tuple[tuple[str, str], ...]
    launch: Launch
    ports: tuple[int, ...] = ()
    kernel: str = ""
    tools: tuple[tuple[str, str], ...] = ()
    cached: bool = False
    options: tuple[str, ...] = ()
    origin: str = ""
    platform: str = "pci"
    processors: int | None = None
    left_out: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The image's half of an arm: target, flavour, options, as in ``oci+slim``."""
        return "+".join(filter(None, (self.target, self.flavour, *self.options)))

    def file(self, name: str) -> Path:
        """The path of the artefact called ``name``."""
        return self.path / dict(self.files)[name]

    def artefact(self, name: str) -> Path | None:
        """The path of the artefact called ``name``, or None where the image has none."""
        return self.file(name) if name in dict(self.files) else None

    def __repr__(self) -> str:
        return (f"<Image {self.name} {self.kind}: {format_bytes(self.shipped_bytes)} shipped, "
                f"{format_bytes(self.unpacked_bytes)} unpacked, sha256 {self.sha256[:12]}>")


@dataclass(frozen=True)
class Mark:
    """A named instant of a boot.

    ``at`` is seconds since the runner's process was spawned, on the host's monotonic clock, taken when the
    console line arrived. ``guest`` is the machine's own monotonic clock in seconds, where it sent one
    (seconds since the kernel started, in a virtual machine).
    """

    name: str
    at: float
    guest: float | None = None


@dataclass(frozen=True)
class Memory:
    """Memory of a running machine in bytes, split as a comparison needs it.

    ``payload`` is what the program occupies: guest RAM touched (PSS of the RAM mapping) for a virtual
    machine, PSS of the program's processes otherwise. ``overhead`` is what runs it: the rest of the VMM,
    or the container runtime's processes. ``beam`` is ``erlang:memory(total)`` as the program reports it
    when it is ready.
    """

    payload: int
    overhead: int
    beam: int | None = None

    @property
    def total(self) -> int:
        return self.payload + self.overhead

    def __str__(self) -> str:
        beam = "" if self.beam is None else f"; the BEAM itself counts {format_bytes(self.beam)}"
        return f"{format_bytes(self.payload)} payload + {format_bytes(self.overhead)} overhead{beam}"


@dataclass(frozen=True)
class Probe:
    """What counts as the first good answer: ``GET scheme://127.0.0.1:PORT path`` with a status below 400.

    ``port`` is the port inside the machine; ``scheme`` is ``http``, ``https`` (certificate not verified)
    or ``tcp`` (a connection that stays open counts).
    """

    port: int
    scheme: str = "http"
    path: str = "/"

    @classmethod
    def parse(cls, text: str, ports: Sequence[int] = ()) -> Probe:
        """Read ``/``, ``8080/path``, ``https:8443/`` or ``tcp:5672``; without a port, the first of ``ports``."""
        found = re.fullmatch(r"(?:(https?|tcp):)?(\d{1,5})?(/.*)?", text)
        if not found or not text:
            raise UsageError(f"{text!r} does not say what to ask for.",
                             "Write a path (/), 8080/path, https:8443/ or tcp:5672.")
        port = int(found[2]) if found[2] else next(iter(ports), 0)
        if not 0 < port < 65536:
            raise UsageError("It is not known which port to ask.",
                             "Build with --port 8080, or write 8080/ instead of /.")
        return cls(port, found[1] or "http", found[3] or "/")

    @classmethod
    def usual(cls, port: int) -> Probe:
        """What a client would ask a service on this port, where nothing else was said (IANA's port registry)."""
        schemes = {443: "https", 8443: "https", 1883: "tcp", 5671: "tcp", 5672: "tcp", 8883: "tcp"}
        return cls(port, schemes.get(port, "http"))

    def __str__(self) -> str:
        return f"{self.scheme}:{self.port}{'' if self.scheme == 'tcp' else self.path}"


KINDS = ("boot", "steady", "density", "minimum")
"""What a sample measures: a boot; answers under load; several copies at once; the least memory that will do."""

TRY = "minimum-try"
"""The kind of a boot that a search for the least memory made on its way: ``limit_bytes`` is what it was given,
``reached_count`` 1 where it reached its mark and else 0. It is ``ok`` either way; ``error`` says what stopped it."""


def case_name(arm: str, factors: Iterable[tuple[str, str]] = ()) -> str:
    """What an arm under its factors is called: ``linux@qemu``, or ``linux@qemu mem_mb=128 vcpus=2``."""
    return _case_name(arm, tuple(factors))


@lru_cache(maxsize=4096)
def _case_name(arm: str, factors: tuple[tuple[str, str], ...]) -> str:
    return " ".join((arm, *(f"{key}={value}" for key, value in sorted(factors))))


@dataclass(frozen=True)
class Sample:
    """One measurement of one arm in one block, as it is written to the journal.

    ``marks`` maps mark names to seconds since ``spawn``; ``memory`` is None where the boot failed.
    ``warmup`` samples are kept and never enter a statistic. ``host`` is the fingerprint's short id, whose
    full text stands in the journal's header. ``order`` counts boots over the whole experiment from 0.
    ``arm`` is the arm's label where the plan gave it one. ``kind`` is what was measured (:data:`KINDS`). ``factors``
    holds what the plan varies besides the arm (``{"mem_mb": "128"}``). ``values`` are further measured numbers; their
    names end in their unit (``_bytes``, ``_s``, ``_per_s``, ``_ratio``, ``_count``).
    """

    arm: str
    block: int
    order: int
    warmup: bool
    ok: bool
    started: str
    marks: dict[str, float] = field(default_factory=dict)
    memory: Memory | None = None
    shipped_bytes: int = 0
    unpacked_bytes: int = 0
    parts: tuple[Part, ...] = ()
    image_sha256: str = ""
    release_sha256: str = ""
    accelerator: str = ""
    mem_mb: int | None = None
    vcpus: int = 1
    host: str = ""
    error: str = ""
    load1: float = 0.0
    kind: str = "boot"
    factors: dict[str, str] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)

    @property
    def case(self) -> str:
        """The one thing among those compared that it belongs to (:func:`case_name`)."""
        return case_name(self.arm, self.factors.items()) if self.factors else self.arm


MARK_LINE = re.compile(r"@unibeam ([0-9a-f]{16}) ([a-z]+)(?: (\d{1,19})(?!\d))?((?: [a-z_]+=[^ \r\n]+)*)")
"""How a mark looks on a console: nonce, name, the machine's monotonic clock in nanoseconds, and ``key=value``
pairs (``exit`` carries ``code=``, ``app`` carries ``memory=``). It may follow other text on its line."""
