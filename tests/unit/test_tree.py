"""Root file systems as data."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.errors import ImageError
from unibeam_nb.image.tree import (
    directory,
    file,
    from_directory,
    link,
    parts,
    through_links,
    tree,
    write_directory,
)
from unibeam_nb.model import Part

NAME = st.text("abc.-_ é", min_size=1, max_size=4).filter(lambda n: n.strip("."))


def test_missing_parents_are_added_before_their_children() -> None:
    made = tree([file("a/b/c", "x")])
    assert list(made) == ["a", "a/b", "a/b/c"]
    assert made["a/b"].mode == stat.S_IFDIR | 0o755


def test_a_directory_given_after_its_child_keeps_its_own_mode() -> None:
    assert tree([file("tmp/x", ""), directory("tmp", 0o1777)])["tmp"].mode == stat.S_IFDIR | 0o1777


@given(st.lists(st.lists(NAME, min_size=1, max_size=3).map("/".join), unique=True))
def test_the_order_of_entries_makes_no_difference_and_parents_come_first(paths: list[str]) -> None:
    entries = [directory(path) for path in paths]
    made = list(tree(entries))
    assert made == list(tree(reversed(entries)))
    for position, path in enumerate(made):
        parent = path.rpartition("/")[0]
        assert not parent or parent in made[:position]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../b", "a//b", "a/", ".", "", "a/./b"])
def test_a_path_that_is_not_plain_and_relative_is_refused(path: str) -> None:
    with pytest.raises(ImageError) as caught:
        tree([file(path, "")])
    assert caught.value.message == f"{path!r} is not a plain path inside an image."


def test_two_different_things_at_one_path_are_refused() -> None:
    with pytest.raises(ImageError) as caught:
        tree([file("etc/hosts", "a"), file("etc/hosts", "b")])
    assert caught.value.message == "Two different things want to be /etc/hosts in the image."


def test_the_same_thing_twice_is_fine() -> None:
    assert len(tree([file("x", "a"), file("x", "a")])) == 1


def test_a_file_below_a_file_is_refused() -> None:
    with pytest.raises(ImageError) as caught:
        tree([file("a", ""), file("a/b", "")])
    assert caught.value.message == "/a/b cannot be in the image, because /a is not a directory."


def test_of_a_directory_on_disk_only_the_execute_bit_counts(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name, mode in (("run", 0o700), ("data", 0o600)):
        (tmp_path / "bin" / name).write_text(name)
        (tmp_path / "bin" / name).chmod(mode)
    (tmp_path / "bin" / "same").symlink_to("run")
    made = tree(from_directory(tmp_path, "opt", lambda relative: relative.split("/")[0]))
    assert [(path, oct(entry.mode & 0o7777), entry.target) for path, entry in made.items()] == [
        ("opt", "0o755", ""), ("opt/bin", "0o755", ""), ("opt/bin/data", "0o644", ""), ("opt/bin/run", "0o755", ""),
        ("opt/bin/same", "0o777", "run")]
    assert made["opt/bin/run"].part == "bin"


def test_a_pipe_in_a_release_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError) as caught:
        list(from_directory(tmp_path, "opt", str))
    assert caught.value.message == f"{tmp_path / 'pipe'} is neither a file, a directory nor a link."


def test_entries_land_where_the_links_of_a_merged_root_lead() -> None:
    links = {"lib": "usr/lib", "lib64": "/usr/lib64", "usr/lib/old": "../share/new"}
    landed = through_links([file("lib/x.so", ""), file("lib64/ld.so", ""), file("lib/old/y", ""), file("etc/z", "")],
                           links)
    assert [entry.path for entry in landed] == ["usr/lib/x.so", "usr/lib64/ld.so", "usr/share/new/y", "etc/z"]


def test_a_circle_of_links_is_refused() -> None:
    with pytest.raises(ImageError, match="leads through a circle of symbolic links"):
        list(through_links([file("a/x", "")], {"a": "b", "b": "a"}))


def test_parts_add_up_to_the_bytes_of_files_and_links(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(1000))
    made = tree([file("a", "12345", part="one"), link("b", "xyz", part="one"), file("c", tmp_path / "big", part="two"),
                 directory("d", part="three")])
    assert parts(made) == (Part("one", 8), Part("two", 1000))


def test_a_tree_is_laid_out_with_its_modes_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        write_directory(tree([directory("tmp", 0o1777), file("bin/run", "x", 0o755), link("bin/go", "run")]), tmp_path)
    finally:
        os.umask(old)
    assert (tmp_path / "tmp").stat().st_mode == stat.S_IFDIR | 0o1777
    assert (tmp_path / "bin/run").stat().st_mode == stat.S_IFREG | 0o755
    assert (tmp_path / "bin/go").readlink() == Path("run")


def test_a_source_that_changes_its_length_while_it_is_packed_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "log"
    source.write_bytes(bytes(3 << 20))
    pieces = file("log", source).chunks()
    next(pieces)
    source.write_bytes(bytes(10))
    with pytest.raises(ImageError) as caught:
        list(pieces)
    assert caught.value.message == f"{source} changed its length while it was being packed."
