"""A read-only root file system on a disk (EROFS), written by ``mkfs.erofs`` of the distribution's erofs-utils.

The kernel reads of it what is used, and lets go of it again when memory is short; an initramfs is unpacked as a whole,
into memory, before anything starts.
"""

from __future__ import annotations

from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.image.formats.erofs_links import with_links
from unibeam_nb.image.tree import Tree, write_directory
from unibeam_nb.progress import step

PROGRAM = "mkfs.erofs"

PACKED: dict[str, tuple[str, ...]] = {"none": (), "lz4": ("-zlz4hc,12", "-C16384")}
"""The program's words for each compression. Clusters of 16 KiB: larger ones save 4 % of the bytes and cost every page
that is read more work and memory, smaller ones cost 6 %."""

UUID = "00000000-0000-0000-0000-000000000000"


def version() -> tuple[str, str]:
    """What decides the bytes beside the tree: the name and version of the tools."""
    # mkfs.erofs tells its version only since 1.6; dump.erofs is of the same package.
    return "erofs-utils", tools.version("dump.erofs")


def write(whole: Tree, path: Path, compression: str, scratch: Path) -> None:
    """Write the tree as an EROFS image to ``path``; ``scratch`` is an empty directory to lay it out in.

    Devices are left out: such a root has its ``/dev`` filled by the kernel. Equal trees become equal bytes.
    """
    with step("Packing the root"):
        write_directory(whole, scratch)
        process.run([tools.find(PROGRAM), *PACKED[compression], "-T0", "-x-1", "--all-root", f"-U{UUID}", "--quiet",
                     path, scratch], makes=(path,))
        written = path.read_bytes()
        with_links(image := bytearray(written))
        if image != written:
            path.write_bytes(image)
