"""Runner ``uml``: a linux image under User-mode Linux, Linux as a process of the host: no KVM, no root, no emulation.

The guest's memory is one unlinked file, its network slirp4netns, which is up before the machine is spawned just as a
container engine's network is. Both are gone with its processes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from unibeam_nb.errors import MachineError
from unibeam_nb.image.formats import cpio
from unibeam_nb.machine import children, memory, proc, slirp
from unibeam_nb.machine.door import CONSOLE_INPUT
from unibeam_nb.machine.options import Seat, Start
from unibeam_nb.machine.proc import PROC, ProcessId
from unibeam_nb.machine.qemu import OUTPUT
from unibeam_nb.machine.qemu_arguments import CONSOLE, GUEST_ADDRESS
from unibeam_nb.machine.registry import Record
from unibeam_nb.machine.uml_arguments import Guest, arguments, variables
from unibeam_nb.store import Store

INITRAMFS = "initramfs"

FAST = Path("/dev/shm")  # nosec B108 # files there have no names


def prepare(seat: Seat) -> Start:
    """The network and the command line of this machine."""
    image, options = seat.image, seat.options
    place = ram_directory(options.mem_mb << 20, (FAST, Path(tempfile.gettempdir()), seat.directory))
    with (seat.directory / OUTPUT).open("wb") as log:
        network = slirp.connect(seat.directory, seat.nonce, seat.forwarded, GUEST_ADDRESS, log,
                                outgoing=seat.outgoing)
    try:
        console = _input(seat.directory / CONSOLE_INPUT)
        guest = Guest(_initramfs(seat), seat.nonce, options.mem_mb, network.frames, console,
                      tuple(seat.usual.items()), seat.door.guest if seat.door else None, options.data, seat.told,
                      seat.outgoing)
        return Start((str(image.file("kernel").resolve()), *arguments(guest)), CONSOLE, (("TMPDIR", str(place)),),
                     passes=(network.frames, network.leash, console))
    except BaseException:
        network.close()
        raise


def _initramfs(seat: Seat) -> Path:
    """The image's own; where the user has variables, a private copy behind an archive with a file of them, since the
    command line of this kernel is that of a process, for every user of the host to read."""
    whole = seat.image.file("initramfs").resolve()
    if not seat.options.env:
        return whole
    own = seat.directory / INITRAMFS
    handle = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream, whole.open("rb") as rest:
        stream.writelines(cpio.write(variables(seat.options.env)))
        shutil.copyfileobj(rest, stream, 1 << 20)
    return own


def _input(path: Path) -> int:
    """A pipe that the console reads, open at both ends so that it never ends."""
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR)


def ram_directory(size: int, places: tuple[Path, ...]) -> Path:
    """The first place that can hold a guest's memory of ``size`` bytes: User-mode Linux maps it as executable."""
    for place in places:
        if place.is_dir() and os.access(place, os.W_OK):
            facts = os.statvfs(place)
            if not facts.f_flag & os.ST_NOEXEC and facts.f_bavail * facts.f_frsize >= size:
                return place
    raise MachineError(f"There is no place for a guest's memory of {size >> 20} MB.",
                       f"User-mode Linux keeps it in a file that may be executed: free some space in {places[0]}, or "
                       "set TMPDIR.")


def started(seat: Seat, alive: Callable[[], bool]) -> float | None:
    """The kernel runs at once."""
    return None


def payload(record: Record, directory: Path) -> list[ProcessId]:
    """The program's own processes are inside: none on the host."""
    return []


def runtime(record: Record, directory: Path) -> list[ProcessId]:
    """The kernel, the processes that stand for the guest's, and its network."""
    if record.process is None:
        return []
    return [record.process, *proc.descendants(record.process), *slirp.running(directory)]


def touched(record: Record, directory: Path) -> int:
    """Bytes of RAM that the guest has touched."""
    return _ram(record.process)[0] if record.process else 0


def measure(record: Record, directory: Path) -> tuple[int, int]:
    """Bytes of guest RAM touched, which are the blocks that its file has, and of everything besides."""
    whole = runtime(record, directory)
    ram, name = _ram(record.process) if record.process else (0, "")
    return ram, memory.pss(whole) - (sum(memory.pss_of(one, name) for one in whole) if name else 0)


def _ram(kernel: ProcessId) -> tuple[int, str]:
    """Bytes in the file that is a guest's memory, and how /proc/PID/smaps calls it; the largest unlinked file that
    the kernel holds."""
    found = [(0, "")]
    for handle in (PROC / str(kernel.pid) / "fd").iterdir():
        try:
            name, status = str(handle.readlink()), handle.stat()
        except OSError:
            continue
        if name.startswith("/") and name.endswith(" (deleted)"):
            found.append((status.st_blocks * 512, name))
    return max(found)


def halt(store: Store, record: Record, directory: Path, reap: Callable[[], object]) -> bool:
    """End the kernel with every process of its guest, which has nothing to save; the network follows."""
    first = [record.process] if record.process else []
    network = slirp.running(directory)

    def collect() -> None:
        reap()
        for one in network:
            children.reap(one.pid)

    # Not asked: a kernel that ends by itself leaves what it has just started for a process of the guest.
    gone = proc.kill(first, lambda: proc.descendants(first[0]) if first else (), reap=collect)
    return proc.wait(network, 1.0, collect) or proc.end(network, reap=collect) if gone else False
