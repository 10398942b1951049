"""A bill of materials as CycloneDX 1.6 JSON (ECMA-424), by the library of that project, checked with its schema.

The text follows from the image alone: its serial number from the image's sha256, its time is that of every other file
we write, and whatever the library puts in an order is sorted.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import unibeam_nb
from unibeam_nb.errors import ImageError
from unibeam_nb.image.bom.inventory import inventory
from unibeam_nb.image.bom.model import Bom, Component
from unibeam_nb.image.bom.purl import OUR_LICENCE
from unibeam_nb.image.formats.gpt import NAMESPACE
from unibeam_nb.model import Image
from unibeam_nb.progress import step
from unibeam_nb.store import Store, digest_file

if TYPE_CHECKING:
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom as Document
    from cyclonedx.model.component import Component as Part
    from cyclonedx.model.license import License

TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""No image has a time of its own, and neither has what is said about it."""

PREFIX = "unibeam"
"""Of the names of our own properties (github.com/CycloneDX/cyclonedx-property-taxonomy)."""

TYPES = {"kernel": "operating-system", "kernel module": "device-driver", "firmware": "firmware",
         "program": "application", "runtime": "platform", "application": "library", "library": "library",
         "package": "library", "data": "data"}
"""What CycloneDX calls our kinds."""


def bill_of(store: Store, image: Image) -> Bom:
    """What an image is made of. Raises ImageError where the store does not know it any more."""
    with step("Listing what is in the image"):
        components = inventory(store, image)
        text = written(image, components)
    return Bom(image.name, image.kind, image.sha256, components, text)


def written(image: Image, components: Sequence[Component]) -> str:
    """The CycloneDX JSON of these components. Raises ImageError where the schema refuses it."""
    from cyclonedx.output.json import JsonV1Dot6
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = JsonV1Dot6(_document(image, components)).output_as_string(indent=1) + "\n"
    if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ImageError(f"The bill of materials of {image.name} is not what CycloneDX prescribes.",
                         "Something in the release has a name or a version that it does not allow.",
                         [str(wrong).splitlines()[0][:200]])
    return text


def _document(image: Image, components: Sequence[Component]) -> Document:
    from cyclonedx.model.bom import Bom as Document
    from cyclonedx.model.bom import BomMetaData
    from cyclonedx.model.component import Component as Part
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.tool import ToolRepository

    ours = Part(name="unibeam_nb", version=unibeam_nb.__version__, type=ComponentType.APPLICATION,
                licenses=_licences(OUR_LICENCE), bom_ref="tool/unibeam")
    whole = Part(name=image.name, type=ComponentType.CONTAINER if image.target == "oci" else ComponentType.APPLICATION,
                 version=image.sha256[:12], bom_ref="image", description=f"{image.kind} image",
                 components=tuple(_artefacts(image)), properties=_properties([
                     ("kind", image.kind), ("sha256", image.sha256), ("release-sha256", image.release_sha256),
                     *((f"tool:{name}", version) for name, version in image.tools)]))
    parts = {each.ref: _part(each) for each in components}
    made = Document(serial_number=uuid.uuid5(NAMESPACE, f"bill of materials {image.kind} {image.sha256}"),
                    components=parts.values(),
                    metadata=BomMetaData(timestamp=TIME, component=whole, tools=ToolRepository(components=[ours])))
    for each in components:
        made.register_dependency(parts[each.ref], [parts[ref] for ref in each.needs])
    needed = {ref for each in components for ref in each.needs}
    made.register_dependency(whole, [part for ref, part in parts.items() if ref not in needed])
    return made


def _artefacts(image: Image) -> Iterable[Part]:
    """The files that the image is, each with its sha256."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component as Part
    from cyclonedx.model.component import ComponentType

    for name, _ in image.files if image.target != "release" else ():
        path = image.file(name)
        if path.is_file():
            yield Part(name=name, type=ComponentType.FILE, bom_ref=f"image/{name}",
                       hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest_file(path))])
    if image.target == "oci":
        yield Part(name="index.json", type=ComponentType.FILE, bom_ref="image/index.json", hashes=[HashType(
            alg=HashAlgorithm.SHA_256, content=digest_file(image.file("layout") / "index.json"))])


def _part(each: Component) -> Part:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component as Part
    from cyclonedx.model.component import ComponentType
    from packageurl import PackageURL

    facts = [("kind", each.kind), *each.facts]
    if each.files:
        facts += [("files", str(each.files)), ("bytes", str(each.bytes))]
    if each.files > 1:
        facts.append(("sha256-of", "the lines 'SHA256  PATH' of its files, sorted by path"))
    return Part(name=each.name, version=each.version or None, type=ComponentType(TYPES[each.kind]), bom_ref=each.ref,
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each.sha256)] if each.sha256 else (),
                purl=PackageURL.from_string(each.purl) if each.purl else None, cpe=each.cpe or None,
                licenses=_licences(each.licence), properties=_properties(facts))


def _licences(text: str) -> Sequence[License]:
    """An SPDX identifier or expression where it is one, else a name: Debian's short names are not all SPDX's."""
    from cyclonedx.contrib.license.factories import LicenseFactory

    return (LicenseFactory().make_from_string(text),) if text else ()


def _properties(facts: Iterable[tuple[str, str]]) -> list[Property]:
    from cyclonedx.model import Property

    return [Property(name=f"{PREFIX}:{name}", value=value) for name, value in facts]
