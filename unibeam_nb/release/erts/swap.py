"""A release with another emulator: the same applications, boot script and command line on another runtime."""

from __future__ import annotations

from pathlib import Path

from unibeam_nb.errors import ImageError
from unibeam_nb.held import remove_tree
from unibeam_nb.model import Release
from unibeam_nb.progress import step
from unibeam_nb.release import assemble, manifest
from unibeam_nb.release.erts.runtime import Erts
from unibeam_nb.store import Store, digest

AS_IT_IS = "Leave lean out: the release runs on the emulator it comes with."


def with_erts(store: Store, release: Release, erts: Erts) -> Release:
    """The release on ``erts``; its ``origin`` is the sha256 of the one it was made from.

    Raises ImageError when the two do not go together.
    """
    refuse_misfits(release, erts)

    def change(tree: Path) -> None:
        with step(f"Putting the {erts.name} emulator into {release.name}"):
            remove_tree(tree / release.launch.erts)
            programs = tree / release.launch.erts / "bin"
            programs.mkdir(parents=True)
            for name in assemble.ERTS_PROGRAMS:
                assemble.copy_file(erts.path / "bin" / name, programs / name, executable=True)

    return manifest.derive(store, digest("erts", release.key, release.sha256, erts.sha256), release, change)


def refuse_misfits(release: Release, erts: Erts) -> None:
    """Raise ImageError when the release cannot run on the runtime."""
    if release.erts != erts.version:
        raise ImageError(f"The release {release.name} runs on erts-{release.erts}, and {erts.source} is "
                         f"erts-{erts.version}.", "Use a runtime of the release's own version.")
    if erts.static:
        refuse_native_code(release)


def refuse_native_code(release: Release) -> None:
    """Raise ImageError when the release needs more than a static emulator without a JIT has."""
    jit = [flag for flag in (*release.launch.emulator_flags, *release.launch.arguments) if flag.startswith("+J")]
    if jit:
        raise ImageError(f"The flag {jit[0]} is for the JIT, which a static emulator does without.",
                         "Build without the flag, or leave lean out.")
    owners = native_owners(release.path)
    if owners:
        *most, last = owners
        who = f"{', '.join(most)} and {last} need NIFs" if most else f"{last} needs a NIF"
        raise ImageError(f"{who} that a static emulator cannot load.", AS_IT_IS)


def native_owners(root: Path) -> list[str]:
    """The applications of a release that bring libraries for the emulator to load (NIFs, linked-in drivers)."""
    return sorted({path.relative_to(root / "lib").parts[0].split("-")[0]
                   for path in (root / "lib").glob("*/priv/**/*")
                   if path.is_file() and (path.name.endswith(".so") or ".so." in path.name)})
