"""Archives that others made: of releases, and the layers and layouts of container images."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import seeds, shapes
from tests.fuzz.target import Target, in_file, scratch
from unibeam_nb.image import contents
from unibeam_nb.image.formats.oci import tag_in
from unibeam_nb.release.archive import unpack
from unibeam_nb.store import Store

TAR = (
    b"ustar\x0000",
    b"ustar  \0",
    b"0000000\0",
    b"7777777\0",
    b"77777777777\0",
    b"\x80\0\0\0\0\0\0\0\0\0\0\x01",
    b"\xff" * 12,
    b"../",
    b"/",
    b"./",
    b"\0",
    b"L",
    b"K",
    b"x",
    b"g",
    b"1",
    b"2",
    b"3",
    b"5",
    b"6",
    b"S",
    b"18 path=../up\n",
    b"20 linkpath=/etc\n",
    b"12 size=99\n",
    b"30 GNU.sparse.size=999999999\n",
    b"99 path=x\n",
    b"22 GNU.sparse.map=0,9\n",
    b"-1 x=y\n",
)


class Escaped(AssertionError):
    """An archive wrote outside of its directory, or left something behind where it was refused."""


def _unpack(archive: Path) -> None:
    """Unpacks, and looks afterwards whether anything is where it should not be."""
    outside = scratch() / "around"
    shutil.rmtree(outside, ignore_errors=True)
    target = outside / "a" / "target"
    target.mkdir(parents=True)
    (outside / "canary").write_bytes(b"canary")
    try:
        unpack(archive, target)
    except Exception:
        if any(target.iterdir()):
            raise Escaped("something is left of a refused archive") from None
        raise
    finally:
        _check(outside, target)


def _check(outside: Path, target: Path) -> None:
    found = sorted(str(path.relative_to(outside)) for path in outside.rglob("*") if not path.is_relative_to(target))
    if found != ["a", "canary"] or (outside / "canary").read_bytes() != b"canary":
        raise Escaped("something was written outside")
    inside = target.resolve()
    for path in target.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise Escaped("a link points outside")
        if not (path.is_symlink() or path.is_dir() or path.is_file()):
            raise Escaped("a device was made")


def _layer(path: Path) -> None:
    store = Store(scratch() / "store/cache", scratch() / "store/state")
    shutil.rmtree(store.cache, ignore_errors=True)
    contents.of_layer(store, path, "key", "part")


def _packed() -> Sequence[bytes]:
    plain = seeds.archives()
    bomb = seeds.archives()[0][:1024] + bytes(30 << 20)
    return [
        *plain,
        gzip.compress(plain[0], mtime=0),
        bz2.compress(plain[1]),
        lzma.compress(plain[2]),
        gzip.compress(bomb, mtime=0),
    ]


LAYOUT = [
    {
        "Config": "blobs/sha256/" + "0" * 64,
        "RepoTags": ["unibeam/hello:scratch-0123456789ab"],
        "Layers": ["blobs/sha256/" + "1" * 64],
    }
]

TARGETS = (
    Target(
        "release-archive",
        seeds.archives,
        in_file("release.tar.gz", _unpack),
        words=TAR,
        dress=seeds.tar_whole,
        share=5,
    ),
    Target("release-archive-packed", _packed, in_file("packed.tar.gz", _unpack), words=TAR, share=2, longest=1 << 17),
    Target(
        "oci-layer",
        _packed,
        in_file("layer.tar.gz", _layer),
        words=TAR,
        dress=seeds.tar_whole,
        share=1,
        longest=1 << 17,
    ),
    Target(
        "oci-layout",
        lambda: [seeds.as_json(LAYOUT)],
        in_file("layout/manifest.json", lambda p: tag_in(p.parent)),
        shape=shapes.json_text,
        words=(b"RepoTags", b"[", b"]", b"null", b"\\ud800"),
        share=30,
        longest=1 << 17,
    ),
)
