"""A linux image on a real Xen, without a Xen host: Debian's hypervisor and its ordinary kernel as dom0, under QEMU.

The emulated host sees this host's files, read-only by 9p with a file system in memory above them. So in its dom0 runs
what is being tested, the very same Lab, and starts the image by xl. An emulated processor has AMD's virtualisation,
with which Xen runs PVH guests too, slowly.
"""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import unibeam_nb
from unibeam_nb import process, tools
from unibeam_nb.apt import Apt, obtain
from unibeam_nb.arms import Arm
from unibeam_nb.image import kmod
from unibeam_nb.image.formats import cpio
from unibeam_nb.image.tree import device, directory, file, tree
from unibeam_nb.lab import Build, Lab
from unibeam_nb.store import Store, digest

pytestmark = pytest.mark.slow
"""``make xen`` runs what is marked ``xen`` besides: it compiles a kernel, unless the store has it."""

HELLO = """
-module(xen_hello).
-export([start/0]).
start() ->
    Port = list_to_integer(os:getenv("PORT", "8080")),
    {ok, Listen} = gen_tcp:listen(Port, [binary, {packet, http_bin}, {active, false}, {reuseaddr, true}]),
    spawn(fun() -> loop(Listen) end).
loop(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    {ok, _} = gen_tcp:recv(Socket, 0),
    Body = <<"on ", (element(2, file:read_file("/sys/hypervisor/type")))/binary>>,
    ok = gen_tcp:send(Socket, ["HTTP/1.1 200 OK\\r\\nContent-Length: ", integer_to_list(byte_size(Body)),
                               "\\r\\nConnection: close\\r\\n\\r\\n", Body]),
    ok = gen_tcp:close(Socket),
    loop(Listen).
"""

SYSTEM, KERNEL = "xen-system-amd64", "linux-image-amd64"
PARTS = re.compile(r"(?:xen-hypervisor-\d|xen-utils|xenstore-utils|libxen|libyajl)[\w.+-]*")

MODULES = ("virtio_pci", "9p", "9pnet_virtio", "overlay", "xenfs", "xen_privcmd", "xen_evtchn", "xen_gntdev",
           "xen_gntalloc", "xen_netback")
"""What dom0 needs: its root, what xl speaks to the hypervisor through, and the other end of a guest's card."""

CPU = "qemu64,+svm,+npt,+rdrand"
"""A plain processor with virtualisation. What QEMU emulates beyond that is not good enough for a hypervisor: ``iret``
between two user modes, which is how a PV kernel returns, is refused under SMAP (before QEMU 9.1), a guest's ``rdtscp``
reaches Xen as ``rdtsc``, and what XSAVE keeps is not always what comes back."""

INIT = """#!/busybox sh
b=/busybox
$b mount -t proc proc /proc; $b mount -t devtmpfs dev /dev
while read module; do $b insmod $module; done < /modules
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,ro,cache=loose host /host
$b mount -t tmpfs upper /upper; $b mkdir /upper/files /upper/work /upper/usr /upper/usrwork
$b mount -t overlay -o lowerdir=/host,upperdir=/upper/files,workdir=/upper/work root /root
$b mount -t overlay -o lowerdir=/host{xen}/usr:/host/usr,upperdir=/upper/usr,workdir=/upper/usrwork usr /root/usr
$b mount -t proc proc /root/proc; $b mount -t sysfs sys /root/sys; $b mount -t devtmpfs dev /root/dev
$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts pts /root/dev/pts; $b mount -t tmpfs shm /root/dev/shm; $b mount -t tmpfs run /root/run
$b mount -t xenfs xenfs /root/proc/xen
$b mkdir -p /root/run/lock /root/run/xenstored /root/run/xen /root/etc/xen /root/var/log/xen /root/var/lib/xen
$b cp /orders /root/run/orders; : > /root/etc/xen/xl.conf
$b ip link set lo up
$b chroot /root /bin/sh /run/orders
$b poweroff -f
"""

