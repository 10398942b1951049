"""What an image is made of, read from what the store notes of it: ``contents.json``, the manifest, and the release.

Every file of the image belongs to exactly one component. Nothing is taken from the host but where a file came from,
and that only where its sha256 is still the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import unibeam_nb
from unibeam_nb.errors import ImageError
from unibeam_nb.image import contents, elf, root
from unibeam_nb.image.appliance import PART as FALLBACK
from unibeam_nb.image.bom import debian
from unibeam_nb.image.bom.model import Component, listing
from unibeam_nb.image.bom.purl import (
    OUR_LICENCE,
    application_origin,
    kernel_origin,
    musl_origin,
    of_package,
    runtime_origin,
)
from unibeam_nb.image.contents import Item
from unibeam_nb.image.entries import MANIFEST
from unibeam_nb.model import Image, Release
from unibeam_nb.progress import checkpoint
from unibeam_nb.release.compiler import AGENT_APP
from unibeam_nb.release.manifest import read as read_release
from unibeam_nb.release.otp import App, read_app
from unibeam_nb.store import Store, digest_file

AGENT = AGENT_APP.partition("-")[0]

KERNELS = ("linux kernel", "osv kernel")
OURS = {"init": "unibeam's PID 1", "user data": "unibeam's reader of user data"}
OUR_LIBRARY = "libunibeam_osv.so"
BASE = "package"
"""The ref of a distribution's root."""

MUSL = "library/musl"


@dataclass(frozen=True)
class Parts:
    """An image's files by part, with what else is known of it."""

    store: Store
    image: Image
    release: Release
    other: Release | None
    items: dict[str, tuple[Item, ...]]

    @cached_property
    def libraries(self) -> dict[str, Path]:
        """The host's files that the image's libraries may be, by sha256."""
        paths = set(root.release_libraries(self.release).values())
        if self.other is not None:
            paths |= set(root.release_libraries(self.other).values())
        return {digest_file(path): path for path in sorted(paths)}

    @cached_property
    def library_refs(self) -> dict[str, set[str]]:
        """The refs of the image's libraries, by file name; those in a distribution's root are its own."""
        found: dict[str, set[str]] = {}
        for item in self.items.get("libraries", ()):
            found.setdefault(name_of(item), set()).add(f"library/{item.path}")
        for item in self.items.get("base", ()):
            if ".so" in name_of(item):
                found.setdefault(name_of(item), set()).add(BASE)
        return found

    def needed(self, binaries: Iterable[Path]) -> tuple[str, ...]:
        """The refs of the libraries that these files are linked with, the loader among them."""
        found = set()
        for path in binaries:
            binary = elf.read_binary(path) if elf.is_elf(path) else None
            if binary is not None:
                names = [name.rpartition("/")[2] for name in (*binary.needed, binary.interpreter)]
                found |= {ref for name in names for ref in self.library_refs.get(name, ())}
        return tuple(sorted(found))


def inventory(store: Store, image: Image) -> tuple[Component, ...]:
    """The components of an image, in the order of :data:`~unibeam_nb.image.bom.model.KINDS`. Raises ImageError where
    the store no longer has the release that it was made of."""
    from unibeam_nb.image.bom.model import KINDS

    parts = gathered(store, image)
    found = [*_kernel(parts), *_modules(parts), *_firmware(parts), *_ours(parts), *_runtime(parts), *_libraries(parts),
             *_applications(parts), *_base(parts), *_rest(parts)]
    return tuple(sorted(found, key=lambda each: (KINDS.index(each.kind), each.ref)))


def gathered(store: Store, image: Image) -> Parts:
    """What the store knows of an image."""
    items: dict[str, tuple[Item, ...]] = {}
    for item in contents.read(image):
        items[item.part] = (*items.get(item.part, ()), item)
    manifest = image.path / MANIFEST
    inputs = json.loads(manifest.read_text(encoding="utf-8"))["inputs"] if image.target != "release" else {}
    other = inputs.get("fallback")
    return Parts(store, image, release_of(store, image, image.release_sha256),
                 release_of(store, image, other[0]) if other else None, items)


def release_of(store: Store, image: Image, sha256: str) -> Release:
    """The release with these contents. Raises ImageError where the store has it no longer."""
    for path in sorted((store.cache / "release").glob("*/manifest.json")):
        if sha256 in path.read_text(encoding="utf-8"):
            release = read_release(path.parent, True)
            if release.sha256 == sha256:
                return release
    raise ImageError(f"The release in the {image.kind} image of {image.name} is no longer in the cache.",
                     "Build it again.")


def name_of(item: Item) -> str:
    return item.path.rpartition("/")[2]


def whole(component: Component, items: Iterable[Item]) -> Component:
    """The component with the sha256, bytes and number of its files."""
    files = {item.path: item.digest for item in items}
    sha256 = next(iter(files.values())) if len(files) == 1 else hashlib.sha256(listing(files).encode()).hexdigest()
    return replace(component, sha256=sha256 if files else "", bytes=sum(item.bytes for item in items),
                   files=len(files))


def _kernel(parts: Parts) -> Iterator[Component]:
    for part in KERNELS:
        for item in parts.items.get(part, ()):
            yield whole(kernel_origin(parts.store, parts.image, item.digest), (item,))


