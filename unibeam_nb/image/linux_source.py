"""The distribution's kernel source: its ``linux-source`` package, fetched once and unpacked as far as it is needed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.apt import Apt, obtain
from unibeam_nb.errors import ImageError
from unibeam_nb.image.kernels import OWN_KERNEL, stock_package, version_key
from unibeam_nb.jsonable import dump
from unibeam_nb.progress import step
from unibeam_nb.store import Store, digest

KIND = "sources"
PACKAGE = "linux-source"
"""Debian's and Ubuntu's package that depends on the current one."""

_NAMED = re.compile(r"linux-source-\d[\w.]*")

SKIPPED = ("*/Documentation/*/*", "*/tools/testing", "*/tools/perf", "*/arch/*.dts", "*/arch/*.dtsi",
           *(f"*/{folder}/*.[chS]" for folder in (
               "drivers/gpu", "drivers/infiniband", "drivers/iio", "drivers/media", "drivers/net/ethernet/[0-9b-fh-z]*",
               "drivers/net/wireless", "drivers/scsi", "drivers/staging", "sound", "arch/arm*", "arch/mips",
               "arch/powerpc", "arch/s390", "arch/sparc")))
"""What no virtual machine's kernel is compiled from, two thirds of the whole: source files only, since kconfig and
kbuild read every directory's own files. Of the makers of network cards, Amazon and Google stay."""


@dataclass(frozen=True)
class Source:
    """A source package in the store; ``archive`` is the tar file in it."""

    package: str
    version: str
    archive: Path

    def __str__(self) -> str:
        return f"{self.package}={self.version}"

    @property
    def kernel(self) -> str:
        """The kernel's version, for people: ``6.1``."""
        return self.package.removeprefix(f"{PACKAGE}-")


def linux_source(store: Store) -> Source:
    """The newest source package in the store, fetched with apt where it has none yet. Raises ImageError."""
    mine = [_load(entry.parent) for entry in (store.cache / KIND).glob("*/source.json")]
    if mine:
        return max(mine, key=lambda source: version_key(source.version))
    stock_package()  # Refuses hosts whose distribution has no such package, or whose machines boot otherwise.
    with step("Fetching the distribution's kernel source"):
        return obtain(store, "kernel source", PACKAGE, lambda apt: apt.named_by(PACKAGE, _NAMED),
                      lambda apt, packages: _load(_entry(store, apt, packages)), OWN_KERNEL)


def _entry(store: Store, apt: Apt, packages: Mapping[str, str]) -> Path:
    def make(place: Path) -> None:
        with store.scratch() as scratch:
            (name, version), = packages.items()
            found = sorted(apt.unpack(packages, scratch).rglob("linux-source-*.tar.*"))
            if not found:
                raise ImageError(f"The package {name} holds no kernel source.", OWN_KERNEL)
            shutil.copyfile(found[0], place / found[0].name)
            (place / "source.json").write_text(
                dump({"package": name, "version": version, "archive": found[0].name}))

    return store.build(KIND, digest(packages)[:32], make)[0]


def _load(entry: Path) -> Source:
    about = json.loads((entry / "source.json").read_text())
    return Source(about["package"], about["version"], entry / about["archive"])


def unpack(source: Source, place: Path) -> None:
    """The source tree in the new directory ``place``, without :data:`SKIPPED`."""
    place.mkdir()
    with step(f"Unpacking {source.package}"):
        process.run([tools.find("tar"), "--extract", "--file", source.archive, "--directory", place,
                     "--strip-components=1", "--no-same-owner", *(f"--exclude={pattern}" for pattern in SKIPPED)])
