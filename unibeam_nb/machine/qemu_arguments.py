"""QEMU's command line for one machine. Pure: values in, words out.

The same words, but for the accelerator, boot a user's machine and prove the accelerator, so that what was
proved is what runs. All paths of sockets and logs are relative to the machine's directory, which is QEMU's
working directory: a Unix socket's path must fit into 108 bytes (unix(7)).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unibeam_nb.errors import UsageError
from unibeam_nb.machine.link import BITS, Link
from unibeam_nb.model import ICOUNT

PROGRAM = "qemu-system-x86_64"
MACHINES = {
    "pci": "q35",
    "mmio": "microvm,acpi=off,isa-serial=on,auto-kernel-cmdline=off"}
"""The machine type of each platform: the quickest of those that boot a distribution's kernel and its network
everywhere, and the one without a bus.

On microvm the PIT and PIC stay on, without which an emulated guest finds no clock. Left to itself QEMU would append
to the command line where its devices are, and behind a ``--`` the kernel would not see it: so we say it.
"""

EMULATED = "max,erms=off,fsrm=off"
"""The guest's processor: all that the accelerator can do. An emulated one does not boast of quick string instructions,
because QEMU carries out ``rep stosb`` byte by byte, and a kernel that believes it clears every page so: told the truth,
it takes a loop of eight bytes a time (arch/x86/lib/clear_page_64.S, copy_user_64.S)."""

CARDS = {"pci": ("-device", "virtio-net-pci,netdev=net,romfile=,guest_announce=off"),
         "mmio": ("-global", "virtio-mmio.force-legacy=false",
                  "-device", "virtio-net-device,netdev=net,guest_announce=off")}
"""The network card on each platform. A machine that was moved would announce itself to switches that have to learn
where it is now; on QEMU's user network there is none, and it would keep every resumed copy busy."""

DISKS = {"pci": "virtio-blk-pci", "mmio": "virtio-blk-device"}
"""A disk on each platform. They are named after the card, the one with the root first."""

SYNCHRONOUS = {"pci": "virtio-pci.ioeventfd=off", "mmio": "virtio-mmio.ioeventfd=off"}
"""What has a device answer on the thread of the processor that asks it."""

WORDS = {"pci": (), "mmio": ("reboot=t", "unibeam.off=reboot")}
"""What the kernel has to be told on each platform. A machine without ACPI cannot be switched off, so it is reset, by
a triple fault, and ``-no-reboot`` ends QEMU."""

TRANSPORTS, FIRST_TRANSPORT, FIRST_INTERRUPT = 8, 0xfeb00000, 5
"""Where microvm has its devices, 512 bytes each: the first that is named sits on the last of them (QEMU's
hw/i386/microvm.c and include/hw/i386/microvm.h)."""

DATA = "unibeam-data"
"""The serial number of the disk with the program's data."""

READ_ONLY_ROOT = ("root=/dev/vda", "rootfstype=erofs", "ro", "init=/init")

ICOUNT_KHZ = 1_000_000
"""The rate of the time stamp counter where each instruction takes a nanosecond."""

CONSOLE, CONSOLE_SOCKET, QMP_SOCKET = "console.log", "console.sock", "qmp.sock"

GUEST_ADDRESS, GATEWAY, NAMESERVER = "10.0.2.15", "10.0.2.2", "10.0.2.3"
"""The fixed addresses of QEMU's user network, so that no guest waits for DHCP."""

DHCP = "dhcp"
"""Instead of an address: the guest asks for one (guest/dhcp.c)."""

HOSTNAME = "beam.unibeam"
"""With a dot: without one OTP asks a port program for the domain before it reads any configuration."""

LONGEST_CMDLINE = 2047
"""COMMAND_LINE_SIZE of x86 Linux less the final NUL (Documentation/x86/boot.rst)."""


PRIVATELY = "-preconfig"
"""What has QEMU wait for the kernel's command line, which it is told over QMP (machine/qmp.py): its own command line is
for every user of the host to read, and the kernel's has the boot's nonce and the user's variables. The kernel of a
resumed machine has read it long ago, and reads it no more."""

RAM = "ram"
"""The guest's RAM where it is kept in a file: a name in the machine's directory, as for the sockets."""


