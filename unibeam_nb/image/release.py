"""The ``release`` target: the bare release, for the runner that starts it on the host itself."""

from __future__ import annotations

import zlib
from pathlib import Path

from unibeam_nb.image import root
from unibeam_nb.image.entries import make_image
from unibeam_nb.image.formats.oci import write_layer
from unibeam_nb.image.tree import parts, tree
from unibeam_nb.model import Image, Release
from unibeam_nb.store import Store


def build_release(store: Store, release: Release) -> Image:
    """The release as an image: its directory, and the size of the archive that would ship it."""

    def fill(place: Path, key: str) -> Image:
        whole = tree(root.release_entries(release))
        archive = write_layer(whole.values(), place / "release.tar.gz", "release")
        archive.path.unlink()  # Nobody unpacks it: what counts is how large it is.
        sizes = parts(whole)
        return Image(release.name, "release", "", place, key, archive.digest, release.sha256, archive.bytes,
                     sum(part.bytes for part in sizes), sizes, (("root", "."),), release.launch, release.ports, "",
                     (("zlib", zlib.ZLIB_RUNTIME_VERSION),))

    return make_image(store, release, "release", "", {"zlib": zlib.ZLIB_RUNTIME_VERSION}, fill)
