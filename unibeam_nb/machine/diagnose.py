"""Why a boot failed, in one sentence, with the lines that tell it. Pure: what was seen in, words out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from unibeam_nb.arms import RESUME, RUNNERS_OF
from unibeam_nb.errors import BootFailed, MachineError, PortInUse
from unibeam_nb.model import MARK_LINE, MARKS, Mark
from unibeam_nb.release.shake.missing import undefined
from unibeam_nb.units import format_seconds

MOST_LINES, LONGEST = 8, 300
"""How many console lines an error carries at most, and how long each may be."""

KERNEL_MB = 64
"""About what a distribution's kernel needs before it says its first word."""

EMULATOR_MB = 16
"""What a small program takes beside its image, at the very least."""

_MEMORY = re.compile(r"out of memory|deadlocked on memory|cannot (?:re)?allocate"
                     r"|initramfs unpacking failed: write error|\benomem\b|oom-kill"
                     r"|memory allocation failed|no killable processes", re.IGNORECASE)
_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
_REBOOT = re.compile(r"reboot: Power down|reboot: Restarting")
_TELLING = re.compile(r"unibeam-init:|kernel panic|init terminating|kernel pid terminated|runtime terminating|crash"
                      r"|\berror\b|exception|fail|undef|badmatch|eaddrinuse|enoent|cannot|could not|can't|no such"
                      r"|not found|out of memory|qemu-system|unable|denied|refused|abort", re.IGNORECASE)
_NO_WAY = re.compile(r"\b(enetunreach|ehostunreach|nxdomain)\b", re.IGNORECASE)
_OSV_DIED = re.compile(r"Aborted\b|Assertion failed|page fault outside application|.*unknown relocation type"
                       r"|Out of memory|trapped in|general protection fault", re.IGNORECASE)
_OSV_MEMORY = re.compile(r"out of memory|could not allocate|waiter on .* memory", re.IGNORECASE)
_FORWARD = re.compile(r"Could not set up host forwarding rule '(?:tcp:)?127\.0\.0\.1:(\d+)")
_NOISE = re.compile(r"^mmapper_init - |^Failed to initialize ubd device "
                    r"|^qemu-system-\w+: -qmp .*: info: QEMU waiting for connection"
                    r"|^\[ *\d+\.\d+\] +(?:\? |<|CPU: |Hardware name: |Call Trace|R[A-Z0-9]{2}:|Code:|[a-z_0-9.]+\+0x)")


@dataclass(frozen=True)
class Evidence:
    """What was seen of a failed boot.

    ``console`` are the program's lines, ``vmm`` those of what runs it. ``ended`` says that the process is
    gone, with exit status ``code`` (negative: a signal) where known; ``inner`` is the status that the
    ``exit`` mark told. ``image_mb`` is what the image occupies once unpacked, ``limited`` whether memory was
    limited at all, ``resumed`` whether it was to go on from a snapshot, ``osv`` whether OSv is its
    kernel, ``left_out`` which modules shaking left out or took functions from, ``closed`` whether its
    network leads nowhere.
    """

    name: str
    runner: str
    until: str
    deadline: float
    mem_mb: int
    image_mb: int
    limited: bool
    ended: bool
    code: int | None = None
    inner: int | None = None
    console: Sequence[str] = ()
    vmm: Sequence[str] = ()
    marks: Mapping[str, Mark] | None = None
    resumed: bool = False
    osv: bool = False
    left_out: frozenset[str] = frozenset()
    closed: bool = False


def explain(seen: Evidence) -> MachineError:
    """The error to raise for a boot that did not reach its mark."""
    for line in seen.vmm:
        if found := _FORWARD.search(line):
            return PortInUse(f"Port {found[1]} on 127.0.0.1 was taken while {seen.name} started.", "Boot it again.")
    message, hint = (_copy(seen) or _left_out(seen) or _osv(seen) or _memory(seen) or _panic(seen) or _silence(seen)
                     or _exit(seen) or _late(seen))
    return BootFailed(message, hint, telling(seen))


