"""source -> release: everything a user can give becomes a self-contained OTP release with a manifest."""

from unibeam_nb.release.cells import release_from_cell
from unibeam_nb.release.sources import release_from_path

__all__ = ["release_from_cell", "release_from_path"]
