"""What was aimed at for platforms besides QEMU and containers: writing OSv's file system, disks, sending to AWS.

    scripts/platforms.py [PART...]     print: rofs, disk, osv, aws; all of them where none is named
    scripts/platforms.py --write       and rewrite their part of BENCHMARKS.md and notebooks/data/platforms.json

``osv`` takes a kernel of yours (UNIBEAM_OSV_KERNEL), ``aws`` the extra ``test``. Run nothing else beside it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil
from bench import quickstart_source
from figures import Figure, table, write

from unibeam_nb.arms import Arm
from unibeam_nb.errors import UnibeamError
from unibeam_nb.image import ami, osv, root
from unibeam_nb.image.ebs import BLOCK, Journal, upload
from unibeam_nb.image.formats import rofs
from unibeam_nb.lab import Build, Lab
from unibeam_nb.units import format_bytes, format_seconds

REGION = "eu-central-1"
APPLICATIONS = ("ssl", "inets", "mnesia", "compiler", "ssh", "xmerl", "snmp", "syntax_tools", "runtime_tools", "tools")
"""What makes a release of some 20 MB with the emulator and the libraries."""

RUNS, AIM_MB_PER_S = 5, 100


def hello(lab: Lab, **options: object) -> Build:
    return lab.build("platforms", text=quickstart_source(), ports=(8080,), **options)  # type: ignore[arg-type]


def of_rofs(lab: Lab) -> Iterator[Figure]:
    """OSv's file system with a large release, from the files in the page cache to a file."""
    release = lab.build("platforms-large", text=quickstart_source(), ports=(8080,), applications=APPLICATIONS,
                        target="release").release
    shim = osv.compiled_shim(lab.store)
    whole = osv.compose(release, root.release_libraries(release), shim)
    times, cpu = [], []
    with lab.store.scratch() as place:
        for _ in range(RUNS + 1):
            began, own = time.perf_counter(), time.process_time()
            with (place / "disk").open("wb") as stream:
                for piece in rofs.write(whole):
                    stream.write(piece)
            times.append(time.perf_counter() - began)
            cpu.append(time.process_time() - own)
        size = (place / "disk").stat().st_size
    yield Figure(f"ROFS image of {format_bytes(size)}, {len(whole)} files and directories, written", "0.5 s for 20 MB",
                 f"{format_seconds(median(times[1:]))}, {format_seconds(median(cpu[1:]))} of processor time; n={RUNS}",
                 {"bytes": size, "seconds": times[1:], "cpu_s": cpu[1:]})


def of_disk(lab: Lab) -> Iterator[Figure]:
    """What disks of the hello occupy: the blocks that hold something. A kernel that the store lacks is compiled."""
    build = hello(lab, target="disk")
    for arm in ("disk@qemu", "disk+tiny@qemu", "disk+tiny+shake+lean@qemu"):
        used = lab.image(build, Arm.parse(arm)).file("disk").stat().st_blocks * 512
        yield Figure(f"disk of the hello, `{arm}`: bytes used", "12 MB" if "tiny" in arm else "",
                     format_bytes(used), {"arm": arm, "bytes": used})


def of_osv(lab: Lab) -> Iterator[Figure]:
    """The hello on the user's own OSv: what it weighs, and how little memory it takes."""
    path = os.environ.get("UNIBEAM_OSV_KERNEL")
    if not path:
        return
    lab.add_osv(path)
    began = time.perf_counter()
    build = hello(lab, target="osv")
    made, image = time.perf_counter() - began, build.images[0]
    yield Figure(WITH_OSV[0], "14 MB", format_bytes(image.shipped_bytes),
                 {"bytes": image.shipped_bytes, "kernel": image.kernel})
    yield Figure(WITH_OSV[1], "no VM is booted", format_seconds(made), {"seconds": made})
    machine = lab.boot(build.name, arm="osv@qemu", http="/", mem_mb=64, deadline=120)
    marks = {name: mark.at for name, mark in machine.marks.items()}
    machine.stop()
    yield Figure(WITH_OSV[2], "boots",
                 f"to HTTP in {format_seconds(marks['http'])} ({machine.accelerator})",
                 {"marks": marks, "accelerator": machine.accelerator})


@contextmanager
def served(command: list[str], port: int) -> Iterator[psutil.Process]:
    """A server of AWS's interface on loopback, in a process of its own, and this process set up to ask it."""
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "x",
                   "AWS_SECRET_ACCESS_KEY": "x", "AWS_CONFIG_FILE": "/dev/null"}
    server = subprocess.Popen([sys.executable, *command, str(port)], stderr=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL)
    try:
        while not answers(port):
            time.sleep(0.1)
        yield psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


def answers(port: int) -> bool:
    """Whether somebody listens at this port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def of_aws(lab: Lab) -> Iterator[Figure]:
    """Blocks of chance behind a hole, sent as ``publish`` sends them: to a server that only answers, and to moto, which
    keeps them in memory. moto is one process of Python, so its own processor time bounds what can be sent to it."""
    here = Path(__file__).resolve().parent
    for name, command in (("a server that only answers", [str(here / "bare_ebs.py")]),
                          ("moto, which looks up once what it consists of", [str(here / "moto_server.py")])):
        rates, ours, theirs = [], [], []
        with tempfile.TemporaryDirectory() as directory, served(command, free_port()) as server:
            disk, blocks = Path(directory) / "disk", 200
            with disk.open("wb") as stream:
                stream.seek(1 << 30)
                for _ in range(blocks):
                    stream.write(os.urandom(BLOCK))
            ebs = ami.client("ebs", REGION)  # Reading boto3's models takes a tenth of a second, whatever is sent.
            for turn in range(RUNS + 1):
                own, other = time.process_time(), sum(server.cpu_times()[:2])
                began = time.perf_counter()
                sent = upload(ebs, disk, Journal(Path(directory) / str(turn)), REGION, {"unibeam:name": "speed"})
                took = time.perf_counter() - began
                assert sent == blocks, "the hole was sent"
                rates.append(blocks * BLOCK / 1e6 / took)
                ours.append((time.process_time() - own) / blocks)
                theirs.append((sum(server.cpu_times()[:2]) - other) / blocks)
        # The first turn loads what the server needs.
        yield Figure(f"blocks that are not zero to AWS's interface: {name}", f"{AIM_MB_PER_S} MB/s",
                     f"{median(rates[1:]):.0f} MB/s; of processor time per block of {BLOCK >> 10} KiB "
                     f"{median(ours[1:]) * 1e3:.1f} ms here, {median(theirs[1:]) * 1e3:.1f} ms there; n={RUNS}",
                     {"server": name, "mb_per_s": rates[1:], "cpu_s_per_block": ours[1:],
                      "server_cpu_s_per_block": theirs[1:]})


WITH_OSV = ("hello with an OSv kernel, compressed", "making that image, release included", "hello on OSv in 64 MiB")
"""Rows that only a host with an OSv kernel can measure."""

PARTS: dict[str, Callable[[Lab], Iterator[Figure]]] = {"rofs": of_rofs, "disk": of_disk, "osv": of_osv, "aws": of_aws}


def main(words: list[str]) -> None:
    lab = Lab()
    parts = [word for word in words if word in PARTS] or list(PARTS)
    figures = [figure for part in parts for figure in PARTS[part](lab)]
    if "--write" in words:
        measured = [figure.what for figure in figures]
        write("platforms", figures, [what for what in WITH_OSV if what not in measured])
    print(table(figures))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UnibeamError as error:
        print(f"platforms: {error}", file=sys.stderr)
        sys.exit(1)
