"""OSv's command line for a release: options for OSv itself, then the program and its arguments. Pure.

Source: OSv's ``core/commands.cc``. Options end at the first word without a dash; in them a backslash makes the next
character plain. Behind them a word may stand between double quotes, in which a backslash escapes quote and backslash
(and no other sign does: ``;``, ``&`` and ``!`` end a command outside of quotes, and ``$NAME`` is replaced wherever it
stands, for which there is no escape). A word with a ``$`` in it therefore travels as a variable of its own.

OSv starts one program and has no ``fork``, so what ``erlexec`` does on Linux is done here: flags of the emulator
(``+S 1:1``) become ``-S 1:1`` in front, and the emulator is told where it lives. The dynamic linker is the program, so
that the emulator runs as it is, with our library before all others (``guest/osv_shim.c``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unibeam_nb.errors import ImageError, UsageError
from unibeam_nb.model import IMAGE_ROOT, IMAGE_STATE, PORT_VARIABLE, Launch

LINKER = "/lib64/ld-linux-x86-64.so.2"
SHIM = "/usr/lib/libunibeam_osv.so"
INETRC = "/etc/erl_inetrc"

FLAGS_VARIABLE = "ERL_AFLAGS"
"""Words that ``erlexec`` puts before all others (erl(1))."""

LONGEST = 32255
"""Bytes of a command line: it lies in the 63 blocks between a boot sector and the kernel, with a NUL behind it."""

_ESCAPED = str.maketrans({character: f"\\{character}" for character in "\\ \t\n"})


@dataclass(frozen=True)
class Network:
    """A fixed address, so that a boot does not wait for DHCP. ``address`` is an IPv4 address with its mask."""

    address: str
    mask: str
    gateway: str
    nameserver: str
    card: str = "eth0"


def environment(launch: Launch, ports: Sequence[int] = ()) -> dict[str, str]:
    """The program's environment inside the image; ``PORT`` is the first of ``ports``, until a boot says otherwise.
    ``ERL_INETRC`` has names looked up without ``inet_gethost``, a program that OSv cannot start."""
    port = {PORT_VARIABLE: str(ports[0])} if ports else {}
    return launch.env() | port | {"ERL_INETRC": INETRC}


def emulator_words(launch: Launch, first: Sequence[str] = (), root: str = IMAGE_ROOT,
                   state: str = IMAGE_STATE) -> tuple[str, ...]:
    """What ``erlexec`` would start for this launch: the emulator, its flags (``first`` before all others), and what
    Erlang reads, in the order of OTP's ``erts/etc/common/erlexec.c``. Raises ImageError for what only it can do."""
    binaries = f"{root}/{launch.erts}/bin"
    words = [*first, *launch.argv(root, state)[1:]]
    flags: list[str] = []
    plain: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word in ("-extra", "--"):
            plain += words[at:]
            break
        if word in ("-detached", "-heart", "-run_erl"):
            raise ImageError(f"The release starts with {word}, which needs another process; OSv has only one.",
                             "Remove it from vm.args, or build a linux image.")
        if word.startswith("+") and len(word) > 1:
            flags.append(f"-{word[1:]}")
            if at + 1 < len(words) and words[at + 1][:1] not in ("-", "+"):
                at += 1
                flags.append(words[at])
        elif word == "-env" and at + 2 < len(words):
            raise ImageError(f"The release sets the variable {words[at + 1]} with -env, which only erlexec reads.",
                             "Set it at boot: --env KEY=VALUE.")
        else:
            plain += ("-noshell", word) if word == "-noinput" else (word,)
        at += 1
    return (f"{binaries}/beam.smp", *flags, "--", "-root", root, "-bindir", binaries, "-progname", "erl",
            "--", "-home", state, "--", *plain)


def command_line(launch: Launch, environment: Mapping[str, str], network: Network | None, *, pci: bool = True,
                 options: Sequence[str] = ()) -> str:
    """The whole line. Without a ``network`` OSv asks DHCP; ``options`` are further words for OSv itself.

    Raises UsageError when a variable cannot be carried, ImageError when the line is longer than a disk holds.
    """
    variables = dict(environment)
    first = variables.pop(FLAGS_VARIABLE, "").split()
    words: list[str] = []
    for word in (LINKER, "--preload", SHIM, *emulator_words(launch, first)):
        if "$" in word:
            name = f"UNIBEAM_WORD_{len(words)}"
            variables[name] = word
            word = f"${name}"
        words.append(quoted(word))
    told = [*(f"--env={key}={value}" for key, value in variables.items()), "--rootfs=rofs", "--console=serial",
            f"--cwd={IMAGE_STATE}", *(() if pci else ("--nopci",)), *_network(network), *options]
    for word in told:
        if not word.isprintable():
            raise UsageError(f"{word.partition('=')[2].partition('=')[0]!r} cannot be handed to OSv.",
                             "A command line carries printable characters only.")
    line = " ".join([*(word.translate(_ESCAPED) for word in told), *words])
    if len(line.encode()) > LONGEST:
        raise ImageError(f"OSv's command line for this release has {len(line.encode())} bytes, of {LONGEST}.",
                         "Pass less with --env or --flag.")
    return line


def _network(network: Network | None) -> tuple[str, ...]:
    if network is None:
        return ()
    return (f"--ip={network.card},{network.address},{network.mask}", f"--defaultgw={network.gateway}",
            f"--nameserver={network.nameserver}")


def quoted(word: str) -> str:
    """A word of the program's as OSv reads it back."""
    if word and word.isprintable() and not set(word) & set(' ;&!"\\\''):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
