"""Source -> release -> image, and what the user called them."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unibeam_nb.arms import PV, RESUME, Arm
from unibeam_nb.errors import UnibeamError, UsageError
from unibeam_nb.jsonable import dump, from_json, loads
from unibeam_nb.manners import UNWATCHED, Manners
from unibeam_nb.model import Finding, Image, Release
from unibeam_nb.store import Store, write_atomically

if TYPE_CHECKING:
    from unibeam_nb.analysis.inside import Exploration, Node
    from unibeam_nb.image.appliance import Appliance
    from unibeam_nb.image.kernels import Kernel
    from unibeam_nb.release.portability import Verdict
    from unibeam_nb.release.shake.report import Shaking

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")


@dataclass(frozen=True)
class Build:
    """What one name stands for: a release, the images made from it, and how to make more of them."""

    name: str
    release: Release
    images: tuple[Image, ...] = ()
    kernel: str | None = None
    compression: str | None = None
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    manners: Manners = UNWATCHED
    fallback: str = ""

    def __repr__(self) -> str:
        return f"<Build {self.name}: {self.release!r}" + "".join(f"; {image!r}" for image in self.images) + ">"

    def explore(self, against: Build | None = None) -> Exploration:
        """What is in its first image and what it weighs; with ``against`` what differs from that build's."""
        if not self.images or (against is not None and not against.images):
            raise UsageError("There is no image to look into.", "Build one: lab.build(name, ...) makes it.")
        return look_inside(self.images[0], against.images[0] if against else None)


