"""PID 1 in a real guest: the stock kernel, our init, and a small program that tells what it finds."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from unibeam_nb import process, tools
from unibeam_nb.image import kmod
from unibeam_nb.image.formats import cpio
from unibeam_nb.image.init import compiled_init
from unibeam_nb.image.kernels import Kernel, stock_kernel
from unibeam_nb.image.tree import device, directory, file, tree
from unibeam_nb.model import MARK_LINE
from unibeam_nb.store import Store

NONCE = "0123456789abcdef"

PROGRAM = r"""
#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

extern char **environ;

static void show(const char *path) {
    char line[256];
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) printf("%s: %s", path, line);
}
static void stopped(int sig) { printf("got signal %d\n", sig); fflush(stdout); _exit(3); }

int main(int count, char **words) {
    struct rlimit files, core;
    struct ifaddrs *list;
    char host[100], where[100], byte;
    if (!strcmp(words[1], "die")) raise(SIGSEGV);
    if (!strcmp(words[1], "killed")) raise(SIGKILL);
    if (!strcmp(words[1], "stop")) { signal(SIGTERM, stopped); kill(1, SIGTERM); for (;;) pause(); }
    for (int i = 1; i < count; i++) printf("word %d: [%s]\n", i, words[i]);
    for (char **pair = environ; *pair; pair++) printf("variable: %s\n", *pair);
    gethostname(host, sizeof host);
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_CORE, &core);
    printf("host: %s\ncwd: %s\nfiles: %d %d\ncore: %d\n", host, getcwd(where, sizeof where),
           (int)files.rlim_cur, (int)files.rlim_max, (int)core.rlim_max);
    for (getifaddrs(&list); list; list = list->ifa_next)
        if (list->ifa_addr && list->ifa_addr->sa_family == AF_INET)
            printf("address: %s %s %s\n", list->ifa_name, inet_ntoa(((struct sockaddr_in *)list->ifa_addr)->sin_addr),
                   list->ifa_flags & 1 ? "up" : "down");
    show("/etc/hosts"); show("/etc/resolv.conf"); show("/proc/net/route"); show("/proc/mounts");
    printf("random: %d\n", (int)getrandom(&byte, 1, GRND_NONBLOCK));
    printf("null: %d, writable: %d %d\n", open("/dev/null", O_RDWR) >= 0,
           access("/tmp", W_OK), access("/dev/shm", W_OK));
    printf("input: %d\n", (int)read(0, &byte, 1));
    fflush(stdout);
    if (fork() == 0) { if (fork() == 0) { sleep(100); _exit(0); } _exit(0); }
    return 7;
}
"""


@dataclass(frozen=True)
class Ended:
    """How a guest ended: QEMU's exit status, the console, and the marks (name, nanoseconds, the rest)."""

    code: int
    console: str

    @property
    def marks(self) -> list[tuple[str, int, str]]:
        found = list(MARK_LINE.finditer(self.console))
        assert {mark[1] for mark in found} <= {NONCE}
        return [(mark[2], int(mark[3]), mark[4].strip()) for mark in found]

    @property
    def exit(self) -> str:
        name, _, rest = self.marks[-1]
        assert name == "exit"
        return rest

    @property
    def complaints(self) -> list[str]:
        return re.findall(r"unibeam-init: ([^\r\n]+)", self.console)

    def values(self, key: str) -> list[str]:
        return re.findall(rf"^{re.escape(key)}: ([^\r\n]*)", self.console, re.MULTILINE)


Boot = Callable[..., Ended]


@pytest.fixture(scope="module")
def kernel(store: Store) -> Kernel:
    return stock_kernel(store)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    (folder / "program.c").write_text(textwrap.dedent(PROGRAM))
    process.run([tools.find("musl-gcc"), "-static", "-Os", "-o", "program", "program.c"], cwd=folder)
    return folder / "program"


