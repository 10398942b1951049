"""What PID 1 reads (guest/*.c): words of the command line, orders on the console, labels of disks, DHCP's answers,
events of the power button. Its own files are compiled with the sanitizers and called from ``guest_init.c``, which says
how."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path

from tests.fuzz.target import ROOT, Judge, Target, Verdict, scratch
from tests.fuzz.targets import guest
from unibeam_nb import process, tools
from unibeam_nb.image.init import GUEST, SOURCES
from unibeam_nb.machine.qemu_arguments import Guest, kernel_command_line
from unibeam_nb.machine.snapshot_facts import order
from unibeam_nb.store import digest

DRIVER = ROOT / "tests/fuzz/guest_init.c"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FLAGS = ("-g", "-O0", "-std=gnu11", "-w", *SANITIZERS)

SHOWN = {"init.c": ("read_options",), "cloud.c": ("is_seed", "told_url"), "data.c": ("ours",),
         "dhcp.c": ("read_message",), "network.c": ("use_lease",), "orders.c": ("pool",),
         "power.c": ("button", "group_of")}
"""Static names that the driver uses."""

WRAPPED = re.compile(r"\b__wrap_(\w+)|NOTHING\((\w+)\);")

AGAIN = 'until "$0" "$1" 2>words; do mv words fault; echo; done'
"""Starts the driver anew as long as a fault ends it, and says so by an empty line. The shell was started before the
worker's memory was limited: the sanitizers reserve far more than they use."""


@lru_cache(maxsize=4)
def driver(folder: Path = GUEST, guided: bool = False) -> Path:
    """The program, compiled of the guest's files in a folder; ``guided`` it is libFuzzer's, which clang has."""
    place = scratch() / f"init-{digest(str(folder))[:8]}{'-guided' * guided}"
    place.mkdir(exist_ok=True)
    compiler, objects = tools.find("clang" if guided else "gcc"), []
    watched, linked = (("-fsanitize=fuzzer-no-link",), ("-fsanitize=fuzzer", "-DGUIDED")) if guided else ((), ())
    for source in SOURCES:
        made = place / f"{source}.o"
        process.run([compiler, *FLAGS, *watched, "-c", folder / source, "-o", made], timeout=120)
        shown = [f"--globalize-symbol={name}" for name in SHOWN.get(source, ())]
        process.run(["objcopy", "--redefine-sym", "main=init_main", *shown, made], timeout=60)
        objects.append(made)
    wrapped = {first or second for first, second in WRAPPED.findall(DRIVER.read_text(encoding="utf-8"))} - {"", "name"}
    process.run([compiler, *FLAGS, *linked, f"-I{folder}", *(f"-Wl,--wrap={name}" for name in sorted(wrapped)), DRIVER,
                 *objects, "-o", place / "driver"], timeout=120)
    return place / "driver"


@contextmanager
def reader(name: str, folder: Path = GUEST) -> Iterator[Judge]:
    """A driver that judges by one of its readers."""
    program = driver(folder)
    words = [*_unshuffled(), "sh", "-c", AGAIN, program, name]
    child = process.spawn(words, cwd=program.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, env={"ASAN_OPTIONS": "detect_leaks=0:max_allocation_size_mb=256"})
    try:
        yield lambda inputs: [_judged(child, program.parent / "fault", data) for data in inputs]
    finally:
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
        process.stop_group(child)


def _explorer(reader: str) -> Callable[[Target, Path, int, float], None] | None:
    """What guides a reader, where there is clang: its libFuzzer, which the first fault ends."""

    def explore(target: Target, place: Path, seed: int, seconds: float) -> None:
        program = driver(guided=True)
        for name in ("corpus", "found", "slow"):
            (place / name).mkdir(parents=True)
        for number, data in enumerate(target.seeds()):
            (place / "corpus" / str(number)).write_bytes(data)
        quoted = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words)
        (place / "words").write_text("".join(f'"{word}"\n' for word in quoted))
        words = [f"-seed={seed}", f"-max_len={target.longest}", f"-max_total_time={seconds:.0f}", "-timeout=10",
                 f"-dict={place / 'words'}", "-reload=0", f"-artifact_prefix={place / 'found'}/", place / "corpus"]
        done = process.run([*_unshuffled(), program, *words], check=False, timeout=seconds + 300,
                           env={"READER": reader, "ASAN_OPTIONS": "detect_leaks=0:max_allocation_size_mb=256"})
        (place / "told").write_text(done.stderr, encoding="utf-8")

    return explore if tools.locate("clang") else None


@lru_cache(maxsize=1)
def _unshuffled() -> tuple[str, ...]:
    """The words that start a program with addresses that are not chosen at random, where the host lets them: else one
    start in some hundreds finds no room for what the sanitizers set aside."""
    words = ("setarch", "-R")
    return words if process.run([*words, "true"], check=False).code == 0 else ()


def _judged(child: subprocess.Popen[bytes], fault: Path, data: bytes) -> Verdict:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(len(data).to_bytes(4, "big") + data)
    child.stdin.flush()
    answer = child.stdout.readline()
    assert answer, "the driver cannot be started"
    taken, _, micros = answer.strip().partition(b" ")
    if taken:
        return Verdict(None, taken != b"0", int(micros) / 1e6)
    return Verdict(_told(fault.read_text(encoding="utf-8", errors="replace")), False, 0.0)


