"""Release -> image: ``linux`` (kernel and root), ``disk`` (bootable by a firmware), ``osv`` (unikernel and its disk),
``oci`` (container image), ``release`` (as it is)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibeam_nb.arms import TARGETS
from unibeam_nb.errors import UsageError
from unibeam_nb.model import Image, Release

if TYPE_CHECKING:
    from unibeam_nb.image.appliance import Appliance
    from unibeam_nb.image.kernels import Kernel
    from unibeam_nb.store import Store

__all__ = ["build_image"]


def build_image(store: Store, release: Release, target: str, flavour: str = "", *, kernel: Kernel | None = None,
                compression: str | None = None, options: tuple[str, ...] = (),
                appliance: Appliance | None = None) -> Image:
    """The image of a release for a target, from the store when it has been made before (``Image.cached``).

    ``flavour`` is for ``oci`` (``scratch`` unless said); ``kernel``, ``compression`` (of the root: lz4, zstd, xz, none)
    and ``options`` (what an arm calls the image by) are for ``linux``, ``kernel`` also for ``disk`` and ``osv``. Raises
    UsageError for what a target does not take, ImageError when the release cannot become it.
    """
    if target not in TARGETS:
        raise UsageError(f"{target!r} is not a target.", f"The targets are {', '.join(TARGETS)}.")
    if flavour and target != "oci":
        raise UsageError(f"The target {target} has no flavours.", "Leave the flavour out, or build an oci image.")
    if kernel is not None and target not in ("linux", "disk", "osv"):
        raise UsageError(f"The target {target} takes no kernel.", "Leave the kernel out, or build a linux image.")
    if target in ("disk", "linux"):
        from unibeam_nb.image.appliance import ALONE
    elif appliance:
        raise UsageError(f"The target {target} takes neither a fallback nor --guard, --heart or --restarts.",
                         "Build a linux or disk image, whose PID 1 is ours.")
    if target == "disk":
        from unibeam_nb.image.disk import build_disk

        return build_disk(store, release, kernel, options, appliance or ALONE)
    if target == "osv":
        from unibeam_nb.image.osv import build_osv

        return build_osv(store, release, kernel, options)
    if target == "linux":
        from unibeam_nb.image.linux import build_linux

        return build_linux(store, release, kernel, compression, options, appliance or ALONE)
    if target == "oci":
        from unibeam_nb.image.oci import build_oci

        return build_oci(store, release, flavour)
    from dataclasses import replace

    from unibeam_nb.image.release import build_release

    return replace(build_release(store, release), path=release.path)
