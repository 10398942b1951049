"""Which accelerator works, proved by booting Linux with it.

``/dev/kvm`` may exist, open, and create virtual machines, and still not run an ordinary guest (hosts that are
virtual machines themselves). So ``kvm`` counts only after a kernel with a tiny initramfs came as far as PID 1 with
it, on the same machine type and processor that real machines get. The answer holds for one boot of the host.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from unibeam_nb import process, tools
from unibeam_nb.errors import MachineError, UnibeamError, UsageError
from unibeam_nb.jsonable import from_json, loads, to_json
from unibeam_nb.machine import proc, qmp, tiny
from unibeam_nb.machine.console import Follower, plain
from unibeam_nb.machine.diagnose import lines_of
from unibeam_nb.machine.marks import MarkReader, new_nonce
from unibeam_nb.machine.qemu_arguments import CONSOLE, MACHINES, PROGRAM, Guest, arguments, kernel_command_line
from unibeam_nb.model import ACCELERATORS, ICOUNT
from unibeam_nb.progress import checkpoint, note, step
from unibeam_nb.store import Store, write_atomically

DEVICE = Path("/dev/kvm")

PATIENCE = 8.0
"""Seconds in which the tiny guest must reach PID 1; with a working KVM it takes half a second."""

MEMORY_MB = 128


@dataclass(frozen=True)
class Accelerator:
    """What virtual machines run on: ``kvm`` or ``tcg``, and in one sentence why."""

    name: str
    reason: str


def prove_accelerator(store: Store, wanted: str = "auto", kernel: Path | None = None,
                      platform: str = "pci") -> Accelerator:
    """The accelerator to use for ``wanted``: ``auto``, ``kvm`` or ``tcg``.

    On the platform ``pci`` the proof boots the distribution's kernel, or ``kernel`` (a bzImage) where that cannot be
    had; on ``mmio`` it boots ``kernel``. It is made once per boot of the host and platform, and leaves a note when it
    ends in ``tcg``.
    Raises MachineError when ``kvm`` is demanded and not proved, ToolMissing without QEMU.
    """
    if wanted not in ACCELERATORS:
        raise UsageError(f"{wanted!r} is not an accelerator.", f"Choose one of {', '.join(ACCELERATORS)}.")
    tools.find(PROGRAM)
    if wanted in ("tcg", ICOUNT):
        return Accelerator(wanted, "Emulation was asked for.")
    path = _file(store, platform)
    with FileLock(f"{path}.lock"):
        found = _remembered(path, platform)
        if found is None:
            found = _prove(store, kernel, platform)
            write_atomically(path, json.dumps({"identity": _identity(platform), "accelerator": to_json(found)}))
            if found.name == "tcg" and wanted == "auto":
                note(f"KVM does not work here, so virtual machines are emulated (tcg), which is slower: {found.reason}")
    if wanted == "kvm" and found.name != "kvm":
        raise MachineError(f"KVM does not work on this host: {found.reason}",
                           "Leave out --accel kvm, or use --accel tcg: emulation always works.")
    return found


def known_accelerator(store: Store) -> Accelerator | None:
    """The accelerator as it was proved since the host booted; None where that has not happened.
    Raises ToolMissing without QEMU."""
    tools.find(PROGRAM)
    return _remembered(_file(store, "pci"), "pci")


def _file(store: Store, platform: str) -> Path:
    return store.directory("hosts") / ("accelerator.json" if platform == "pci" else f"accelerator-{platform}.json")


def _identity(platform: str) -> list[object]:
    """What the answer depends on: this boot, this user's rights, this QEMU, this machine type."""
    device = DEVICE.stat() if DEVICE.exists() else None
    return [proc.boot_id(), os.geteuid(), os.access(DEVICE, os.R_OK | os.W_OK), device is not None,
            tools.find(PROGRAM).stat().st_mtime_ns, MACHINES[platform]]


def _remembered(path: Path, platform: str) -> Accelerator | None:
    try:
        data = loads(path.read_text(encoding="utf-8"))
        return from_json(Accelerator, data["accelerator"]) if data["identity"] == _identity(platform) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _prove(store: Store, kernel: Path | None, platform: str) -> Accelerator:
    if not DEVICE.exists():
        return Accelerator("tcg", f"{DEVICE} does not exist.")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Accelerator("tcg", f"{DEVICE} may not be opened; join its group with 'sudo usermod -aG kvm $USER' "
                                  "and log in again.")
    with step("Booting a tiny guest to see whether KVM works"):
        reason = boot_tiny(store, "kvm", _kernel(store, kernel, platform), PATIENCE, platform)
    return Accelerator("tcg", reason) if reason else Accelerator("kvm", "A tiny guest booted with it.")


def _kernel(store: Store, given: Path | None, platform: str) -> Path:
    from unibeam_nb.image.kernels import stock_kernel

    if platform != "pci" and given is not None:
        return given
    try:
        return stock_kernel(store).path
    except UnibeamError:
        if given is None:
            raise
        return given


def boot_tiny(store: Store, accelerator: str, kernel: Path, patience: float, platform: str = "pci") -> str | None:
    """Boot ``kernel`` with the tiny PID 1 of :mod:`.tiny`. Returns None when that printed its mark within ``patience``
    seconds, else a sentence that says why not. Nothing is left running."""
    nonce = new_nonce()
    with store.scratch() as scratch:
        initramfs = scratch / "initramfs"
        initramfs.write_bytes(tiny.initramfs(nonce))
        guest = Guest(kernel, initramfs, nonce, accelerator, MEMORY_MB, platform=platform)
        with (scratch / "vmm.log").open("wb") as output:
            began = time.monotonic()
            child = process.spawn((tools.find(PROGRAM), *arguments(guest)), stdout=output, cwd=scratch,
                                  env=process.mark(scratch))
        try:
            reader, deadline = MarkReader(nonce, began), began + patience
            with Follower(scratch / CONSOLE) as follower:
                qmp.run_guest(scratch, lambda: child.poll() is None, patience, kernel_command_line(guest))
                while "init" not in reader.marks and time.monotonic() < deadline:
                    ended = child.poll() is not None
                    reader.feed(follower.read(), time.monotonic())
                    if ended:
                        break
                    checkpoint()
                    follower.wait(0.05)
            if "init" in reader.marks:
                return None
        except MachineError as error:
            return error.message
        finally:
            process.stop_group(child, grace=1.0)
        lines = lines_of([plain((scratch / "vmm.log").read_bytes())])
    if child.returncode and time.monotonic() < deadline:
        why = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "it said nothing")
        return f"QEMU gave up ({why.removeprefix(PROGRAM + ': ').rstrip('.')})."
    return f"A tiny guest did not come up with it within {patience:.0f} s."
