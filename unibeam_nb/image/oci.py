"""The ``oci`` target: the release as a container image, and as an unpacked root directory for runtimes alone.

``scratch`` holds the release and the libraries it needs; ``slim`` has a minimal Debian root below it; ``full`` has the
distribution's whole Erlang in that root too, which is what people ship who build upon an Erlang image. All three
run the release's own emulator.
"""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from unibeam_nb.arms import FLAVOURS
from unibeam_nb.errors import ImageError
from unibeam_nb.image import base as bases
from unibeam_nb.image import contents, root
from unibeam_nb.image.entries import make_image
from unibeam_nb.image.formats.oci import Configuration, Layer, write_layer, write_layout
from unibeam_nb.image.tree import Tree, parts, through_links, tree, write_directory
from unibeam_nb.model import IMAGE_STATE, Image, Part, Release
from unibeam_nb.progress import step
from unibeam_nb.store import Store, digest_file


def build_oci(store: Store, release: Release, flavour: str) -> Image:
    """The oci image of a release, in one of the flavours."""
    flavour = flavour or FLAVOURS[0]
    if flavour not in FLAVOURS:
        raise ImageError(f"{flavour!r} is not a flavour of oci images.", f"Choose one of {', '.join(FLAVOURS)}.")
    libraries = root.release_libraries(release)
    base = _base(store, release, flavour)
    tool = (("mmdebstrap", base.tool),) if base else ()
    # The bytes of a gzip stream are zlib's business, so its version is one of the inputs.
    import zlib

    inputs = {"libraries": {path: digest_file(source) for path, source in libraries.items()},
              "base": base.digest if base else "", "zlib": zlib.ZLIB_RUNTIME_VERSION}

    def fill(place: Path, key: str) -> Image:
        runtime = _on_base(tree((*root.common_entries(), *root.library_entries(libraries))), base)
        program = _on_base(tree(root.release_entries(release)), base)
        layout, unpacked = place / "layout", place / "rootfs"
        layout.mkdir()
        with step("Packing the layers"):
            layers = [*_base_layer(base, layout), write_layer(runtime.values(), layout / "runtime", "libraries"),
                      write_layer(program.values(), layout / "program", f"release {release.name} {release.version}")]
            sha256 = write_layout(layout, release.name, flavour, layers, _configuration(release))
        with step("Unpacking the root directory"):
            unpacked.mkdir()
            if base:
                bases.unpack(base, unpacked)
            write_directory({**runtime, **program}, unpacked)
        own = tree((*runtime.values(), *program.values()))
        below = contents.of_layer(store, base.layer, base.digest, "base") if base else ()
        contents.write(place, (*contents.of_entries(own.values()), *below))
        sizes = parts(own)
        sizes = (Part("base", base.bytes), *sizes) if base else sizes
        shipped = sum(blob.stat().st_size for blob in (layout / "blobs" / "sha256").iterdir())
        return Image(release.name, "oci", flavour, place, key, sha256, release.sha256, shipped,
                     sum(part.bytes for part in sizes), sizes, (("layout", "layout"), ("rootfs", "rootfs")),
                     release.launch, release.ports, "",
                     (("python", platform.python_version()), ("zlib", zlib.ZLIB_RUNTIME_VERSION), *tool))

    return make_image(store, release, "oci", flavour, inputs, fill)


def _base(store: Store, release: Release, flavour: str) -> bases.Base | None:
    if flavour == "scratch":
        return None
    return bases.base_root(store, bases.erlang_packages(release) if flavour == "full" else ())


def _configuration(release: Release) -> Configuration:
    return Configuration(release.launch.argv(), root.environment(release), IMAGE_STATE, release.ports)


def _on_base(whole: Tree, base: bases.Base | None) -> Tree:
    """What a layer on top of the base has to bring: nothing that the base has, and all of it where the base's
    merged directories are. Without a base, the tree as it is."""
    if base is None:
        return whole
    landed = tree(through_links(whole.values(), base.links))
    return {path: entry for path, entry in landed.items() if path not in base.paths}


def _base_layer(base: bases.Base | None, layout: Path) -> list[Layer]:
    if base is None:
        return []
    copy = layout / "base"
    shutil.copyfile(base.layer, copy)
    return [Layer(copy, base.digest, base.diff_id, base.layer_bytes, base.tar_bytes, base.title)]