@pytest.fixture
def boot(store: Store, kernel: Kernel, program: Path, tmp_path: Path) -> Boot:
    def run(argv: list[str] | None, cmdline: str = "", *, card: bool = False, environment: str = "HOME=/home/x\n",
            modules: str | None = None) -> Ended:
        assert kernel.modules is not None
        found = kmod.Modules(kernel.modules).closure(["virtio_pci", "virtio_net"]) if card else ()
        paths = "".join(f"/lib/{module.name}.ko\n" for module in found)
        entries = [device("dev/console", 5, 1, 0o600), device("dev/null", 1, 3, 0o666),
                   file("init", compiled_init(store), 0o755), file("program", program, 0o755), directory("home/x"),
                   *(file(f"lib/{module.name}.ko", module.data) for module in found),
                   file("etc/unibeam/env", environment),
                   file("etc/unibeam/modules", paths if modules is None else modules)]
        if argv is not None:
            entries.append(file("etc/unibeam/argv", "".join(f"{word}\n" for word in argv)))
        initramfs = tmp_path / "initramfs"
        initramfs.write_bytes(b"".join(cpio.write(tree(entries).values())))
        network = ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile="] if card else []
        done = process.run(
            [tools.find("qemu-system-x86_64"), "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "128", "-nodefaults",
             "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio", *network,
             "-kernel", kernel.path, "-initrd", initramfs,
             "-append", f"console=ttyS0 quiet panic=-1 unibeam.nonce={NONCE} {cmdline}".strip()],
            timeout=90, check=False)
        return Ended(done.code, done.stdout.replace("\r", ""))

    return run


def test_a_program_finds_a_machine_made_ready(boot: Boot) -> None:
    ended = boot(["/program", "look", "", "two words"],
                 'unibeam.ip=10.0.2.15/24 unibeam.gw=10.0.2.2 unibeam.dns=10.0.2.3 unibeam.hostname=web '
                 'unibeam.env.PORT=8080 "unibeam.env.GREETING=good day" unibeam.env.LOW=2', card=True,
                 environment="HOME=/home/x\nLOW=1\nPATH=/opt/bin\n")
    assert ended.complaints == []
    assert (ended.code, ended.exit) == (0, "code=7")
    assert [name for name, _, _ in ended.marks] == ["init", "exit"]
    assert 0 < ended.marks[0][1] < ended.marks[1][1]
    words = re.findall(r"^word \d: \[(.*)\]$", ended.console, re.MULTILINE)
    assert words == ["look", "", "two words"]
    assert sorted(ended.values("variable")) == [
        "GREETING=good day", "HOME=/home/x", "LANG=C.UTF-8", "LOW=2", "PATH=/opt/bin", "PORT=8080",
        f"UNIBEAM_NONCE={NONCE}"]
    assert (ended.values("host"), ended.values("cwd")) == (["web.unibeam"], ["/home/x"])
    limit = int(ended.values("files")[0].split()[0])
    assert 1024 <= limit <= 65536
    assert ended.values("core") == ["0"]
    assert ended.values("address") == ["lo 127.0.0.1 up", "eth0 10.0.2.15 up"]
    assert "10.0.2.15 web.unibeam web" in ended.values("/etc/hosts")
    assert ended.values("/etc/resolv.conf") == ["nameserver 10.0.2.3"]
    assert any(line.split()[:3] == ["eth0", "00000000", "0202000A"] for line in ended.values("/proc/net/route"))
    mounted = {line.split()[1]: line.split()[2] for line in ended.values("/proc/mounts")}
    del mounted["/"]
    assert mounted == {"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs", "/dev/pts": "devpts",
                       "/dev/shm": "tmpfs", "/tmp": "tmpfs", "/run": "tmpfs"}
    assert ended.values("random") == ["1"]
    assert ended.values("null") == ["1, writable: 0 0"]
    assert ended.values("input") == ["0"]