ORDERS = """export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PYTHONPATH={sources}
for place in /usr/lib/xen-[0-9]*/bin; do :; done
$place/xenstored && $place/xen-init-dom0 && $place/xenconsoled
exec {python} -c '{script}' {arguments} < /dev/null
"""

SCRIPT = """
import json, subprocess, sys, time, traceback, urllib.request
from pathlib import Path
from unibeam_nb.lab import Lab
from unibeam_nb.store import Store
cache, state, name, *arms = sys.argv[1:]
lab = Lab(Store(Path(cache), Path(state)))
def listed():
    return subprocess.run(["xl", "list"], capture_output=True, text=True).stdout
def told(arm):
    machine = lab.boot(name, arm=arm, http="/", deadline=540, mem_mb=192, channel=True)
    found = dict(marks=list(machine.marks), times=[mark.at for mark in machine.marks.values()],
                 url=machine.url, memory=machine.memory().payload, arm=machine.arm,
                 body=urllib.request.urlopen(machine.url, timeout=60).read().decode(),
                 configuration=(machine.directory / "xl.cfg").read_text(), during=listed())
    machine.stop(grace=60)
    return found | dict(alive=machine.alive, code=machine.exit_code, console=machine.console.text(), after=listed())
for arm in arms:
    began = time.monotonic()
    try:
        answer = told(arm)
    except BaseException as error:
        answer = dict(arm=arm, error=str(error) + traceback.format_exc())
    print("TOLD" + json.dumps(answer | dict(seconds=time.monotonic() - began)) + "END", flush=True)
"""


@dataclass(frozen=True)
class XenHost:
    """What boots as a Xen host: the hypervisor, dom0's kernel, its modules in load order, and what it has installed."""

    hypervisor: Path
    kernel: Path
    modules: tuple[kmod.Module, ...]
    busybox: Path
    installed: Path

    def tell(self, place: Path, orders: str) -> str:
        """Boot it in ``place``, have dom0 follow the orders, and return what it printed."""
        entries = [*(directory(name) for name in ("proc", "dev", "host", "upper", "root")),
                   device("dev/console", 5, 1, 0o600), device("dev/null", 1, 3, 0o666),
                   file("busybox", self.busybox, 0o755),
                   file("init", INIT.format(xen=self.installed), 0o755), file("orders", orders),
                   *(file(f"{module.name}.ko", module.data) for module in self.modules),
                   file("modules", "".join(f"/{module.name}.ko\n" for module in self.modules))]
        (place / "initramfs").write_bytes(b"".join(cpio.write(iter(tree(entries).values()))))
        serial = place / "serial.log"
        command = (tools.find("qemu-system-x86_64"), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                   "-machine", "q35,accel=tcg", "-cpu", CPU, "-m", "1536", "-serial", f"file:{serial}",
                   "-kernel", self.hypervisor, "-append", "console=com1 dom0_mem=1024M,max:1024M",
                   "-initrd", f"{self.kernel} console=hvc0 quiet panic=-1,{place / 'initramfs'}",
                   "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
                   "-device", "virtio-9p-pci,fsdev=host,mount_tag=host")
        process.run(command, timeout=1100, check=False)
        return serial.read_text(errors="replace")


@pytest.fixture(scope="module")
def xen_host(store: Store) -> XenHost:
    """Debian's packages for a Xen host, unpacked and never installed."""
    entry = obtain(store, "Xen", SYSTEM, _packages, lambda apt, packages: _entry(store, apt, packages), "")
    modules = kmod.Modules(next((entry / "modules").iterdir()))
    return XenHost(entry / "xen", entry / "kernel", modules.closure(MODULES), entry / "busybox", entry / "installed")


def _packages(apt: Apt) -> dict[str, str]:
    shown = process.run([apt.query, *apt.options(), "depends", "--important", "--recurse", SYSTEM], check=False).stdout
    names = dict.fromkeys(word for word in shown.split() if PARTS.fullmatch(word))
    found = {name: version for name in (*names, "busybox-static") if (version := apt.version(name))}
    return found | apt.named_by(KERNEL, re.compile(r"linux-image-\d[\w.+-]*")) if names else {}


