"""Booting a machine: settle everything, start it, watch it until it reached its mark, or say why it did not."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import IO

from unibeam_nb import process
from unibeam_nb.arms import RESTORE, RESUME, RUNNERS_OF, Arm
from unibeam_nb.errors import MachineError, PortInUse, UsageError
from unibeam_nb.machine import (
    children,
    data,
    door,
    memory,
    ports,
    proc,
    registry,
    ring,
    room,
    seed,
    snapshot,
)
from unibeam_nb.machine.accelerator import prove_accelerator
from unibeam_nb.machine.available import refuse
from unibeam_nb.machine.console import Console, Follower
from unibeam_nb.machine.efi_arguments import EFI
from unibeam_nb.machine.firecracker import PROGRAM as FIRECRACKER
from unibeam_nb.machine.link import LOOPBACK
from unibeam_nb.machine.machine import Machine, recover
from unibeam_nb.machine.marks import MarkReader, memory_of, new_nonce
from unibeam_nb.machine.options import INPUT, SHELL_RUNNERS, BootOptions, Seat, Snapshot
from unibeam_nb.machine.osv_arguments import OSV
from unibeam_nb.machine.probe import Prober
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.qemu_arguments import CONSOLE
from unibeam_nb.machine.registry import Record
from unibeam_nb.machine.runners import RUNNERS
from unibeam_nb.machine.watch import Watch
from unibeam_nb.model import ICOUNT, Image, Mark
from unibeam_nb.progress import checkpoint, step, tell_machine, tell_mark
from unibeam_nb.store import Store, disk_errors

ATTEMPTS = 3
"""A port that was free when it was chosen may be taken a moment later: then choose again."""


def boot(store: Store, image: Image, runner: str, options: BootOptions = BootOptions(), *,
         name: str | None = None) -> Machine:
    """Start a machine and return it when it reached the mark ``options.until``.

    Raises UsageError, ToolMissing, PortInUse before anything starts, MachineError when it cannot start, and
    BootFailed when it did not reach its mark. Then, and on Ctrl-C or Cancelled, nothing is left running.
    """
    arm = Arm.parse(f"{image.kind}@{runner}")
    if arm.linked:
        refuse(runner)
    if (image.platform == "uml") is not (runner == "uml") and image.target == "linux":
        raise UsageError(f"The kernel of {image.name} does not run on {runner}.",
                         f"Build the image for it: its kernel is {image.kernel}.")
    if image.processors is not None and options.vcpus > image.processors:
        raise UsageError(f"The kernel of {image.name} uses {image.processors} processor of {options.vcpus}.",
                         "Leave out --vcpus." if runner == "uml" else
                         "Leave out --vcpus, or build with a kernel for more: --kernel tiny+smp.")
    if options.shell and (RESUME in arm.extras or runner not in SHELL_RUNNERS):
        raise UsageError(f"{arm} has no shell.", "Leave out --shell, or boot it, without --resume, on one of "
                         f"{', '.join(SHELL_RUNNERS)}.")
    if options.user_data:
        seed.refuse(image, arm, options.user_data)
    _refuse_manners(arm, options)
    if runner == "qemu":
        room.refuse_too_little(image, options.mem_mb)
    if runner in RUNNERS_OF["linux"] and RESUME not in arm.extras:  # Copies share most of theirs.
        room.refuse_more_than_there_is(name or image.name, options.mem_mb, memory.available())
    verb = "Resuming" if RESUME in arm.extras else "Booting"
    with disk_errors(store.state), step(f"{verb} {name or image.name} on {runner}"):
        recover(store)
        accelerator = "native"
        if options.accelerator == ICOUNT:
            _refuse_counting(arm, options)
        if runner == FIRECRACKER:
            accelerator = _proved_kvm(store, image)
        if runner == "qemu":
            # OSv and disks run on the machine that a distribution's kernel proves, and are no kernel for the proof.
            proof = ("pci", None) if image.platform in (OSV, EFI) else (image.platform, image.file("kernel"))
            accelerator = prove_accelerator(store, options.accelerator, proof[1], proof[0]).name
        taken: Snapshot | None = None
        if RESUME in arm.extras:
            cold = dataclasses.replace(arm, options=tuple(word for word in arm.options if word != RESUME))
            model = Seat(store, store.state, "", image.name, "", cold, image, options, accelerator,
                         tuple((0, guest) for _, guest in _wanted(image, options)), Snapshot(store.cache))
            if options.channel:
                model = dataclasses.replace(model, door=door.make(cold, {}, model.ports))
            source = dataclasses.replace(image, name=f"{image.name}-snapshot")
            quiet = dataclasses.replace(options, ports=model.ports)
            taken = snapshot.provide(model, lambda fresh: _boot(store, source, cold, quiet, None, accelerator, fresh))
        return _boot(store, image, arm, options, name, accelerator, taken)


def _proved_kvm(store: Store, image: Image) -> str:
    """``kvm``, once a guest has booted with it. Raises MachineError where none does."""
    found = prove_accelerator(store, "auto", image.file("kernel"), image.platform)
    if found.name != "kvm":
        raise MachineError(f"KVM does not work on this host: {found.reason}",
                           "Firecracker runs on nothing else. Use the runner qemu, which can emulate: --on qemu.")
    return found.name


def _refuse_manners(arm: Arm, options: BootOptions) -> None:
    """Raise UsageError for what only a virtual machine with our PID 1 can do, and not as a copy of another."""
    for flag, wanted in (("--data", options.data), ("--guard, --heart or --restarts", options.manners)):
        if not wanted:
            continue
        if arm.target == "disk" and wanted is not options.data:
            raise UsageError(f"{arm} takes no {flag}, because a disk holds its command line.", "Build it with them.")
        if arm.target not in ("linux", "disk") or arm.runner not in ("qemu", "uml"):
            raise UsageError(f"{arm} takes no {flag}.", "Only a linux or disk image does: boot it on qemu or uml.")
        if RESUME in arm.extras:
            raise UsageError(f"A copy takes no {flag}.", "Leave out --resume.")
        if options.accelerator == ICOUNT and options.data:
            raise UsageError("A machine whose instructions are counted takes no --data: its clock leaps while it waits "
                             "for a disk.", "Leave out --data or --icount.")


def _refuse_counting(arm: Arm, options: BootOptions) -> None:
    """Raise UsageError for what has no time of its own under the accelerator ``icount``."""
    if arm.runner != "qemu":
        raise UsageError(f"The instructions of {arm} cannot be counted.",
                         "Only a virtual machine's can: use a linux image on qemu, or leave out --icount.")
    if RESUME in arm.extras:
        raise UsageError(f"The instructions of {arm} cannot be counted, because it is not booted.",
                         "Leave out --resume or --icount.")
    if options.vcpus > 1:
        raise UsageError("The instructions of more than one processor cannot be counted.",
                         "Leave out --vcpus or --icount.")
    if options.until == "http":
        raise UsageError("A machine whose instructions are counted is timed by its own clock, and an answer is not.",
                         "Wait for the mark app: leave out --http, or --icount.")


def _boot(store: Store, image: Image, arm: Arm, options: BootOptions, name: str | None, accelerator: str,
          taken: Snapshot | None) -> Machine:
    for attempt in range(1, ATTEMPTS + 1):
        seat, record = _sit_down(store, image, arm, options, name, accelerator, taken)
        try:
            with _cleared_on_failure(seat, record), ports.claimed(_claims(seat)):
                return _start(seat, record)
        except PortInUse:
            if attempt == ATTEMPTS or any(host for host, _ in _wanted(image, options)):
                raise
    raise AssertionError("unreachable")


def _claims(seat: Seat) -> list[int]:
    """The ports of this host that the machine is about to take."""
    return [] if seat.arm.linked else [host for host, _ in seat.forwarded]


def _wanted(image: Image, options: BootOptions) -> tuple[tuple[int, int], ...]:
    wanted = tuple((0, port) for port in image.ports) if options.ports is None else options.ports
    if options.probe and options.probe.port not in (guest for _, guest in wanted):
        wanted = (*wanted, (0, options.probe.port))
    return wanted


def _sit_down(store: Store, image: Image, arm: Arm, options: BootOptions, name: str | None,
              accelerator: str, taken: Snapshot | None) -> tuple[Seat, Record]:
    """Settle name and ports under a lock, and write the record that reserves them."""
    keeper = proc.identify(os.getpid())
    if keeper is None:
        raise MachineError("/proc tells nothing about this process.", "unibeam needs a mounted /proc.")
    with registry.locked(store):
        live = [m for m in (Machine(store, r, d) for r, d in registry.records(store)) if m.alive]
        chosen = _name(image.name if name is None else name, [m.name for m in live], explicit=name is not None)
        if options.data is not None:
            data.refuse_shared(options.data, {m.name: m.record.options.data for m in live if m.record.options})
        owners = {host: m.name for m in live if m.address == LOOPBACK
                  for host in (*m.ports.values(), m.channel) if host is not None}
        pairs = ports.settle(_wanted(image, options), arm, owners)
        # What is restored does not say again that its channel is open.
        opened = door.make(arm, owners, pairs) if options.channel and RESTORE not in arm.options else None
        with ExitStack() as undo:
            directory = registry.make_directory(store)
            undo.callback(registry.forget, directory)
            seat = Seat(store, directory, directory.name, chosen, new_nonce(), arm, image, options, accelerator, pairs,
                        taken, opened)
            record = Record(seat.id, chosen, str(arm), None, keeper, image.name, image.sha256, accelerator, seat.nonce,
                            datetime.now(UTC).isoformat(timespec="milliseconds"), pairs, _url(seat),
                            channel=opened.host if opened else None, shell=options.shell, options=options,
                            address=seat.address)
            registry.write(directory, record)
            if opened is not None:
                door.keep(directory, opened)
            undo.pop_all()
    return seat, record


def _name(wanted: str, live: list[str], *, explicit: bool) -> str:
    if wanted not in live:
        return wanted
    if explicit:
        raise MachineError(f"A machine called {wanted} is running already.",
                           f"Stop it with 'unibeam stop {wanted}', or give this one another name.")
    return next(name for name in (f"{wanted}-{n}" for n in range(2, len(live) + 3)) if name not in live)


def _url(seat: Seat) -> str | None:
    if not seat.ports:
        return None
    probe = seat.options.probe
    if probe is None:
        return f"http://{seat.address}:{seat.ports[0][0]}/"
    path = probe.path if probe.scheme != "tcp" else ""
    return f"{probe.scheme}://{seat.address}:{_host_port(seat, probe.port)}{path}"


def _host_port(seat: Seat, guest: int) -> int:
    return next(host for host, port in seat.ports if port == guest)


@contextmanager
def _cleared_on_failure(seat: Seat, record: Record) -> Iterator[None]:
    """Whatever goes wrong inside, an interrupt included: the machine is ended and its directory removed."""
    try:
        yield
    except BaseException:
        kept = registry.read(seat.directory) or record
        Machine(seat.store, kept, seat.directory).stop()
        raise


def _start(seat: Seat, record: Record) -> Machine:
    runner = RUNNERS[seat.arm.runner]
    with ExitStack() as stack:
        start = runner.prepare(seat)
        passed = stack.enter_context(ExitStack())
        for handle in start.passes:
            passed.callback(os.close, handle)
        stack.enter_context(ring.reading(seat.directory))
        follower = stack.enter_context(Follower(seat.directory / CONSOLE))
        prober = None
        if seat.options.until == "http" and (probe := seat.options.probe):
            prober = Prober(probe, _host_port(seat, probe.port), seat.address)
        output = stack.enter_context((seat.directory / start.output).open("ab"))
        ring.keep_short(registry.root(seat.store))
        checkpoint()
        spawned = time.monotonic()
        fed = start.fed or (seat.options.shell and seat.arm.runner != "qemu")
        child = process.spawn(start.argv, stdout=_pipe(stack, output) if start.piped else output,
                              stdin=stack.enter_context(_input(seat)) if fed else subprocess.DEVNULL,
                              cwd=start.cwd or seat.directory, env=dict(start.env),
                              clean_env=start.clean_env, passes=start.passes)
        passed.close()
        children.adopt(child)
        record = dataclasses.replace(record, process=_identity(child))
        registry.write(seat.directory, record)
        tell_machine(seat.id)
        counted = seat.accelerator == ICOUNT
        reader = MarkReader(seat.nonce, spawned, {"spawn": Mark("spawn", 0.0)}, counted=counted)
        began = runner.started(seat, lambda: child.poll() is None)
        if began is not None:
            first = RESUME if RESTORE in seat.arm.options else "vmm"
            reader.marks[first] = Mark(first, 0.0 if counted else began - spawned)
            tell_mark(first, reader.marks[first].at)
        if prober is not None:
            stack.enter_context(prober)
            if RESUME in reader.marks:
                prober.heard(RESUME)
        watch = Watch(seat, child, follower, reader, prober, stack)
        watch.until_reached()
        taking = seat.snapshot is not None and seat.snapshot.state is None
        if seat.door is not None and not taking and reader.values.get("channel") != "open":
            raise MachineError(f"{seat.name} is up, but its channel is not open.", "Its console says why.",
                               Console(seat.directory / CONSOLE).tail(5))
        record = dataclasses.replace(record, marks=tuple(watch.marks().values()), beam=memory_of(reader.values),
                                     ready=True)
        registry.write(seat.directory, record)
    machine = Machine(seat.store, record, seat.directory)
    machine.spawned = spawned
    return machine


def _pipe(stack: ExitStack, output: IO[bytes]) -> int:
    """A file descriptor whose bytes end up in ``output``; it is closed here with ``stack``."""
    reading, writing = os.pipe()
    try:
        children.adopt(process.spawn(("cat",), stdin=reading, stdout=output))
    finally:
        os.close(reading)
    stack.callback(os.close, writing)
    return writing


@contextmanager
def _input(seat: Seat) -> Iterator[int]:
    """The pipe that a program without a console of its own reads. The program holds both its ends, so that it never
    ends and whoever writes later need not wait."""
    path = seat.directory / INPUT
    os.mkfifo(path, 0o600)
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _identity(child: subprocess.Popen[bytes]) -> ProcessId:
    """The child by pid and start time. It cannot have been replaced: we have not waited for it yet."""
    found = proc.identify(child.pid)
    return found or ProcessId(child.pid, -1, proc.boot_id())
