"""The first line of a journal, checked: it may come from anywhere, and whatever reads an experiment relies on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from unibeam_nb.bench.plan import Plan
from unibeam_nb.jsonable import from_json
from unibeam_nb.model import Part


@dataclass(frozen=True)
class HostFacts:
    """A host as a journal tells of it (:class:`~unibeam_nb.bench.host.Host` without its id)."""

    cpu: str = ""
    cores: int = 0
    ram_bytes: int = 0
    kernel: str = ""
    distribution: str = ""
    virtualised: str = ""


@dataclass(frozen=True)
class ImageFacts:
    """An image as a journal tells of it."""

    target: str = ""
    flavour: str = ""
    sha256: str = ""
    kernel: str = ""
    shipped_bytes: int = 0
    unpacked_bytes: int = 0
    parts: tuple[Part, ...] = ()
    tools: tuple[tuple[str, str], ...] = ()
    arm: str = ""
    name: str = ""


@dataclass(frozen=True)
class Header:
    """What a header has; ``images`` is by case. ``hosts`` and ``left_out`` came with version 2."""

    name: str
    plan: Plan
    date: str = ""
    host: HostFacts = HostFacts()
    host_id: str = ""
    images: dict[str, ImageFacts] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, HostFacts] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def checked(header: dict[str, Any]) -> dict[str, Any]:
    """A header in which everything has its type, and everything that is asked of any header is there. Raises ValueError
    where something has another type. What nobody knows is left alone."""
    found = from_json(Header, header)
    host = asdict(HostFacts())
    filled = {"date": found.date, "host": host | header.get("host", {}), "host_id": found.host_id,
              "images": header.get("images", {}), "tools": found.tools}
    if "hosts" in header:
        filled["hosts"] = {name: host | facts for name, facts in header["hosts"].items()}
    return header | filled


def image_facts(image: dict[str, Any]) -> dict[str, Any]:
    """What a checked header says of an image, with everything that is asked of any image."""
    return asdict(ImageFacts()) | image