def _copy(seen: Evidence) -> tuple[str, str] | None:
    """A copy of a running machine boots no kernel and starts no program: what went wrong there is not to be sought."""
    if not seen.resumed or _reached(seen, RESUME) or seen.inner is not None:
        return None
    if seen.runner != "qemu":
        how = f"(exit status {seen.code})" if seen.ended else f"within {format_seconds(seen.deadline)}"
        return (f"{seen.runner} and CRIU could not restore {seen.name} {how}.",
                "The lines above are theirs; 'unibeam doctor' says whether CRIU works here. Else leave out +restore.")
    if seen.ended:
        return (f"QEMU could not resume {seen.name} (exit status {seen.code}).",
                "The lines above are QEMU's own; 'unibeam clean --cache' removes the snapshot too.")
    return (f"{seen.name} was resumed and did not run on within {format_seconds(seen.deadline)}.",
            "Does an after_resume/0 of the program return? Else boot it without --resume.")


def _left_out(seen: Evidence) -> tuple[str, str] | None:
    """A call of something that is not there because the release was shaken."""
    for module, function in undefined("\n".join(seen.console)):
        if module in seen.left_out:
            name = module.removeprefix("Elixir.")
            return (f"{seen.name} calls {name}:{function}, which was left out by --shake.",
                    f"Build with --keep {name}.")
    return None


def osv_died(lines: Iterable[str]) -> str | None:
    """What OSv said when it gave up, or None: it prints a reason and a backtrace, and then stands still for ever
    (core/debug.cc, libc/abort)."""
    before = ""
    for line in lines:
        if line.strip() == "[backtrace]" or _OSV_DIED.match(line):
            return line.strip() if line.strip() != "[backtrace]" else before or "a backtrace and nothing else"
        before = line.strip() or before
    return None


def _osv(seen: Evidence) -> tuple[str, str] | None:
    if not seen.osv:
        return None
    reason = osv_died(seen.console)
    if reason is None:
        return None
    if any("unknown relocation type" in line for line in seen.console):
        return (f"This OSv cannot start the Linux dynamic linker, which {seen.name} needs.",
                "OSv can since the sources after version 0.57.0: add a newer kernel.")
    if any(_OSV_MEMORY.search(line) for line in seen.console):
        return f"{seen.name} ran out of memory with {seen.mem_mb} MB.", _more(seen)
    return (f"OSv gave up while {seen.name} started: {reason.rstrip('.')}.",
            "The lines above are OSv's own; '%unibeam check NAME --target osv' lists what it cannot do.")


def telling(seen: Evidence) -> tuple[str, ...]:
    """The lines that say what went wrong, else the last ones; never marks, never stack frames."""
    own = [line for line in seen.console if not MARK_LINE.search(line) and not _REBOOT.search(line)]
    lines = [line for line in (*own, *seen.vmm) if not _NOISE.match(line)]
    chosen = [line for line in lines if _TELLING.search(line) or _MEMORY.search(line)] or lines[-5:]
    # What failed first usually explains the rest, what failed last names it: keep some of both ends.
    unique = list(dict.fromkeys(line[:LONGEST] for line in chosen))
    half = MOST_LINES // 2
    return tuple(unique if len(unique) <= MOST_LINES else [*unique[:half], *unique[-half:]])


def _more(seen: Evidence) -> str:
    return f"Give it more: --mem {_enough(seen.mem_mb, seen.image_mb)}."


