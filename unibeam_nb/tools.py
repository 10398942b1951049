"""The programs unibeam needs from the host: where they are, what version, and how to get them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from unibeam_nb import process
from unibeam_nb.errors import ToolMissing


@dataclass(frozen=True)
class Tool:
    """One program: the Debian and Ubuntu packages it comes from, what it is for, how it tells its version.

    A package whose name ends in ``?`` is in some releases of the distribution only, and wanted where it is.
    ``says`` is the word before its version, for programs that tell others' versions first.
    ``elsewhere`` says where it is to be had when it comes from no package.
    """

    command: str
    packages: tuple[str, ...]
    purpose: str
    version: tuple[str, ...] = ("--version",)
    says: str = ""
    elsewhere: str = ""


TOOLS: dict[str, Tool] = {tool.command: tool for tool in (
    Tool("erl", ("erlang-base", "erlang-dev", "erlang-nox"), "releases from cells and projects", ("-version",)),
    Tool("erlc", ("erlang-base", "erlang-dev"), "compiling Erlang cells", ()),
    Tool("elixirc", ("elixir",), "compiling Elixir cells", says="Elixir"),
    Tool("rebar3", ("rebar3", "git"), "releases from rebar3 projects"),
    Tool("git", ("git",), "links to a notebook's repository"),
    Tool("mix", ("elixir",), "releases from mix projects", says="Mix"),
    Tool("musl-gcc", ("musl-tools", "gcc"), "compiling the image's own PID 1 and the lean emulator"),
    Tool("qemu-system-x86_64", ("qemu-system-x86",), "booting linux images"),
    Tool("linux.uml", ("user-mode-linux",), "booting linux images without KVM"),
    Tool("slirp4netns", ("slirp4netns",), "the network of linux images on uml"),
    Tool("xl", (), "booting linux images on Xen", (), elsewhere="it comes with Debian's xen-system-amd64"),
    Tool("firecracker", (), "booting linux images on Firecracker", says="Firecracker v",
         elsewhere="see https://github.com/firecracker-microvm/firecracker/releases"),
    Tool("ip", ("iproute2",), "the network of linux images on Firecracker", ("-V",)),
    Tool("podman", ("podman",), "running oci images as people ship them"),
    Tool("docker", ("docker.io", "docker-cli?"), "running oci images as people ship them"),
    Tool("dockerd", ("docker.io",), "running oci images as people ship them"),
    Tool("crun", ("crun",), "running oci images with the runtime alone"),
    Tool("runc", ("runc",), "running oci images with the runtime alone"),
    Tool("criu", ("criu",), "restoring containers"),
    Tool("runsc", (), "running oci images in gVisor's own kernel",
         elsewhere="see https://gvisor.dev/docs/user_guide/install/"),
    Tool("mmdebstrap", ("mmdebstrap",), "the Debian root of the slim and full oci flavours"),
    Tool("grub-mkimage", ("grub-common", "grub-pc-bin"), "disks that a BIOS starts"),
    Tool("sgdisk", ("gdisk",), "checking the disks we write"),
    Tool("qemu-img", ("qemu-utils",), "disks in the formats of others"),
    Tool("mkfs.ext4", ("e2fsprogs",), "making data disks", ("-V",)),
    Tool("fsck.fat", ("dosfstools",), "checking the disks we write", ("--help",)),
    Tool("apt-get", ("apt",), "fetching the distribution's kernel"),
    Tool("dpkg-deb", ("dpkg",), "unpacking the distribution's kernel"),
    Tool("make", ("make",), "compiling tiny kernels and the lean emulator"),
    Tool("gcc", ("gcc", "libc6-dev"), "compiling tiny kernels"),
    Tool("ld", ("gcc",), "linking tiny kernels"),
    Tool("flex", ("flex",), "compiling tiny kernels"),
    Tool("bison", ("bison",), "compiling tiny kernels"),
    Tool("bc", ("bc",), "compiling tiny kernels"),
    Tool("xz", ("xz-utils",), "packing tiny kernels"),
    Tool("mkfs.erofs", ("erofs-utils",), "packing the root of linux images with a tiny kernel"),
    Tool("dump.erofs", ("erofs-utils",), "packing the root of linux images with a tiny kernel", ("-V",)),
    Tool("lz4", ("lz4",), "packing tiny kernels"),
    Tool("tar", ("tar",), "unpacking the kernel's source"),
    Tool("perl", ("perl",), "building the lean emulator"),
    Tool("dpkg-source", ("dpkg-dev", "patch", "xz-utils"), "unpacking Erlang's source"),
    Tool("apt-cache", ("apt",), "finding Erlang's source"),
    Tool("apt-config", ("apt",), "finding Erlang's source"),
    Tool("depmod", ("kmod",), "listing a kernel's module dependencies"),
    Tool("wrk", ("wrk",), "asking machines for answers, one after another"),
)}

# Debian keeps some of these in directories that are on root's PATH only.
_EXTRA_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def install_command(*commands: str) -> str:
    """The exact command that installs ``commands`` on Debian or Ubuntu."""
    named = dict.fromkeys(p for c in commands for p in (TOOLS[c].packages if c in TOOLS else (c,)))
    packages = [name.rstrip("?") for name in named if not name.endswith("?") or offered(name.rstrip("?"))]
    sudo = "" if os.geteuid() == 0 else "sudo "
    install = [f"{sudo}apt-get install --no-install-recommends {' '.join(packages)}"] if packages else []
    return "; ".join((*install, *(TOOLS[c].elsewhere for c in commands if c in TOOLS and TOOLS[c].elsewhere)))


def offered(package: str) -> bool:
    """Whether the lists of this host's apt have a package."""
    apt = locate("apt-cache")
    return apt is not None and _offers(apt, package)


@lru_cache(maxsize=8)
def _offers(apt: Path, package: str) -> bool:
    return bool(process.run([apt, "madison", package], timeout=60, check=False).stdout.strip())


def locate(command: str) -> Path | None:
    """Where ``command`` is on this host, or None."""
    found = shutil.which(command) or shutil.which(command, path=os.pathsep.join(_EXTRA_PATH))
    return Path(found) if found else None


def find(command: str) -> Path:
    """Where ``command`` is. Raises ToolMissing with the command that installs it."""
    path = locate(command)
    if path is None:
        tool = TOOLS.get(command)
        purpose = f", which is needed for {tool.purpose}" if tool else ""
        raise ToolMissing(f"{command} is not on this host{purpose}.", f"Install it: {install_command(command)}")
    return path


@contextmanager
def needing(command: str) -> Iterator[None]:
    """Look at the file of ``command`` inside. Raises ToolMissing, as :func:`find` does, where it vanishes meanwhile."""
    try:
        yield
    except FileNotFoundError:
        find(command)
        raise


@lru_cache(maxsize=64)
def _version_of(path: Path, arguments: tuple[str, ...], says: str) -> str:
    done = process.run([path, *arguments], timeout=60, check=False)
    found = re.search(rf"{re.escape(says)}\s*(\d+(?:\.\d+)+)", done.stdout + done.stderr)
    return found[1] if found else "unknown"


def version(command: str) -> str:
    """The version ``command`` tells of itself, for example ``7.2.22``; ``unknown`` when it tells none."""
    tool = TOOLS.get(command)
    return _version_of(find(command), tool.version if tool else ("--version",), tool.says if tool else "")
