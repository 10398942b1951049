"""Image -> what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibeam_nb.arms import RUNNERS, RUNNERS_OF, parse_arm
from unibeam_nb.errors import UsageError
from unibeam_nb.lab.builds import Build, Builds, look_inside

if TYPE_CHECKING:
    from unibeam_nb.analysis.inside import Exploration
    from unibeam_nb.image.bom.model import Bom
    from unibeam_nb.model import Image


class Inside(Builds):
    """The Lab's half that looks inside images."""

    def explore(self, name: str, *, on: str | None = None, against: str | None = None, word: str = "",
                depth: int = 2) -> Exploration:
        """What is in the image of ``name`` and what it weighs; with ``against`` what differs from another build's
        image, or from another image of the same build.

        ``on`` names the image by an arm, a runner or a target (``oci+slim``); the one that was built if left out. Both
        images are made where they are not in the store. Raises UsageError for what is neither a build nor an image.
        """
        build = self.named(name)
        image = self._looked_at(build, on)
        other = None
        if against is not None:
            other = self._looked_at(self.named(against), on) if against in self.names() else \
                self._image_called(build, against, f"{against!r} is neither a build nor an image of {name}.")
        return look_inside(image, other, word=word, depth=depth)

    def sbom(self, name: str, *, on: str | None = None) -> Bom:
        """The bill of materials of the image of ``name``: what it is made of, where each thing comes from, and what
        needs what; ``save(PATH)`` writes it as CycloneDX JSON. ``on`` names the image as for :meth:`explore`.
        Raises UsageError, ImageError."""
        from unibeam_nb.image.bom.cyclonedx import bill_of

        return bill_of(self.store, self._looked_at(self.named(name), on))

    def _looked_at(self, build: Build, on: str | None) -> Image:
        if on is not None:
            return self._image_called(build, on, f"{on!r} is no image of {build.name}.")
        from unibeam_nb.image import contents

        first = build.images[0]
        if contents.noted(first):
            return first
        return self._image(build, first.target, first.flavour, first.options)

    def _image_called(self, build: Build, text: str, mistake: str) -> Image:
        target = text.partition("+")[0]
        if "@" not in text and text not in RUNNERS:
            if target not in RUNNERS_OF:
                raise UsageError(mistake, f"Built so far: {', '.join(self.names())}. Images are called "
                                 f"{', '.join(RUNNERS_OF)}, or by an arm: oci+slim@podman.")
            text = f"{text}@{RUNNERS_OF[target][0]}"
        return self.image(build, parse_arm(text))