def _enough(mem_mb: int, image_mb: int) -> int:
    """A round number of MiB that is more than was given, and enough for the unpacked image and a BEAM."""
    wanted = max(mem_mb * 2, image_mb * 2 + 128)
    return -(-wanted // 64) * 64


def _memory(seen: Evidence) -> tuple[str, str] | None:
    if any(_MEMORY.search(line) for line in (*seen.console, *seen.vmm)):
        if seen.limited:
            return f"{seen.name} ran out of memory with {seen.mem_mb} MB.", _more(seen)
        return f"{seen.name} could not get the memory it asked for.", "Free some memory on this host."
    if seen.ended and seen.limited and 137 in (seen.inner, seen.code):
        return f"{seen.name} was killed, most likely because {seen.mem_mb} MB were too little.", _more(seen)
    quiet = seen.runner == "qemu" and not seen.console and not (seen.ended and seen.code)
    if quiet and seen.mem_mb < seen.image_mb + KERNEL_MB:
        return (f"{seen.name} cannot start in {seen.mem_mb} MB: "
                f"its kernel and the {seen.image_mb} MB of its image do not fit.", _more(seen))
    return None


def _panic(seen: Evidence) -> tuple[str, str] | None:
    for line in seen.console:
        if found := _PANIC.search(line):
            reason = found[1].strip().rstrip(".")
            if "unable to mount root" in reason.lower() or "no working init" in reason.lower():
                hint = "The kernel found no program in the initramfs: was it built with CONFIG_BLK_DEV_INITRD?"
            else:
                hint = "Try the distribution's kernel (leave out --kernel), or more memory with --mem."
            return f"The kernel of {seen.name} panicked: {reason}.", hint
    return None


def _silence(seen: Evidence) -> tuple[str, str] | None:
    """A virtual machine that said nothing at all: its firmware or kernel never came as far as the console."""
    if seen.runner == "uml" and seen.ended and not _reached(seen, "init"):
        return (f"User-mode Linux could not start {seen.name} (exit status {seen.code}).",
                "The lines above are its own; it needs ptrace(2), and memory that may be executed.")
    if seen.runner != "qemu" or _reached(seen, "init") or seen.console:
        return None
    if seen.ended and seen.code:
        return f"QEMU could not start {seen.name} (exit status {seen.code}).", \
               "The lines above are QEMU's own; is the kernel a bzImage for x86-64?"
    within = "before it ended" if seen.ended else f"within {format_seconds(seen.deadline)}"
    return f"The kernel of {seen.name} printed nothing {within}.", \
        "It may be the wrong kernel: it needs a serial console (CONFIG_SERIAL_8250_CONSOLE) and an initramfs."


def _exit(seen: Evidence) -> tuple[str, str] | None:
    if not seen.ended and seen.inner is None:
        return None
    code = seen.inner if seen.inner is not None else seen.code if seen.runner not in RUNNERS_OF["linux"] else None
    when = "at start" if not _reached(seen, "app") else "before it answered"
    if code is None:
        return f"{seen.name} ended {when} and told no exit code.", "See the lines above for the reason."
    if code == 0:
        return f"{seen.name} ended {when} with exit code 0.", \
               "A program that is meant to stay must not halt; see 'unibeam boot -h'."
    ended = f"was ended {when} by signal {_signal(code)}" if code < 0 or code > 128 \
        else f"crashed {when} with exit code {code}"
    if any("eaddrinuse" in line.lower() for line in seen.console):
        return f"{seen.name} {ended}.", "The port it listens on is in use: let it read the port from PORT."
    if seen.closed and any(_NO_WAY.search(line) for line in seen.console):
        return f"{seen.name} {ended}.", \
               "It seeks another host, and a virtual machine has no way out unless it is given one: --outgoing."
    return f"{seen.name} {ended}.", "The lines above are its own; correct the program and build it again."


def _signal(code: int) -> int:
    return -code if code < 0 else code - 128


def _late(seen: Evidence) -> tuple[str, str]:
    names = [name for name in MARKS if _reached(seen, name) and name not in ("spawn", "exit")]
    last = f"the last mark seen was {names[-1]}" if names else "no mark was seen"
    if seen.limited and seen.runner == "qemu" and seen.mem_mb < seen.image_mb + EMULATOR_MB:
        # A root on a disk is let go of when memory is short, and read again, and again: that ends in no error.
        return (f"{seen.name} did not reach {seen.until} within {format_seconds(seen.deadline)} in {seen.mem_mb} MB; "
                f"{last}."), _more(seen)
    message = f"{seen.name} did not reach {seen.until} within {format_seconds(seen.deadline)}; {last}."
    if seen.until == "http" and "app" in names:
        return message, "Does it listen on the port given in PORT, on all addresses, and answer below status 400?"
    return message, "Give it longer with --deadline, or look for what it waits for in its own start."


def _reached(seen: Evidence, name: str) -> bool:
    return name in (seen.marks or {})


def lines_of(texts: Iterable[str]) -> list[str]:
    """The lines of texts in order, less the empty ones and those that QEMU or a kernel prints at every start."""
    return [line.rstrip() for text in texts for line in text.split("\n") if line.strip() and not _NOISE.match(line)]