@pytest.mark.parametrize(("mode", "status", "complaint"), [
    ("killed", "code=137", "the program was killed, most likely because memory ran out; give the machine more memory."),
    ("die", "code=139", "the program died of signal 11 (Segmentation fault); its last lines above may tell why.")])
def test_a_program_that_is_killed_is_told_with_its_signal(boot: Boot, mode: str, status: str, complaint: str) -> None:
    ended = boot(["/program", mode])
    assert (ended.code, ended.exit, ended.complaints) == (0, status, [complaint])


def test_a_request_to_stop_reaches_the_program_and_reboot_is_an_end_too(boot: Boot) -> None:
    ended = boot(["/program", "stop"], "unibeam.off=reboot")
    assert "got signal 15" in ended.console
    assert (ended.code, ended.exit, ended.complaints) == (0, "code=3", [])


def test_a_program_that_is_not_there_ends_the_machine_with_the_reason(boot: Boot) -> None:
    ended = boot(["/opt/missing"])
    assert (ended.code, ended.exit) == (0, "code=127")
    assert ended.complaints == ["/opt/missing cannot be started (No such file or directory); the image lacks it or the "
                                "library loader it names, build the image again."]


def test_an_image_without_a_program_ends_with_the_reason(boot: Boot) -> None:
    ended = boot(None)
    assert (ended.code, ended.exit) == (0, "code=125")
    assert ended.complaints == ["there is no program in /etc/unibeam/argv; build the image again."]


def test_what_is_not_needed_is_reported_and_survived(boot: Boot) -> None:
    ended = boot(["/program", "look"], "unibeam.ip=10.0.2.15/24 unibeam.env.EMPTY", modules="/lib/gone.ko\n/init\n",
                 environment="HOME=/nowhere\n")
    assert ended.exit == "code=7"
    missing, damaged, card, variable, home = ended.complaints
    assert missing == ("the kernel module /lib/gone.ko is not in the image (No such file or directory); "
                       "build the image again.")
    assert re.fullmatch(r"the kernel module /init does not load \(.+\); the running kernel is \S+, "
                        r"use the one this image was built with\.", damaged)
    assert card == ("no network card appeared within 5 s; give the machine a virtio-net device, "
                    "or leave unibeam.ip out.")
    assert variable == "unibeam.env.EMPTY has no value; write unibeam.env.KEY=VALUE."
    assert home == "the program's home /nowhere is not in the image (No such file or directory); build the image again."


@pytest.mark.parametrize(("address", "complaint"), [
    ("unibeam.ip=10.0.2.15/99", "unibeam.ip has the prefix length 99; write it like unibeam.ip=10.0.2.15/24."),
    ("unibeam.ip=ten/24", "eth0 does not take the address ten/24 (Invalid argument); "
                          "write unibeam.ip like 10.0.2.15/24."),
    ("unibeam.ip=10.0.2.15/24 unibeam.gw=192.168.9.1",
     "there is no route to the gateway 192.168.9.1 (Network unreachable); it must be in the network of unibeam.ip.")])
def test_an_address_that_makes_no_sense_is_told_and_survived(boot: Boot, address: str, complaint: str) -> None:
    ended = boot(["/program", "look"], address, card=True)
    assert (ended.exit, ended.complaints) == ("code=7", [complaint])


def test_outside_a_machine_it_says_so_and_does_nothing(store: Store) -> None:
    done = process.run([compiled_init(store)], check=False)
    assert done.code == 125
    assert done.stderr.strip() == ("unibeam-init: this program prepares a machine and only runs as its first process; "
                                   "boot the image instead.")


def test_it_is_the_same_bytes_wherever_it_is_compiled(store: Store, fresh_store: Store) -> None:
    one, two = compiled_init(store), compiled_init(fresh_store)
    assert one != two
    assert one.read_bytes() == two.read_bytes()
    assert len(one.read_bytes()) < 100_000
