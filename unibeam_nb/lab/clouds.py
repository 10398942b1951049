"""Image -> what other platforms take: disks in their formats, their configurations, commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unibeam_nb.arms import Arm
from unibeam_nb.errors import UsageError
from unibeam_nb.lab.builds import Build, Builds
from unibeam_nb.progress import note
from unibeam_nb.store import write_atomically

if TYPE_CHECKING:
    from unibeam_nb.image.ami import Publication
    from unibeam_nb.image.emit import Facts
    from unibeam_nb.model import Image


@dataclass(frozen=True)
class Emitted:
    """What was made for another platform: a text, a file, or both."""

    name: str
    kind: str
    text: str = ""
    path: Path | None = None


class Clouds(Builds):
    """The Lab's half that speaks to other platforms."""

    def emit(self, name: str, kind: str, output: Path | None = None, *, arm: str | None = None,
             mem_mb: int = 256, vcpus: int = 1) -> Emitted:
        """What the platform or format ``kind`` takes of ``name`` (``image/emit.py`` lists them).

        ``arm`` names the image that is meant, else it is the usual one. A disk is written to ``output``, or to
        ``NAME.ENDING`` here; a text only where ``output`` is given. Raises
        UsageError for another kind or a kernel that the platform cannot start, ImageError, ToolMissing.
        """
        from unibeam_nb.image import convert, emit

        if kind not in emit.TARGETS:
            raise UsageError(f"{kind!r} is nothing that an image can be emitted as.",
                             f"It can be {', '.join(emit.TARGETS)}.")
        build = self.named(name)
        image = self._suitable(build, kind, emit.TARGETS[kind], arm)
        if kind in emit.DISKS:
            output = (output or Path(f"{name}.{emit.DISKS[kind]}")).expanduser()
            return Emitted(name, kind, path=convert.convert(image.file("disk"), kind, output, image.sha256))
        facts = self._facts(build, image, kind, mem_mb, vcpus)
        text = emit.text(kind, facts)
        if warning := emit.warning(kind, facts):
            note(warning)
        if output is not None:
            output = output.expanduser()
            with convert.beside(output):
                write_atomically(output, text)
        return Emitted(name, kind, text, output)

    def beside(self, build: Build, kinds: Sequence[str]) -> tuple[Path, ...]:
        """Write next to the images of ``build`` the configurations ``kinds`` (``emit.CONFIGURATIONS``), each for the
        images that it takes, and return their files. Raises UsageError where it takes none of them, and ImageError for
        an image that would have no network there."""
        from unibeam_nb.image import drivers, emit
        from unibeam_nb.image.kernels import stock_kernel

        written = []
        for kind in kinds:
            if kind not in emit.CONFIGURATIONS:
                raise UsageError(f"{kind!r} is no configuration that is written next to an image.",
                                 f"It can be {', '.join(emit.CONFIGURATIONS)}; for others there is 'emit'.")
            images = [image for image in build.images if image.target in emit.TARGETS[kind]]
            if not images:
                raise UsageError(f"{kind} takes none of the images of {build.name}.",
                                 f"Build one that it does: --target {emit.TARGETS[kind][0]}.")
            for image in images:
                kernel = self.kernel_of(build, image.target, image.options) or stock_kernel(self.store)
                drivers.refuse_foreign(kernel, kind, emit.DRIVERS[kind],
                                       "Build with the distribution's kernel (--kernel stock), or without "
                                       f"--emit {kind}.")
                path = image.path / f"{build.name}.{emit.CONFIGURATIONS[kind]}"
                write_atomically(path, emit.text(kind, self._facts(build, image, kind, 256, 1)))
                note(f"Wrote {path}.")
                written.append(path)
        return tuple(written)

    def publish(self, name: str, cloud: str = "aws", *, region: str | None = None, arm: str | None = None,
                yes: bool = False) -> Publication:
        """Make ``name`` an image of a cloud: an AMI at AWS. Without ``yes`` nothing is sent or asked, and what would be
        is returned. A call that failed in the middle is gone on with by the next one."""
        from unibeam_nb.image import ami

        if cloud != "aws":
            raise UsageError(f"{cloud!r} is not a cloud that images are published to.", "It can be aws; others take "
                             "what 'emit NAME --as gce|azure|vmware|proxmox' tells.")
        build = self.named(name)
        image = self._suitable(build, cloud, ("disk",), arm)
        where = ami.region_of(region)
        if lacks := self._lacks(build, image, "ena"):
            note(f"The disk image of {name} has no network driver for AWS (ena).")
        if not yes:
            return ami.plan(image, where)
        return ami.publish(image, where, self.store.directory("publish"), ena=not lacks)

    def _suitable(self, build: Build, kind: str, targets: tuple[str, ...], arm: str | None) -> Image:
        """The image of ``arm``, or the build's that is one of these targets, or one of the first of them. Raises
        UsageError for an arm of another target."""
        if arm is not None:
            wanted = Arm.parse(arm)
            if wanted.target not in targets:
                raise UsageError(f"{kind} does not take a {wanted.target} image.", f"It takes {' or '.join(targets)}.")
            return self.image(build, wanted)
        there = [image.target for image in build.images if image.target in targets]
        return self._image(build, there[0] if there else targets[0], "")

    def _facts(self, build: Build, image: Image, kind: str, mem_mb: int, vcpus: int) -> Facts:
        from unibeam_nb.image import emit
        from unibeam_nb.image.kernels import elf_kernel

        files = {name: image.file(name) for name, _ in image.files}
        if kind == "firecracker" and image.platform != "uml":
            files["kernel"] = elf_kernel(self.store, files["kernel"])
        return emit.Facts(build.name, image.target, files, image.kernel, image.platform, image.ports, mem_mb, vcpus,
                          self._lacks(build, image, emit.DRIVERS[kind]))

    def _lacks(self, build: Build, image: Image, driver: str) -> bool:
        """Whether the image has neither this driver nor a kernel that has it built in. Of a kernel without a list of
        what is built in, nothing is known."""
        from unibeam_nb.image import disk, drivers, kmod
        from unibeam_nb.image.kernels import stock_kernel

        kernel = self.kernel_of(build, image.target, image.options) or stock_kernel(self.store)
        if driver in drivers.missing(kernel, (driver,)):
            return True
        carried = disk.DRIVERS if image.target == "disk" else kmod.WANTED
        return kernel.modules is not None and driver not in kmod.Modules(kernel.modules).builtin \
            and driver not in carried