def _entry(store: Store, apt: Apt, packages: Mapping[str, str]) -> Path:
    def make(place: Path) -> None:
        with store.scratch() as scratch:
            root = apt.unpack(packages, scratch)
            (place / "xen").write_bytes(gzip.decompress(next((root / "boot").glob("xen-*.gz")).read_bytes()))
            shutil.copyfile(next((root / "boot").glob("vmlinuz-*")), place / "kernel")
            folder = next((root / "lib" / "modules").iterdir())
            for module in kmod.Modules(folder).closure(MODULES):
                target = place / "modules" / folder.name / module.path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(module.path, target)
            shutil.copyfile(folder / "modules.builtin", place / "modules" / folder.name / "modules.builtin")
            shutil.copyfile(next(root.glob("**/bin/busybox")), place / "busybox")
            shutil.copytree(root / "usr", place / "installed" / "usr", symlinks=True)

    return store.build("test-packages", digest("xen", packages, MODULES)[:32], make)[0]


@pytest.fixture(scope="module")
def build(store: Store) -> Build:
    return Lab(store).build("xen-hello", text=HELLO, ports=(8080,), shake=True)


def told(xen_host: XenHost, store: Store, place: Path, name: str, *arms: str) -> list[dict[str, Any]]:
    """What the Lab in dom0 says of the machines that it boots one after the other."""
    orders = ORDERS.format(
        sources=Path(unibeam_nb.__file__).parent.parent, python=sys.executable, script=SCRIPT,
        arguments=shlex.join([str(store.cache), str(store.state), name, *arms]))
    printed = xen_host.tell(place, orders)
    answers: list[dict[str, Any]] = [json.loads(found) for found in re.findall("TOLD(.*?)END", printed, re.DOTALL)]
    assert len(answers) == len(arms), printed[-4000:]
    for answer in answers:
        assert "error" not in answer, answer["error"] + printed[-2000:]
    return answers


def test_an_image_boots_as_a_guest_of_xen_answers_and_stops_in_order(
        xen_host: XenHost, build: Build, store: Store, tmp_path: Path) -> None:
    """The distribution's kernel without processors' help (PV) and with it (PVH), in one boot of the host."""
    for arm, kind, answer in zip(("linux+pv@xen", "linux@xen"), ("pv", "pvh"),
                                 told(xen_host, store, tmp_path, build.name, "linux+pv@xen", "linux@xen"),
                                 strict=True):
        assert answer["marks"] == ["spawn", "kernel", "init", "beam", "app", "http"]
        assert (answer["arm"], answer["body"]) == (arm, "on xen\n")
        assert f'type = "{kind}"' in answer["configuration"]
        assert answer["memory"] == 192 << 20
        domain, = re.findall(r"^unibeam-[0-9a-f]{8}", answer["during"], re.MULTILINE)
        assert domain not in answer["after"]
        assert not answer["alive"]
        # Not destroyed, but asked by the hypervisor: the node stopped its applications and said how it ended.
        assert answer["code"] == 0, answer["console"]
        assert "unibeam-init:" not in answer["console"]


@pytest.mark.xen
def test_a_tiny_kernel_boots_on_xen(xen_host: XenHost, store: Store, tmp_path: Path) -> None:
    """It has no modules: Xen's card, console and calls are built in, as LING's were. Nor has it a PCI bus."""
    lab = Lab(store)
    kernel = lab.build_tiny_kernel(extras=("xen",))
    build = lab.build("xen-tiny", text=HELLO, ports=(8080,), kernel=kernel.name, shake=True)
    arms = ("linux+initramfs+pv@xen", "linux+initramfs@xen")
    for arm in arms:
        lab.image(build, Arm.parse(arm))  # What is made here the emulated host need not make.
    for answer in told(xen_host, store, tmp_path, "xen-tiny", *arms):
        assert (answer["body"], answer["code"]) == ("on xen\n", 0), answer["arm"]
        assert answer["marks"] == ["spawn", "kernel", "init", "beam", "app", "http"]
