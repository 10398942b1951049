"""Before the first boot: whether the images fit together, the journal's first line, and a journal that is continued."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from unibeam_nb.bench.host import Host
from unibeam_nb.bench.journal import Journal, load_experiment
from unibeam_nb.bench.plan import Plan
from unibeam_nb.errors import BenchError
from unibeam_nb.jsonable import from_json, to_json
from unibeam_nb.model import Image


def common_ports(plan: Plan, images: Mapping[str, Image]) -> tuple[int, ...]:
    """The ports that the images serve. Raises BenchError where a case has none, or not the same release."""
    absent = [name for name in plan.names if name not in images]
    if absent:
        raise BenchError(f"There is no image for the arm {absent[0]}.", "Build one for every arm of the plan.")
    chosen = [images[name] for name in plan.names]
    if len({image.origin or image.release_sha256 for image in chosen}) > 1:
        raise BenchError("The arms do not run the same release.",
                         "Build all images from one release; otherwise the comparison means nothing.")
    return chosen[0].ports


def make_header(plan: Plan, images: Mapping[str, Image], here: Host, versions: Mapping[str, str], name: str,
                date: str, left_out: Mapping[str, str]) -> dict[str, Any]:
    """The first line of the journal. ``left_out`` are arms that cannot run here, and why."""
    about = {}
    for case in plan.cases:
        image = images[case.name]
        about[case.name] = {key: to_json(getattr(image, key)) for key in (
            "name", "target", "flavour", "sha256", "release_sha256", "shipped_bytes", "unpacked_bytes", "parts",
            "kernel", "tools")} | {"erts": image.launch.erts, "arm": str(case.arm)}
    return {"name": name, "date": date, "plan": to_json(plan), "host": here.facts(), "host_id": here.id,
            "hosts": {here.id: here.facts()}, "tools": dict(versions), "images": about, "left_out": dict(left_out)}


def open_journal(path: Path, header: Mapping[str, Any]) -> Journal:
    """A new journal, or the one that is there if it belongs to this very experiment."""
    if not path.exists() or path.stat().st_size == 0:
        path.unlink(missing_ok=True)
        return Journal.create(path, header)
    there = load_experiment(path)
    if there.plan != from_json(Plan, to_json(header["plan"])):
        raise BenchError(f"{path.name} belongs to an experiment with another plan.",
                         "Choose another name, or use the same arms, blocks, seed and limits to continue it.")
    if there.header["host_id"] != header["host_id"]:
        raise BenchError(f"{path.name} was begun on another host, or before this one changed.",
                         "Samples of two hosts do not mix: choose another name.")
    if _hashes(there.header) != _hashes(header):
        raise BenchError(f"{path.name} was begun with other images.",
                         "The code, the kernel or the tools have changed since: choose another name.")
    return Journal.resume(path)


def _hashes(header: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    return sorted((arm, str(image["sha256"])) for arm, image in header["images"].items())
