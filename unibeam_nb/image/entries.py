"""Images in the store: making one from its inputs, or finding it made already.

An entry ``images/KEY`` holds the artefacts, ``contents.json`` (``contents.py``) and ``manifest.json``, which is the
:class:`~unibeam_nb.model.Image` with ``path`` as ``.`` and, under ``inputs``, what the key was made from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unibeam_nb.errors import UnibeamError
from unibeam_nb.jsonable import from_json, loads, to_json
from unibeam_nb.model import Image, Release
from unibeam_nb.progress import step
from unibeam_nb.store import Store, digest

KIND = "images"
MANIFEST = "manifest.json"
FORMAT = 4
"""Counts up whenever the same inputs would give other bytes, or other notes on them, so that old entries are not taken
for new ones."""


def make_image(store: Store, release: Release, target: str, flavour: str, inputs: Mapping[str, Any],
               fill: Callable[[Path, str], Image]) -> Image:
    """The image with these inputs, made by ``fill(place, key)`` when the store does not have it.

    ``inputs`` are what decides the image's bytes beside the release. ``fill`` writes the artefacts into ``place``
    and returns the image, whose ``path`` does not matter.
    """
    whole = {"format": FORMAT, "target": target, "flavour": flavour, "name": release.name,
             "release": release.sha256, "origin": release.origin, "launch": to_json(release.launch),
             "ports": list(release.ports), **inputs}
    key = digest(whole)[:32]

    def make(place: Path) -> None:
        kind = "+".join(filter(None, (target, flavour)))
        with step(f"Building the {kind} image of {release.name}"):
            image = replace(fill(place, key), path=Path(), cached=False, origin=release.origin,
                            left_out=tuple(left.name for left in release.left_out or () if left.kind != "library"))
            text = json.dumps(to_json(image) | {"inputs": to_json(whole)}, indent=1, sort_keys=True, ensure_ascii=False)
            (place / MANIFEST).write_text(text + "\n", encoding="utf-8")

    entry, cached = store.build(KIND, key, make)
    return replace(load_image(entry), cached=cached)


def load_image(entry: Path) -> Image:
    """The image in a store entry. Raises UnibeamError when the entry is damaged."""
    try:
        data = loads((entry / MANIFEST).read_text(encoding="utf-8"))
        return replace(from_json(Image, data), path=entry)
    except (OSError, ValueError) as error:
        raise UnibeamError(f"The image in {entry} is damaged ({error}).",
                           f"Remove {entry} and build again.") from None


def library_versions(*names: str) -> tuple[tuple[str, str], ...]:
    """Names and versions of Python packages whose output is part of an image's bytes."""
    return tuple((name, version(name)) for name in names)
