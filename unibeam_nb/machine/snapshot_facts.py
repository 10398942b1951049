"""What a snapshot belongs to, when it is refused, and what its copies are told. Pure: values in, words out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.machine.options import Seat
from unibeam_nb.machine.qemu_arguments import Guest, arguments, kernel_command_line
from unibeam_nb.units import format_bytes

FORMAT = 2
"""Of the manifest, and of what guest and host say to each other."""


@dataclass(frozen=True)
class Facts:
    """Everything that must be the same where a snapshot is taken and where it is used.

    ``image`` is the image's sha256; ``qemu`` the version and the sha256 of the program; ``cpu`` the host's
    processor; ``words`` the rest of QEMU's command line and the kernel's, but for what differs between two copies;
    ``ready`` the mark or the answer after which the snapshot is taken.
    """

    image: str
    qemu: str
    cpu: str
    accelerator: str
    words: tuple[str, ...]
    ready: str
    format: int = FORMAT


_NAMES = {"image": "another image", "qemu": "another QEMU", "cpu": "another processor",
          "accelerator": "another accelerator", "words": "another virtual machine", "ready": "another instant",
          "format": "another version of unibeam"}


@dataclass(frozen=True)
class Content:
    """A file of a snapshot: its bytes, their sha256, and what its inode said when that was taken.

    ``stamp`` is inode number, time of last modification and time of last change (stat(2), nanoseconds). The last is
    set by the kernel at every write and every change of the inode, and cannot be set by a program.
    """

    bytes: int
    sha256: str
    stamp: tuple[int, int, int]


@dataclass(frozen=True)
class Manifest:
    """A snapshot as it was when it was taken."""

    facts: Facts
    ram: Content
    state: Content


def facts_of(seat: Seat, qemu: str, cpu: str) -> Facts:
    """The facts of a machine that is about to be resumed, or snapshotted."""
    options = seat.options
    disk = "root" in dict(seat.image.files)
    guest = Guest(Path("kernel"), None if disk else Path("initramfs"), "", seat.accelerator, options.mem_mb,
                  options.vcpus, tuple((0, port) for _, port in seat.forwarded), tuple(seat.variables.items()),
                  seat.image.platform, snapshot="resumed", dhcp=options.dhcp,
                  channel=seat.door.guest if seat.door else None, root=Path("root") if disk else None,
                  outgoing=seat.outgoing)
    ready = str(options.probe) if options.until == "http" else "app"
    words = (*arguments(guest), kernel_command_line(guest))
    return Facts(seat.image.sha256, qemu, cpu, seat.accelerator, words, ready)


def refusal(taken: Facts, here: Facts) -> str | None:
    """Why a snapshot taken under ``taken`` cannot be used ``here``, as the end of a sentence; None where it can."""
    for field, name in _NAMES.items():
        then, now = getattr(taken, field), getattr(here, field)
        if then != now:
            if isinstance(then, tuple):
                then, now = (" ".join(word for word in one if word not in other) for one, other in
                             ((then, now), (now, then)))
            return f"it was taken with {name}: {then or 'nothing'} instead of {now or 'nothing'}"
    return None


def damage(name: str, expected: Content, size: int, sha256: str | None) -> str | None:
    """What is wrong with a file of ``size`` bytes and that sha256 (None: not known), as the end of a sentence."""
    if size != expected.bytes:
        return f"its file {name} has {format_bytes(size)} instead of {format_bytes(expected.bytes)}"
    if sha256 is not None and sha256 != expected.sha256:
        return f"its file {name} was changed: its sha256 is {sha256[:12]} instead of {expected.sha256[:12]}"
    return None


def order(nonce: str, hostname: str, nanoseconds: int, seed: bytes, secret: str = "") -> bytes:
    """The line that tells a copy who it is: its nonce, its host name, the time (since 1970), 32 random bytes,
    and the secret of its channel, where it has one."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"resume {nonce} {seconds} {rest} {hostname} {seed.hex()}{f' {secret}' if secret else ''}\n".encode("ascii")