@dataclass(frozen=True)
class Guest:
    """What QEMU is asked to boot. ``ports`` are pairs (host, guest), ``mem_mb`` is in MiB, ``platform`` is ``pci``
    or ``mmio``; ``tsc_khz`` is the rate of the host's time stamp counter, where known.

    The root file system is either unpacked from ``initramfs`` or read from ``root``, an EROFS image on a disk.
    ``accelerator`` is ``kvm``, ``tcg``, or ``icount``: emulation in which the guest's clock counts its instructions, a
    nanosecond each, and leaps where it would wait.

    ``snapshot`` is ``taken`` where the guest's RAM is to be kept in the file :data:`RAM`, and ``resumed`` where
    that file is what the guest starts from; it is not written to then. With ``dhcp`` the guest asks the network for
    its address. ``channel`` is the port inside at which the program is to be talked to; PID 1 asks for its secret on
    the console. With ``shell`` the program reads the console. ``seed`` is a disk with user data, ``user_data`` an
    address of some. ``data`` is a disk that the program may write to. ``more`` is what PID 1 is told besides. Without
    ``outgoing`` the network lets nothing out.
    """

    kernel: Path
    initramfs: Path | None
    nonce: str
    accelerator: str
    mem_mb: int = 256
    vcpus: int = 1
    ports: tuple[tuple[int, int], ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    platform: str = "pci"
    tsc_khz: int | None = None
    snapshot: Literal["", "taken", "resumed"] = ""
    dhcp: bool = False
    channel: int | None = None
    root: Path | None = None
    shell: bool = False
    seed: Path | None = None
    user_data: str = ""
    data: Path | None = None
    more: tuple[str, ...] = ()
    outgoing: bool = False


def kernel_command_line(guest: Guest) -> str:
    """What the kernel and our PID 1 are told. Raises UsageError for what a command line cannot carry.

    ``quiet`` lets errors and worse through. ``panic=-1`` makes a panic reboot at once, which ``-no-reboot``
    turns into the end of QEMU.
    """
    address = DHCP if guest.dhcp else GUEST_ADDRESS
    root = READ_ONLY_ROOT if guest.root else ()
    words = ["console=ttyS0", "quiet", "panic=-1", *WORDS[guest.platform], *_places(guest), *root, *_clock_words(guest),
             *([f"ds=nocloud;s={guest.user_data}"] if guest.user_data else []),
             *(["unibeam.snapshot"] if guest.snapshot else []), *(["unibeam.input"] if guest.shell else []),
             *told(guest.nonce, guest.variables, address, guest.channel, guest.outgoing), *guest.more]
    line = " ".join(words)
    if len(line) > LONGEST_CMDLINE:
        raise UsageError(f"The environment makes a kernel command line of {len(line)} bytes.",
                         f"Linux reads {LONGEST_CMDLINE}: pass less with --env.")
    return line


def _places(guest: Guest) -> tuple[str, ...]:
    """Where the devices are, on the platform that does not tell: the card, and each disk."""
    count = 1 + sum(disk is not None for disk in (guest.root, guest.seed, guest.data))
    return tuple(f"virtio_mmio.device=512@{FIRST_TRANSPORT + 512 * place:#x}:{FIRST_INTERRUPT + place}"
                 for place in reversed(range(TRANSPORTS - count, TRANSPORTS)) if guest.platform == "mmio")


def told(nonce: str, variables: Iterable[tuple[str, str]], address: str | Link | None = GUEST_ADDRESS,
         channel: int | None = None, outgoing: bool = False) -> tuple[str, ...]:
    """What PID 1 is told by any kernel's command line; ``address`` is a fixed one of QEMU's user network, or
    :data:`DHCP`, or a link, or None for no network; ``channel`` is the port of its channel, whose secret is none of
    that. Where nothing leads out (``outgoing``) there is neither gateway nor name server, so that a program learns it
    at once and need not wait. Raises UsageError for what a command line cannot carry."""
    network: tuple[str, ...] = (f"unibeam.ip={address}",) if address == DHCP else ()
    if isinstance(address, Link):
        network = (f"unibeam.ip={address.guest}/{BITS}", f"unibeam.gw={address.host}")
    elif address and address != DHCP:
        network = (f"unibeam.ip={address}/24",
                   *((f"unibeam.gw={GATEWAY}", f"unibeam.dns={NAMESERVER}") if outgoing else ()))
    words = [f"unibeam.nonce={nonce}", *network, f"unibeam.hostname={HOSTNAME}",
             *([f"unibeam.channel={channel}"] if channel else [])]
    for key, value in variables:
        if not value.isascii() or not value.isprintable() or '"' in value:
            raise UsageError(f"The value of {key} cannot be handed to a virtual machine.",
                             "A kernel command line carries printable ASCII without double quotes.")
        word = f"unibeam.env.{key}={value}"
        words.append(f'"{word}"' if " " in word else word)
    return tuple(words)


def _clock_words(guest: Guest) -> tuple[str, ...]:
    """What spares an emulated microvm's kernel from looking for a clock: how fast the counter runs, and that the
    PIT's interrupt works. A lone processor then needs no timer of its own either, whose calibration takes 0.1 s.
    Under KVM the guest's clock is KVM's, and the kernel does none of this."""
    if guest.platform != "mmio" or guest.accelerator == "kvm":
        return ()
    khz = ICOUNT_KHZ if guest.accelerator == ICOUNT else guest.tsc_khz
    rate = (f"tsc_early_khz={khz}", "tsc=reliable") if khz else ()
    alone = ("nolapic_timer",) if guest.vcpus == 1 and rate else ()
    return (*rate, "no_timer_check", *alone)


def arguments(guest: Guest) -> tuple[str, ...]:
    """The words after the program's name.

    - ``memory-backend-memfd`` gives the guest's RAM a name in ``/proc/PID/smaps``.
      A machine that is resumed maps its file privately: the kernel copies the pages it writes to, and all machines
      of one snapshot share the others. ``-incoming defer`` waits for the rest of its state.
    - ``-S`` keeps the guest from running until it is told to over QMP, so that QEMU's own start is told apart.
    - The network has a way in through ``hostfwd`` only, which listens on 127.0.0.1, and a way out only where that
      was asked for: the host's own loopback address would be on it.
    - There is no virtio-rng: ``-cpu max`` gives the guest RDRAND, from which the kernel seeds itself.
    """
    counted = guest.accelerator == ICOUNT
    machine = f"{MACHINES[guest.platform]},accel={'tcg' if counted else guest.accelerator}"
    return (*common(machine, processor(guest.accelerator), guest.vcpus, guest.mem_mb, _ram(guest)),
            *(("-incoming", "defer") if guest.snapshot == "resumed" else ()),
            *network(guest.ports, outgoing=guest.outgoing), *CARDS[guest.platform],
            *(_disk(guest, guest.root) if guest.root else ()),
            *(seed_disk(guest.seed, guest.platform) if guest.seed else ()),
            *(data_disk(guest.data, guest.platform) if guest.data else ()),
            *(("-icount", "shift=0,sleep=off") if counted else ()),
            "-kernel", str(guest.kernel), *(("-initrd", str(guest.initramfs)) if guest.initramfs else ()),
            *(() if guest.snapshot == "resumed" else (PRIVATELY,)))


def processor(accelerator: str) -> str:
    """The word behind ``-cpu`` for an accelerator."""
    return "max" if accelerator == "kvm" else EMULATED


def _disk(guest: Guest, root: Path) -> tuple[str, ...]:
    """The disk with the root. It is shared by all machines of its image, and none can write to it.

    A guest whose instructions are counted must not wait for it, because while it waits its clock leaps: io_uring
    answers from the host's page cache at once, on the thread that asked (``ioeventfd=off``).
    """
    # A comma ends an option's value in QEMU's syntax; two of them are one in a value.
    name = str(root).replace(",", ",,")
    counted = guest.accelerator == ICOUNT
    node = f"driver=file,node-name=root,read-only=on,locking=off{',aio=io_uring' if counted else ''},filename={name}"
    return ("-blockdev", node, *(("-global", SYNCHRONOUS[guest.platform]) if counted else ()),
            "-device", f"{DISKS[guest.platform]},drive=root")


def data_disk(path: Path, platform: str) -> tuple[str, ...]:
    """The disk with the program's data. QEMU locks the file, so that no other machine gets it meanwhile. What the
    guest has flushed is in the host's page cache at least, which outlives a QEMU that is killed."""
    return ("-blockdev", f"driver=file,node-name=data,discard=unmap,filename={str(path).replace(',', ',,')}",
            "-device", f"{DISKS[platform]},drive=data,serial={DATA}")


def seed_disk(path: Path, platform: str) -> tuple[str, ...]:
    """The disk with user data."""
    name = str(path).replace(",", ",,")
    return ("-blockdev", f"driver=file,node-name=seed,read-only=on,filename={name}",
            "-device", f"{DISKS[platform]},drive=seed")


def common(machine: str, cpu: str, vcpus: int, mem_mb: int, ram: str) -> tuple[str, ...]:
    """What every machine has: no device but those that are named, one serial console, a control socket, and RAM of
    ``mem_mb`` MiB from the object ``ram``, whose id is ``ram``.

    QEMU waits for whoever connects to its control socket first. Else it would accept him in two threads at once: its
    monitor's thread takes over the listener (``tcp_chr_update_read_handler``) just when the main loop begins, and about
    once in a thousand starts on a busy host he is greeted and never heard.
    """
    words = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S",
             "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
             "-machine", f"{machine},memory-backend=ram",
             "-cpu", cpu, "-smp", str(vcpus), "-m", f"{mem_mb}M", "-object", ram,
             "-chardev", f"socket,id=console,path={CONSOLE_SOCKET},server=on,wait=off,logfile={CONSOLE}",
             "-serial", "chardev:console",
             "-qmp", f"unix:{QMP_SOCKET},server=on,wait=on"]
    return tuple(words)


def network(ports: tuple[tuple[int, int], ...], more: str = "", *, outgoing: bool = False) -> tuple[str, ...]:
    """QEMU's user network, called ``net``, with these pairs (host, guest) forwarded from 127.0.0.1; ``more`` of its
    options come last.

    With ``outgoing`` the guest reaches all that this host reaches, its loopback services and a cloud's metadata
    included; else ``restrict`` drops whatever is no answer to a forwarded connection.
    """
    closed = "" if outgoing else ",restrict=on"
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{host}-:{port}" for host, port in ports)
    return ("-netdev", f"user,id=net,net=10.0.2.0/24,host={GATEWAY},dns={NAMESERVER}{closed}{forwards}{more}")


def _ram(guest: Guest) -> str:
    if not guest.snapshot:
        return f"memory-backend-memfd,id=ram,size={guest.mem_mb}M,share=on"
    share = "on" if guest.snapshot == "taken" else "off"
    return f"memory-backend-file,id=ram,size={guest.mem_mb}M,share={share},mem-path={RAM}"