def load_build(path: Path) -> Build:
    """The build noted in a file. Raises UnibeamError where it is damaged."""
    try:
        return from_json(Build, loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UnibeamError(f"What was noted of the build {path.stem} is damaged ({error}).",
                           "Build it again.") from None


def look_inside(image: Image, other: Image | None = None, *, word: str = "", depth: int = 2) -> Exploration:
    """What is in ``image``, or what changes from ``other`` to it. Raises ImageError where that was never noted."""
    from unibeam_nb.analysis.inside import Exploration, difference, folded, tree
    from unibeam_nb.image import contents

    def whole(of: Image) -> Node:
        return tree(of.name, contents.read(of), of.shipped_bytes)

    def title(of: Image) -> str:
        return f"{of.name}, {of.kind}"

    root = whole(image) if other is None else difference(whole(other), whole(image))
    return Exploration(title(image), folded(root), title(other) if other else "", word, depth)


class Builds:
    """The Lab's half that makes things."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store or Store.default()

    def build(self, name: str, *, text: str | None = None, path: Path | None = None,
              language: str | None = None, target: str = "linux", flavour: str = "",
              ports: tuple[int, ...] = (), applications: tuple[str, ...] = (), flags: tuple[str, ...] = (),
              kernel: str | None = None, compression: str | None = None, erts: str | None = None,
              shake: bool = False, keep: tuple[str, ...] = (), drop: tuple[str, ...] = (), fallback: str | None = None,
              guard: int = 0, heart: int = 0, restarts: int = 0) -> Build:
        """Make a release from a cell's ``text`` or from ``path``, and an image of it for ``target``.

        ``shake`` leaves out what the release does not use, but for the modules and applications in ``keep``; those in
        ``drop`` go in any case. ``erts`` puts another emulator into the release: ``lean``, or the path of one (``host``
        leaves it alone). ``fallback`` is the name of a build whose release takes over in the same image where this one
        does not come up; ``guard``, ``heart`` and ``restarts`` are as for :meth:`boot`, for every boot of the image.
        Raises SourceError, ImageError, ToolMissing; a failed build leaves the name as it was.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot be a name.", "Use a lower-case letter, then letters, digits, - or _.")
        if (text is None) == (path is None):
            raise UsageError("A build takes either a cell's text or --from PATH.",
                             f"Write the modules below '%%unibeam build {name}', or name a project.")
        if fallback == name:
            raise UsageError(f"{name} cannot fall back to itself.", "Name another build, such as the one before.")
        release = self._release(name, text, path, language, ports, applications, flags)
        if shake:
            release = self.shaken(release, keep, drop)
        release = self.on_erts(release, erts)
        build = Build(name, release, kernel=kernel, compression=compression, keep=keep, drop=drop,
                      manners=Manners(guard, heart, restarts), fallback=fallback or "")
        image = self._image(build, target, flavour)
        build = dataclasses.replace(build, images=(image,))
        write_atomically(self._names() / f"{name}.json", dump(build))
        return build

    def _release(self, name: str, text: str | None, path: Path | None, language: str | None,
                 ports: tuple[int, ...], applications: tuple[str, ...], flags: tuple[str, ...]) -> Release:
        from unibeam_nb.release import release_from_cell, release_from_path

        if path is not None:
            return release_from_path(self.store, name, path.expanduser(), ports=ports,
                                     applications=applications, flags=flags)
        assert text is not None
        return release_from_cell(self.store, name, text, language=language, ports=ports,
                                 applications=applications, flags=flags)

    def _image(self, build: Build, target: str, flavour: str, options: tuple[str, ...] = (),
               runner: str | None = None) -> Image:
        """The image of ``build`` that an arm of this target, flavour and options runs on ``runner``."""
        from unibeam_nb.image import build_image, drivers
        from unibeam_nb.image.kernels import stock_kernel

        release = self.shaken(build.release, build.keep, build.drop) if "shake" in options else build.release
        release = self.on_erts(release, "lean" if "lean" in options else None)
        if target == "osv":
            return build_image(self.store, release, target, kernel=self._osv(build.kernel), options=options)
        if target in ("oci", "release"):
            return dataclasses.replace(build_image(self.store, release, target, flavour), options=options)
        kernel, appliance = self.kernel_of(build, target, options, runner), self._appliance(build, options)
        if target == "disk":
            return build_image(self.store, release, target, kernel=kernel, options=options, appliance=appliance)
        if runner in drivers.NETWORK:
            drivers.refuse_foreign(kernel or stock_kernel(self.store), runner, drivers.NETWORK[runner],
                                   "Build with the distribution's kernel: --kernel stock.")
        image = build_image(self.store, release, target, flavour, kernel=kernel,
                            options=tuple(word for word in options if word not in (RESUME, PV)),
                            compression="xz" if "small" in options else build.compression, appliance=appliance)
        return dataclasses.replace(image, options=options)  # These two are how it is started, not what it is.

    def _appliance(self, build: Build, options: tuple[str, ...]) -> Appliance | None:
        """What an image of ``build`` holds beside its release, the other release made as this one is."""
        from unibeam_nb.image.appliance import Appliance

        if not build.manners and not build.fallback:
            return None
        other = None
        if build.fallback:
            behind = self.named(build.fallback)
            other = self.shaken(behind.release, behind.keep, behind.drop) if "shake" in options else behind.release
            other = self.on_erts(other, "lean" if "lean" in options else None)
        return Appliance(build.manners, other)

    def kernel_of(self, build: Build, target: str, options: tuple[str, ...],
                  runner: str | None = None) -> Kernel | None:
        """The kernel of an arm with a kernel of Linux; None is the stock one."""
        if "tiny" in options:
            return self._tiny(build.kernel, "small" in options, target)
        return self._kernel(build.kernel, runner, target)

    def _osv(self, wanted: str | None) -> Kernel:
        """The OSv kernel of an arm: the one the build was made with where that is one, else the newest."""
        from unibeam_nb.image.osv_loader import known_osv, osv_kernel

        mine = {kernel.name for kernel in known_osv(self.store)}
        return osv_kernel(self.store, wanted if wanted in mine or (wanted and Path(wanted).is_file()) else None)

    def image(self, build: Build, arm: Arm) -> Image:
        """The image of ``build`` that ``arm`` runs, made if it is not in the store."""
        return self._image(build, arm.target, arm.flavour, arm.extras, arm.runner)

    def shaken(self, release: Release, keep: tuple[str, ...] = (), drop: tuple[str, ...] = ()) -> Release:
        """The release without what it does not use (see release/shake)."""
        from unibeam_nb.release.shake.derive import Wishes, shaken

        return shaken(self.store, release, Wishes(keep, drop))

    def on_erts(self, release: Release, wanted: str | None) -> Release:
        """The release on the emulator called ``wanted``."""
        if wanted is None or wanted == "host":
            return release
        from unibeam_nb.release.erts import lean, runtime, swap

        if wanted != "lean":
            return swap.with_erts(self.store, release, runtime.erts_at(Path(wanted)))
        swap.refuse_native_code(release)  # Said before the minutes that a first build takes.
        return swap.with_erts(self.store, release, lean.build_lean(self.store, release.otp))

    def _tiny(self, wanted: str | None, small: bool, target: str) -> Kernel:
        """The tiny kernel of an arm: the one the build was made with where that is tiny, else the usual one for its
        target."""
        from unibeam_nb.image.tiny import for_target, is_tiny, profiled, tiny_from_name

        name = for_target(wanted if wanted is not None and is_tiny(wanted) else "tiny", target)
        return tiny_from_name(self.store, profiled(name, "size") if small else name)

    def _kernel(self, wanted: str | None, runner: str | None = None, target: str = "linux") -> Kernel | None:
        """The kernel called ``wanted``: a file, or the name of one that is known; None means the stock one.
        Whatever is wanted, a runner may have a kernel of its own."""
        from unibeam_nb.image.kernels import kernel_from_path, known_kernels
        from unibeam_nb.image.tiny import for_target, is_tiny, tiny_from_name

        if runner == "uml":
            from unibeam_nb.image.uml import uml_kernel

            return uml_kernel()
        if wanted is None or wanted == "stock":
            return None
        wanted = for_target(wanted, target)
        if is_tiny(wanted) and not Path(wanted).exists():
            # Not any that has the name: the store may hold one that was made of older settings, or of an older source.
            return tiny_from_name(self.store, wanted)
        known = {kernel.name: kernel for kernel in known_kernels(self.store)}
        if wanted in known:
            return known[wanted]
        path, _, modules = wanted.partition(":")
        return kernel_from_path(Path(path).expanduser(), Path(modules).expanduser() if modules else None)

    def named(self, name: str) -> Build:
        """What was built under ``name``. Raises UsageError that lists what there is."""
        path = self._names() / f"{name}.json"
        if not _NAME.fullmatch(name) or not path.is_file():
            there = ", ".join(self.names()) or "nothing yet"
            raise UsageError(f"Nothing has been built under the name {name!r}.",
                             f"Built so far: {there}. Build it with '%%unibeam build {name}'.")
        build = load_build(path)
        if not build.release.path.is_dir():
            raise UsageError(f"{name} was built, but its release is no longer in the cache.", "Build it again.")
        return build

    def names(self) -> list[str]:
        """What has been built, by name."""
        directory = self.store.state / "names"
        return sorted(path.stem for path in directory.glob("*.json")) if directory.is_dir() else []

    def _names(self) -> Path:
        return self.store.directory("names")

    def check(self, name: str) -> tuple[Finding, ...]:
        """What in the release of ``name`` needs more than a BEAM around it."""
        return self.named(name).release.findings

    def shaking(self, name: str) -> Shaking:
        """What shaking leaves out of the release of ``name``, and what it could not follow."""
        from unibeam_nb.release.shake.report import shaking

        build = self.named(name)
        return shaking(self.shaken(build.release, build.keep, build.drop))

    def verdicts(self, name: str, target: str) -> tuple[Verdict, ...]:
        """What becomes of these in an image of ``target`` (see release/portability.py)."""
        from unibeam_nb.release.portability import verdicts

        return verdicts(self.named(name).release.findings, target)