def _modules(parts: Parts) -> Iterator[Component]:
    kernel = next(_kernel(parts), None)
    for item in parts.items.get("kernel modules", ()):
        assert kernel is not None
        yield whole(replace(kernel, ref=f"kernel-module/{name_of(item)}", kind="kernel module", needs=(kernel.ref,),
                            name=name_of(item).removesuffix(".ko"), cpe="", facts=()), (item,))


def _firmware(parts: Parts) -> Iterator[Component]:
    from unibeam_nb.image.disk import STUB

    for item in parts.items.get("efi stub", ()):
        package = debian.owners([STUB]).get(STUB) if STUB.is_file() and digest_file(STUB) == item.digest else None
        yield whole(of_package(Component("firmware/efi-stub", "firmware", STUB.name), package), (item,))


def _ours(parts: Parts) -> Iterator[Component]:
    for part, title in OURS.items():
        if items := parts.items.get(part):
            made = Component(f"unibeam/{part.replace(' ', '-')}", "program", title, unibeam_nb.__version__,
                             licence=OUR_LICENCE, facts=(("origin", "compiled from unibeam's own source"),))
            musl = musl_origin(parts.store, items[0].digest) if part == "init" else None
            if musl is not None:
                made = replace(made, needs=(MUSL,))
                yield replace(musl, ref=MUSL)
            yield whole(made, items)


def _runtime(parts: Parts) -> Iterator[Component]:
    items = parts.items.get("erts", ())
    if items:
        programs = sorted((parts.release.path / parts.release.launch.erts / "bin").iterdir())
        yield whole(replace(runtime_origin(parts.store, parts.release), needs=parts.needed(programs)), items)


def _libraries(parts: Parts) -> Iterator[Component]:
    items = parts.items.get("libraries", ())
    hosts = {item: parts.libraries[item.digest] for item in items if item.digest in parts.libraries}
    packages = debian.owners(hosts.values())
    for item in items:
        checkpoint()
        ref = f"library/{item.path}"
        if name_of(item) == OUR_LIBRARY:
            made = Component(ref, "program", OUR_LIBRARY, unibeam_nb.__version__, licence=OUR_LICENCE)
        else:
            package = packages.get(hosts[item]) if item in hosts else None
            needs = parts.needed((hosts[item],)) if item in hosts else ()
            made = replace(of_package(Component(ref, "library", name_of(item)), package),
                           needs=tuple(other for other in needs if not other.endswith(f"/{name_of(item)}")))
        yield whole(made, (item,))


def _applications(parts: Parts) -> Iterator[Component]:
    locked = {one.name: one for one in parts.release.locked}
    specifications = dict(_specifications(parts.release))
    for name, app in specifications.items():
        checkpoint()
        items = parts.items.get(name, ())
        binaries = [path for path in sorted((app.path / "priv").rglob("*")) if path.is_file()]
        needs = {f"application/{other}" for other in (*app.applications, *app.included) if other in specifications}
        runtime = {"runtime/erts"} if name == "kernel" else set()
        made = Component(f"application/{name}", "application", name, app.version,
                         needs=tuple(sorted({*needs, *runtime, *parts.needed(binaries)})))
        if name == AGENT:
            made = replace(made, version=unibeam_nb.__version__, licence=OUR_LICENCE,
                           facts=(("origin", "compiled from unibeam's own source"),))
        else:
            made = application_origin(made, app, locked.get(name))
        yield whole(made, items)


def _specifications(release: Release) -> Iterator[tuple[str, App]]:
    for path in sorted((release.path / "lib").iterdir()):
        if any((path / "ebin").glob("*.app")):
            app = read_app(path)
            yield app.name, app


def _base(parts: Parts) -> Iterator[Component]:
    """The packages of the root below the release. Their files are counted as one component, the root itself."""
    items = parts.items.get("base", ())
    if not items:
        return
    layer = _base_layer(parts)
    packages = debian.in_layer(layer) if layer is not None else ()
    refs = []
    for package in packages:
        made = of_package(Component(f"package/{package.name}", "package", package.name, package.version), package)
        refs.append(made.ref)
        yield made
    yield whole(Component(BASE, "package", "root of the distribution", needs=tuple(refs)), items)


def _base_layer(parts: Parts) -> Path | None:
    """The first layer of an oci image: the archive in the store of which the inputs name the digest."""
    inputs = json.loads((parts.image.path / MANIFEST).read_text(encoding="utf-8"))["inputs"]
    blob = parts.image.file("layout") / "blobs" / "sha256" / str(inputs.get("base", "")).removeprefix("sha256:")
    return blob if blob.is_file() else None


def _rest(parts: Parts) -> Iterator[Component]:
    """The other release, and what no component has taken: configuration."""
    taken = {*KERNELS, *OURS, "kernel modules", "efi stub", "erts", "libraries", "base", FALLBACK,
             *(app.name for app in parts.release.applications)}
    if items := parts.items.get(FALLBACK):
        assert parts.other is not None
        held = ", ".join(f"{app.name} {app.version}" for app in parts.other.applications)
        yield whole(Component("fallback", "application", parts.other.name, parts.other.version, facts=(
            ("origin", "the release to fall back to"), ("applications", held))), items)
    rest = tuple(item for part, items in parts.items.items() if part not in taken for item in items)
    if rest:
        yield whole(Component("configuration", "data", "configuration and boot scripts"), rest)


