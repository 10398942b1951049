"""A shaken release: derived from another one, with what never runs left out, and tried before anybody else does."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.errors import ImageError, UsageError
from unibeam_nb.held import remove_tree
from unibeam_nb.model import LeftOut, Release
from unibeam_nb.progress import note, step
from unibeam_nb.release import manifest
from unibeam_nb.release.shake.boot import NOT_EARLY, shaken_boot
from unibeam_nb.release.shake.emulator import Words
from unibeam_nb.release.shake.names import STARTED_FOR_OTHERS
from unibeam_nb.release.shake.reach import CUT, reach
from unibeam_nb.release.shake.record import Start, record
from unibeam_nb.release.shake.tree import Tree
from unibeam_nb.release.shake.trim import trimmed
from unibeam_nb.store import Store, digest

UNUSED = "nothing that can run refers to it"
DROPPED = "--drop"
ATTEMPTS = 6
"""Starts of a shaken release: each that misses a module puts it back."""


@dataclass(frozen=True)
class Wishes:
    """What the user says about shaking: names of modules or applications to ``keep`` whole or to ``drop``, and whether
    what a start loads is taken from a recorded one (else only the analysis counts)."""

    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


def shaken(store: Store, release: Release, wishes: Wishes = Wishes()) -> Release:
    """The release without what it does not use; ``origin`` tells the release it was made from.

    Raises UsageError for a name that the release does not have, ImageError when what is left does not start.
    """
    if release.left_out is not None:
        return release
    refuse_unknown(Tree(release, release.path), wishes)
    key = digest("shake", _recipe(), release.key, release.sha256, list(wishes.keep), list(wishes.drop))

    def change(tree: Path) -> dict[str, object]:
        with step(f"Shaking {release.name}"):
            left = _systems(tree, release, wishes) if release.source == "system" \
                else _shake(store, tree, release, wishes)
        return {"left_out": tuple(left)}

    return manifest.derive(store, key, release, change)


def refuse_unknown(tree: Tree, wishes: Wishes) -> None:
    known = tree.files.keys() | tree.applications.keys()
    for flag, names in (("--keep", wishes.keep), ("--drop", wishes.drop)):
        for name in names:
            if _module(name, known) not in known:
                raise UsageError(f"{flag} names {name}, which is neither a module nor an application of "
                                 f"{tree.release.name}.", "'unibeam check NAME' lists what was left out.")


def _module(name: str, known: object) -> str:
    """A name as users write it: Elixir's modules without their prefix."""
    assert hasattr(known, "__contains__")
    return f"Elixir.{name}" if name[:1].isupper() and f"Elixir.{name}" in known else name


def _names(names: tuple[str, ...], tree: Tree) -> frozenset[str]:
    known = tree.files.keys() | tree.applications.keys()
    return frozenset(_module(name, known) for name in names)


def _shake(store: Store, root: Path, release: Release, wishes: Wishes) -> list[LeftOut]:
    """Shake the copy of the release in ``root``: start it as it was, leave out, start it again."""
    with step("Starting it once to see what a start loads"):
        first = record(store, release, root)
    if not first.up:
        note(f"{release.name} does not start on this host, so it was shaken without having been watched.")
    plan = Tree(release, root, _names(wishes.keep, Tree(release, root)))
    original = {path: path.read_bytes() for path in (*plan.files.values(), plan.boot)}
    kept = set(plan.kept)
    for _ in range(ATTEMPTS):
        left = _leave_out(Tree(release, root, frozenset(kept)), wishes, first)
        if not first.up:
            return left
        with step("Starting what is left"):
            again = record(store, release, root)
        if again.up:
            return left
        _restore(original)
        missing = {name for name in again.missing if name in plan.files} - kept - _names(wishes.drop, plan)
        if not missing:
            raise ImageError(f"What --shake leaves of {release.name} does not start.",
                             "Keep more with --keep MODULE or --keep APPLICATION, or leave --shake out.",
                             again.said[-8:])
        kept |= missing
    raise ImageError(f"What --shake leaves of {release.name} does not start after {ATTEMPTS} attempts.",
                     f"Leave --shake out, or try --keep {','.join(sorted(kept))}.")


