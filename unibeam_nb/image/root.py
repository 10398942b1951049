"""The root file system that linux and oci images have in common: the release, its libraries, a few files of /etc."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from unibeam_nb.errors import ImageError
from unibeam_nb.image import elf
from unibeam_nb.image.tree import Entry, directory, file, from_directory, link
from unibeam_nb.model import IMAGE_ROOT, IMAGE_STATE, PORT_VARIABLE, Release
from unibeam_nb.progress import step
from unibeam_nb.store import walk

CONFIGURATION = {
    "etc/passwd": f"root:x:0:0:root:{IMAGE_STATE}:/nonexistent\n"
                  "nobody:x:65534:65534:nobody:/nonexistent:/nonexistent\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/os-release": 'ID=unibeam\nNAME="unibeam"\nPRETTY_NAME="unibeam, the BEAM and nothing else"\n',
}

FILLED_IN = {"hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n", "resolv.conf": ""}
"""Files of /etc that PID 1 writes at every boot, or a container engine mounts over, which wants them to be there."""


def release_libraries(release: Release) -> dict[str, Path]:
    """The libraries that the release's programs and NIFs need: absolute path in the image to file on this host.

    Raises ImageError for a release of another architecture or a library this host lacks.
    """
    with step("Finding the shared libraries"):
        programs = [path for path in walk(release.path)
                    if path.is_file() and not path.is_symlink() and elf.is_elf(path)]
        if not programs:
            raise ImageError(f"The release {release.name} has no emulator.",
                             "Build it with ERTS included (include_erts), so that it can stand on its own.")
        return elf.libraries(programs, release.path)


def release_entries(release: Release) -> Iterator[Entry]:
    """The release at its place in the image, each application a part of its own."""
    yield from from_directory(release.path, IMAGE_ROOT.lstrip("/"), part_of)


def part_of(relative: str) -> str:
    """Which part of an image a path inside a release belongs to."""
    words = relative.split("/")
    if words[0].startswith("erts-"):
        return "erts"
    if words[0] == "lib" and len(words) > 1:
        return words[1].split("-")[0]
    return "configuration"


def library_entries(libraries: Mapping[str, Path]) -> Iterator[Entry]:
    for path, source in libraries.items():
        yield file(path.lstrip("/"), source, 0o755, part="libraries")


def common_entries(*, read_only: bool = False) -> Iterator[Entry]:
    """What a program expects of any system around it. On a ``read_only`` root the files that are filled in lie in
    /run, which is in memory."""
    for path, text in CONFIGURATION.items():
        yield file(path, text)
    for name, text in FILLED_IN.items():
        yield link(f"etc/{name}", f"/run/{name}") if read_only else file(f"etc/{name}", text)
    for path in ("dev", "proc", "sys", "run"):
        yield directory(path)
    yield directory("tmp", 0o1777)
    yield directory(IMAGE_STATE.lstrip("/"), 0o777)


def environment(release: Release) -> dict[str, str]:
    """The program's environment inside an image; ``PORT`` is the first port it serves, until a boot says otherwise."""
    port = {PORT_VARIABLE: str(release.ports[0])} if release.ports else {}
    return release.launch.env() | port
