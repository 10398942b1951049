"""Kernels and emulators that images are made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibeam_nb.lab.builds import Builds

if TYPE_CHECKING:
    from unibeam_nb.image.kernels import Kernel
    from unibeam_nb.release.erts.runtime import Erts


class Kernels(Builds):
    """What images are made with."""

    def build_tiny_kernel(self, optimise: str = "boot", extras: tuple[str, ...] = ()) -> Kernel:
        """A kernel for the BEAM alone, compiled on this host unless that has been done (see image/tiny.py)."""
        from unibeam_nb.image.tiny import build_tiny

        return build_tiny(self.store, optimise, extras)

    def kernels(self) -> list[Kernel]:
        """The kernels that images can be made with."""
        from unibeam_nb.image.kernels import known_kernels
        from unibeam_nb.image.osv_loader import known_osv

        return [*known_kernels(self.store), *known_osv(self.store)]

    def add_osv(self, where: str, sha256: str | None = None) -> Kernel:
        """Keep the OSv kernel at a path or URL, which the user has built or fetched (see image/osv_loader.py)."""
        from unibeam_nb.image.osv_loader import add_osv

        return add_osv(self.store, where, sha256)

    def stock_kernel(self) -> Kernel:
        """The distribution's cloud kernel, fetched if it is not in the cache."""
        from unibeam_nb.image.kernels import stock_kernel

        return stock_kernel(self.store)

    def runtimes(self) -> list[Erts]:
        """The emulators that releases can run on: the host's, and the lean ones that have been built."""
        from unibeam_nb.release.erts.lean import known_lean
        from unibeam_nb.release.erts.runtime import host_erts

        return [host_erts(), *known_lean(self.store)]

    def lean_erts(self) -> Erts:
        """The lean emulator of the host's OTP version, built from source if it is not in the cache."""
        from unibeam_nb.release.erts.lean import build_lean
        from unibeam_nb.release.otp import host_otp

        return build_lean(self.store, host_otp().version)