def _restore(original: Mapping[Path, bytes]) -> None:
    for path, data in original.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _leave_out(tree: Tree, wishes: Wishes, start: Start) -> list[LeftOut]:
    """Write the files of what stays, remove those of what goes, and say what went."""
    modules = tree.modules
    cut = dict(CUT)
    if tree.alone:
        cut["kernel"] = STARTED_FOR_OTHERS
    found = reach(modules, tree.roots(), tree.atoms(), tree.preloaded, cut, Words(tree.emulator))
    loaded = start.modules - STARTED_FOR_OTHERS if tree.alone else start.modules
    for name in loaded:
        if name in modules and name not in found:  # It was loaded, however it came to that.
            found[name] = None
    dropped = _names(wishes.drop, tree)
    left: list[LeftOut] = []
    for name, module in modules.items():
        path = tree.files[name]
        size = path.stat().st_size
        gone = name in dropped or module.app in dropped
        if gone or name not in found:
            path.unlink()
            left.append(LeftOut("module", name, size, DROPPED if gone else UNUSED))
            continue
        functions = found[name]
        if functions is not None and len(functions) < len(module.bodies):
            path.write_bytes(trimmed(module, functions))
            left.append(LeftOut("functions", name, size - path.stat().st_size,
                                f"{len(module.bodies) - len(functions)} of {len(module.bodies)}: {UNUSED}"))
    early = _early(tree, loaded)
    tree.boot.write_bytes(shaken_boot(tree.boot.read_bytes(), early, tree.alone))
    return sorted([*left, *_empty(tree)], key=lambda item: (item.kind, item.name))


def _early(tree: Tree, modules: frozenset[str]) -> dict[str, list[str]]:
    """Directory -> modules that a start loads. One whose loading runs code of its own is left to its caller."""
    found: dict[str, list[str]] = {}
    for name in sorted(modules - NOT_EARLY):
        path = tree.files.get(name)
        if path is None or not path.is_file() or any(body.on_load for body in tree.modules[name].bodies):
            continue
        found.setdefault(f"$ROOT/{path.parent.relative_to(tree.root)}", []).append(name)
    return dict(sorted(found.items()))


def _empty(tree: Tree) -> list[LeftOut]:
    """The native libraries and data of applications of which no module is left."""
    left = []
    for name, path in tree.applications.items():
        if (path / "priv").is_dir() and not list((path / "ebin").glob("*.beam")):
            size = sum(file.stat().st_size for file in (path / "priv").rglob("*") if file.is_file())
            remove_tree(path / "priv")
            left.append(LeftOut("library", f"{name}/priv", size, "none of its application's modules is left"))
    return left


def _systems(root: Path, release: Release, wishes: Wishes) -> list[LeftOut]:
    """Of a system that looks for its own parts while it runs only whole applications go: those that no module of
    another one names, and that start nothing. Their ``.app`` files stay, for those that depend on them."""
    tree = Tree(release, root, _names(wishes.keep, Tree(release, root)))
    by_app: dict[str, list[str]] = {}
    for name, module in tree.modules.items():
        by_app.setdefault(module.app, []).append(name)
    owner = {name: module.app for name, module in tree.modules.items()}
    needed = set(tree.kept) | {app for app in by_app if _starts(tree, app)} | {owner[word] for word in tree.words
                                                                              if word in owner}
    todo = list(needed)
    while todo:
        for name in by_app.get(todo.pop(), ()):
            beam = tree.modules[name].beam
            for app in {owner[atom] for atom in beam.atoms if atom in owner} - needed:
                needed.add(app)
                todo.append(app)
    dropped = _names(wishes.drop, tree)
    left = []
    for app in sorted(by_app.keys() - (needed - dropped)):
        files = [tree.files[name] for name in by_app[app]]
        left.append(LeftOut("application", app, sum(path.stat().st_size for path in files),
                            DROPPED if app in dropped else "no other application names a module of it"))
        for path in files:
            path.unlink()
    return [*left, *_empty(tree)]


def _starts(tree: Tree, app: str) -> bool:
    from unibeam_nb.release.otp import read_app

    return app not in tree.applications or app in ("kernel", "stdlib", "unibeam_agent") or \
        read_app(tree.applications[app]).callback is not None


def _recipe() -> str:
    """A digest of how releases are shaken, so that one shaken by an older unibeam is not taken for today's."""
    own = sorted(Path(__file__).parent.glob("*.py"))
    return digest(zlib.ZLIB_RUNTIME_VERSION, *(path.read_bytes() for path in own))
