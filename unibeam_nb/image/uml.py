"""The kernel of machines under User-mode Linux: the distribution's ``linux.uml``, an ordinary program of the host."""

from __future__ import annotations

from unibeam_nb import tools
from unibeam_nb.image.kernels import Kernel
from unibeam_nb.store import digest_file

PROGRAM = "linux.uml"


def uml_kernel() -> Kernel:
    """The kernel, which has what a guest needs built in. Raises ToolMissing."""
    path, version = tools.find(PROGRAM), tools.version(PROGRAM)
    return Kernel(f"uml-{version}", version, path, None, digest_file(path), "user-mode-linux", "uml", 1)
