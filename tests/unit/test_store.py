"""The cache: whole entries or none, one maker, errors for people."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from unibeam_nb.errors import UnibeamError
from unibeam_nb.held import remove_tree
from unibeam_nb.store import Store, digest, digest_tree, disk_errors, walk, write_atomically


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_an_entry_is_made_once(fresh_store: Store) -> None:
    made: list[Path] = []

    def make(directory: Path) -> None:
        made.append(directory)
        (directory / "file").write_text("x")

    first, hit = fresh_store.build("image", "abc", make)
    again, hit_again = fresh_store.build("image", "abc", make)
    assert (hit, hit_again) == (False, True)
    assert first == again == fresh_store.entry("image", "abc")
    assert (first / "file").read_text() == "x"
    assert len(made) == 1


def test_a_maker_that_fails_leaves_nothing(fresh_store: Store) -> None:
    def make(directory: Path) -> None:
        (directory / "half").write_text("x")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fresh_store.build("image", "abc", make)
    assert not fresh_store.entry("image", "abc").exists()
    assert list((fresh_store.cache / "tmp").iterdir()) == []


def test_two_who_want_the_same_entry_make_it_once(fresh_store: Store) -> None:
    made = []
    inside = threading.Event()

    def make(directory: Path) -> None:
        made.append(directory)
        inside.wait(0.3)

    threads = [threading.Thread(target=fresh_store.build, args=("image", "abc", make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_a_tree_has_the_same_digest_wherever_it_lies(tmp_path: Path) -> None:
    files = {"b/x": "1", "a": "2"}
    one, two = tree(tmp_path / "one", files), tree(tmp_path / "else" / "two", dict(reversed(files.items())))
    assert digest_tree(one) == digest_tree(two)
    (two / "a").chmod(0o755)
    assert digest_tree(one) != digest_tree(two)


def test_a_digest_depends_on_names_and_contents(tmp_path: Path) -> None:
    trees = [tree(tmp_path / str(i), files) for i, files in enumerate(
        [{"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": ""}, {"d/a": "1"}])]
    assert len({digest_tree(t) for t in trees}) == len(trees)


def test_what_is_skipped_does_not_count(tmp_path: Path) -> None:
    one = tree(tmp_path / "one", {"a": "1"})
    two = tree(tmp_path / "two", {"a": "1", "_build/x": "2"})
    assert digest_tree(one) == digest_tree(two, lambda p: p.parts[0] == "_build")


def test_parts_of_a_digest_cannot_run_into_each_other() -> None:
    assert digest("ab", "c") != digest("a", "bc")


def test_walking_gives_parents_first_in_sorted_order(tmp_path: Path) -> None:
    root = tree(tmp_path, {"b/c": "", "b/a": "", "a": ""})
    assert [p.relative_to(root).as_posix() for p in walk(root)] == ["a", "b", "b/a", "b/c"]


def test_a_full_disk_is_one_sentence_and_a_hint(tmp_path: Path) -> None:
    with pytest.raises(UnibeamError) as caught, disk_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == (f"The disk under {tmp_path} is full.\n"
                                 "  Hint: Free some space, run 'unibeam clean --cache', or set UNIBEAM_HOME.")


def test_a_small_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "name.json"
    write_atomically(path, "one")
    write_atomically(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["name.json"]


def test_a_read_only_tree_can_be_removed(tmp_path: Path) -> None:
    root = tree(tmp_path / "gone", {"a/b/c": "x"})
    (root / "a" / "b").chmod(0o500)
    remove_tree(root)
    assert not root.exists()


def test_the_home_variable_moves_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNIBEAM_HOME", str(tmp_path))
    assert Store.default() == Store(tmp_path / "cache", tmp_path / "state")
