"""What an image holds in order to read user data when it boots (``guest/cloud.c``, ``guest/unibeam_cloud.erl``).

``/etc/unibeam/cloud`` has modules of ours, a boot script that loads them and nothing else, and the command line that
runs them on the release's own emulator. The release itself is as it would be without.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unibeam_nb.image.tree import Entry, file
from unibeam_nb.model import IMAGE_ROOT, Release
from unibeam_nb.release import bootscript
from unibeam_nb.release.compiler import GUEST, compile_guest, older_options
from unibeam_nb.release.otp import host_otp
from unibeam_nb.store import Store, digest

SOURCES = ("unibeam_cloud.erl", "unibeam_cloud_disk.erl", "unibeam_cloud_files.erl", "unibeam_cloud_http.erl",
           "unibeam_cloud_node.erl", "unibeam_cloud_yaml.erl")
PLACE = "/etc/unibeam/cloud"
DRIVERS = ("virtio_blk", "nvme", "xen_blkfront")
"""Kernel modules for the disk that user data may be on. What a kernel has built in, or does not have, is left out."""

PART = "user data"


def modules(store: Store, release: Release) -> Path:
    """The directory with our modules, compiled for the release's OTP. Raises CompileError where that cannot be."""
    otp = host_otp()
    number = release.otp.split(".")[0]
    options = older_options(otp, number)
    texts = [(GUEST / name).read_bytes() for name in SOURCES]
    return store.build("cloud", digest("cloud 1", *texts, otp.identity(), options)[:32],
                       lambda place: compile_guest(SOURCES, place, options, number))[0]


def boot_script(place: str = PLACE) -> bytes:
    """A boot script for the modules in the directory ``place``: it loads them and calls the first, which ends the
    emulator."""
    names = [bootscript.make_atom(Path(source).stem) for source in SOURCES]
    steps = [bootscript.make_tuple(bootscript.make_atom("preLoaded"), bootscript.make_list([])),
             bootscript.make_tuple(bootscript.make_atom("progress"), bootscript.make_atom("preloaded")),
             bootscript.make_tuple(bootscript.make_atom("path"), bootscript.make_list([bootscript.make_string(place)])),
             bootscript.make_tuple(bootscript.make_atom("primLoad"), bootscript.make_list(names)),
             bootscript.apply("unibeam_cloud", "main")]
    name = bootscript.make_tuple(bootscript.make_string("unibeam_cloud"), bootscript.make_string("1"))
    return bytes([bootscript.VERSION]) + bootscript.make_tuple(
        bootscript.make_atom("script"), name, bootscript.make_list(steps))


def command_line(release: Release, root: str = IMAGE_ROOT, place: str = PLACE) -> tuple[str, ...]:
    """What runs them: the release's emulator, in as little memory as it can."""
    return (f"{root}/{release.launch.erts}/bin/erlexec", "+S", "1:1", "+sbwt", "none", "+P", "1024", "+Q", "1024",
            "-boot", f"{place}/cloud", "-noinput")


def entries(store: Store, release: Release) -> Iterator[Entry]:
    """The files below :data:`PLACE`."""
    inside = PLACE.lstrip("/")
    for path in sorted(modules(store, release).glob("*.beam")):
        yield file(f"{inside}/{path.name}", path.read_bytes(), part=PART)
    yield file(f"{inside}/cloud.boot", boot_script(), part=PART)
    yield file(f"{inside}/argv", "".join(f"{word}\n" for word in command_line(release)), part=PART)
