"""A finished release as data: what is in its tree, and the ``manifest.json`` beside it in the store.

    <entry>/release/         the tree (Release.path)
    <entry>/manifest.json    the Release without its path
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unibeam_nb.errors import UnibeamError
from unibeam_nb.jsonable import from_json, loads, to_json
from unibeam_nb.model import Application, Finding, Launch, Locked, Release
from unibeam_nb.release import findings
from unibeam_nb.store import Store, digest_tree


@dataclass(frozen=True)
class Made:
    """What a maker of a tree knows about it that the tree does not tell.

    ``system`` names the applications of OTP and Elixir themselves; ``locked`` the packages of a lock file.
    """

    version: str
    otp: str
    erts: str
    launch: Launch
    ports: tuple[int, ...] = ()
    system: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()
    locked: tuple[Locked, ...] = ()


def build(store: Store, key: str, name: str, source: str, make: Callable[[Path], Made]) -> Release:
    """The release with this key from the store, made by ``make(tree)`` if it is not there yet."""

    def fill(entry: Path) -> None:
        tree = entry / "release"
        tree.mkdir()
        made = make(tree)
        release = Release(
            name=name, version=made.version, path=Path("release"), key=key, sha256=digest_tree(tree), otp=made.otp,
            erts=made.erts, source=source, applications=tuple(applications(tree)), launch=made.launch,
            ports=made.ports, findings=(*made.findings, *findings.of_release(tree, made.system)), locked=made.locked)
        (entry / "manifest.json").write_text(json.dumps(to_json(release), indent=1, sort_keys=True) + "\n")

    entry, cached = store.build("release", key, fill)
    return read(entry, cached)


def derive(store: Store, key: str, release: Release, change: Callable[[Path], Mapping[str, Any] | None]) -> Release:
    """A release made from another one by ``change(tree)`` on a copy of its tree. Name, launch and findings stay, unless
    ``change`` returns fields of the release; ``origin`` tells the sha256 of the first release it comes from."""

    def fill(entry: Path) -> None:
        tree = entry / "release"
        shutil.copytree(release.path, tree, symlinks=True)
        fields = change(tree) or {}
        made = dataclasses.replace(
            release, path=Path("release"), key=key, sha256=digest_tree(tree), origin=release.origin or release.sha256,
            applications=tuple(applications(tree)), cached=False, **fields)
        (entry / "manifest.json").write_text(json.dumps(to_json(made), indent=1, sort_keys=True) + "\n")

    entry, cached = store.build("release", key, fill)
    return read(entry, cached)


def read(entry: Path, cached: bool) -> Release:
    """The release in a store entry. Raises UnibeamError when its manifest is unreadable."""
    try:
        release = from_json(Release, loads((entry / "manifest.json").read_text()))
    except (OSError, ValueError) as error:
        raise UnibeamError(f"The stored release in {entry} is damaged.",
                           "Delete that directory and build again.") from error
    return dataclasses.replace(release, path=entry / "release", cached=cached)


def applications(tree: Path) -> Iterable[Application]:
    """The applications of a tree with their modules counted and all their bytes, in name order."""
    for path in sorted((tree / "lib").iterdir()):
        spec = next(iter(sorted((path / "ebin").glob("*.app"))), None)
        if spec is None:
            continue
        name = spec.stem
        version = path.name.removeprefix(f"{name}-") if "-" in path.name else _version(path)
        size = sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
        yield Application(name, version, len(list((path / "ebin").glob("*.beam"))), size)


def _version(path: Path) -> str:
    from unibeam_nb.release.otp import read_app

    return read_app(path).version