def _told(report: str) -> str:
    """The kind of a fault and the guest's line that had it, in a sanitizer's report."""
    kind = re.search(r"(?:ERROR: \w+: |runtime error: )(.*?)(?: on |: |$)", report, re.MULTILINE)
    place = re.search(r"guest/(\w+\.c:\d+)", report)
    if kind is None:
        return "more than a second, or an end without a word"
    return f"{kind[1]} in {place[1] if place else 'an unknown place'}"


def _reader(name: str) -> Callable[[], AbstractContextManager[Judge]]:
    return lambda: reader(name)


NONCE = "0123456789abcdef"


def _lines() -> Sequence[bytes]:
    one = Guest(Path("k"), Path("i"), NONCE, "tcg", variables=(("PORT", "8080"), ("GREETING", "hello world")),
                channel=4371, user_data="http://10.0.2.2:80/x/", outgoing=True, snapshot="taken", shell=True,
                more=("unibeam.data", "unibeam.heart=5", "unibeam.guard=30", "unibeam.restarts=3"))
    return [kernel_command_line(one).encode(), b"unibeam.ip=dhcp unibeam.off=reboot unibeam.data=found\n"]


def _orders() -> Sequence[bytes]:
    told = order(NONCE[::-1], "beam-0123456789ab.unibeam", 1_700_000_000_123_456_789, bytes(range(32)), "ab" * 32)
    return [told, order(NONCE, "a.b", 1, bytes(32)), f"stop {NONCE}\n".encode(), f"prepare {NONCE}\n".encode(),
            b"freeze\n", b"secret " + b"0f" * 32 + b"\n"]


def _disks() -> Sequence[bytes]:
    """Seeds as far as they are looked at, and the first blocks of a data disk."""
    data = bytearray(2048)
    data[1024 + 56:1024 + 58], data[1024 + 120:1024 + 132] = b"\x53\xef", b"unibeam-data"
    return [*(one[:40 << 10] for one in guest._disks()), bytes(data)]


def _answers() -> Sequence[bytes]:
    """An offer and an acknowledgement (RFC 2131, figure 1) with every option that is read."""
    head = struct.pack(">BBBB4sHH4s4s8s16s64s128s4s", 2, 1, 6, 0, b"", 0, 0, b"", bytes((10, 0, 2, 15)), b"", b"",
                       b"", b"", bytes((99, 130, 83, 99)))
    common = (b"\x01\x04\xff\xff\xff\x00\x03\x04\x0a\0\x02\x02\x06\x04\x0a\0\x02\x03"
              b"\x36\x04\x0a\0\x02\x02\x33\x04\0\1\x51\x80")
    return [head + b"\x35\x01\x02" + common + b"\xff",
            head + b"\x35\x01\x05" + common + b"\x0c\x05web-1\x0f\x0bexample.org\xff" + bytes(60)]


def _events() -> Sequence[bytes]:
    """The kernel's answer to who acpi_event is, and a press of the button (linux/genetlink.h, drivers/acpi/event.c)."""
    group = struct.pack("<HHI", 8, 2, 7) + struct.pack("<HH16s", 20, 1, b"acpi_mc_group")
    nested = struct.pack("<HH", 4 + 4 + len(group), 7) + struct.pack("<HH", 4 + len(group), 1) + group
    event = struct.pack("<HH20s15sII", 4 + 43, 1, b"button/power", b"LNXPWRBN:00", 0x80, 1) + b"\0"
    return [struct.pack("<IHHIIBBH", 20 + len(body), kind, 0, 1, 0, 1, 1, 0) + body
            for kind, body in ((0x10, nested), (0x1a, event))]


TARGETS = (
    Target("pid1-words", _lines, judge=_reader("words"), explore=_explorer("words"), share=40, longest=1 << 13,
           words=(b" ", b'"', b"unibeam.env.", b"unibeam.ip=", b"unibeam.nonce=", b"unibeam.hostname=",
                  b"ds=nocloud;s=", b";", b"seedfrom=", b"=", b"\n", b"\0", b"9" * 40, b"A" * 70)),
    Target("pid1-orders", _orders, judge=_reader("orders"), explore=_explorer("orders"), share=40, longest=1 << 12,
           words=(b"resume ", b"stop ", b"prepare ", b"freeze\n", b"secret ", b" ", b"\n", b"\0", NONCE.encode(),
                  b"ab" * 32, b"f" * 100, b"9" * 30, b"-1")),
    Target("pid1-disk", _disks, judge=_reader("disk"), explore=_explorer("disk"), share=10, longest=1 << 16,
           words=(b"\1CD001", b"cidata", b"CIDATA", b"FAT32", b"FAT16", b"\x55\xaa", b"\x53\xef", b"unibeam-data")),
    Target("pid1-dhcp", _answers, judge=_reader("answer"), explore=_explorer("answer"), share=40, longest=600,
           words=(b"\xff", b"\0", b"\x35\x01\x05", b"\x0c\xff", b"\x0f\x40" + b"a" * 64, b"\x0c\x40" + b"b" * 64,
                  b"\x33\x04\xff\xff\xff\xff", b"\x01\x04\0\0\0\0")),
    Target("pid1-netlink", _events, judge=_reader("netlink"), explore=_explorer("netlink"), share=40, longest=2600,
           words=(b"\0\0", b"\xff\xff", b"\x01\0", b"\x02\0", b"\x07\0", b"\x03\0", b"\x04\0", b"button/power")),
) if tools.locate("gcc") and tools.locate("objcopy") else ()  # fmt: skip
