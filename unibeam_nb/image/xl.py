"""A domain as Xen's ``xl create`` takes it (xl.cfg(5)). Pure: values in, text out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from unibeam_nb.errors import UsageError

KINDS = ("pvh", "pv")
"""How a linux image can be started: in a virtual machine without emulated devices, or with the hypervisor's own calls
instead of privileged instructions, where processors have no virtualisation."""

BRIDGE = "bridge=xenbr0"
"""The network card of a domain whose host follows Xen's own guide."""


def linux(kind: str, kernel: Path, initramfs: Path, words: str) -> tuple[str, ...]:
    """The lines of a domain that is started from a kernel, with ``words`` for its command line."""
    return (f'type = "{kind}"', f"kernel = {quoted(str(kernel))}", f"ramdisk = {quoted(str(initramfs))}",
            f"extra = {quoted(words)}")


def disk(path: Path) -> tuple[str, ...]:
    """The lines of a domain whose firmware boots a disk."""
    # xl's disk syntax has no escape but this: everything behind target= is the path.
    target = f"format=raw, vdev=xvda, access=ro, target={path}"
    return ('type = "hvm"', 'bios = "ovmf"', 'serial = "pty"', f"disk = [ {quoted(target)} ]")


def domain(name: str, lines: Iterable[str], mem_mb: int, vcpus: int, card: str = BRIDGE) -> str:
    """The configuration of a domain: ``lines`` say what is started, ``card`` what its network is plugged into. When the
    guest ends, in whatever way, nothing of it is left."""
    return "\n".join([f"name = {quoted(name)}", *lines, f"memory = {mem_mb}", f"vcpus = {vcpus}",
                      f"vif = [ {_single(card)} ]",
                      *(f'on_{end} = "destroy"' for end in ("poweroff", "reboot", "crash"))]) + "\n"


def _single(value: str) -> str:
    return quoted(value, "'")


def quoted(value: str, with_: str = '"') -> str:
    """A string of xl.cfg(5): in the quotes asked for where it has none of them, else in the other ones; there is no
    escape. Raises UsageError for a string with both."""
    if "\n" in value or ('"' in value and "'" in value):
        raise UsageError(f"An xl configuration cannot hold {value!r}.", "Set UNIBEAM_HOME to a path without quotes.")
    quote = with_ if with_ not in value else "'\"".replace(with_, "")
    return f"{quote}{value}{quote}"
