"""What belongs to one user stays closed to the others, whoever was there first."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from unibeam_nb.errors import UnibeamError
from unibeam_nb.private import private
from unibeam_nb.store import Store

STRANGER = 54321
"""A user id that nobody has."""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


@pytest.fixture
def loose() -> Iterator[None]:
    """A shell with the worst of umasks."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("loose")
def test_it_is_made_closed_with_all_that_is_missing_above_it(tmp_path: Path) -> None:
    assert private(tmp_path / "a" / "b" / "c") == tmp_path / "a" / "b" / "c"
    assert [mode(tmp_path / part) for part in ("a", "a/b", "a/b/c")] == [0o700] * 3


def test_one_that_was_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    private(tmp_path / "open")
    assert mode(tmp_path / "open") == 0o700


@pytest.mark.usefixtures("loose")
def test_a_store_is_closed_whatever_the_umask_and_the_modes_before(fresh_store: Store) -> None:
    fresh_store.state.mkdir(parents=True)
    fresh_store.state.parent.chmod(0o755)
    fresh_store.directory("machines")
    fresh_store.build("images", "k", lambda place: (place / "kernel").write_text("x"))
    places = (fresh_store.state, fresh_store.state / "machines", fresh_store.cache)
    assert [mode(path) for path in places] == [0o700] * 3
    fresh_store.cache.chmod(0o777)
    fresh_store.build("images", "k", lambda place: None)
    assert mode(fresh_store.cache) == 0o700
    fresh_store.cache.chmod(0o755)
    with fresh_store.scratch():
        assert mode(fresh_store.cache) == 0o700


def test_a_file_or_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(UnibeamError) as caught:
            private(tmp_path / name)
        assert str(caught.value) == (f"{tmp_path / name} is not a directory.\n"
                                     f"  Hint: Look at it, then remove it: rm {tmp_path / name}")


def test_a_link_of_ones_own_is_followed(tmp_path: Path) -> None:
    (tmp_path / "large-disk").mkdir(mode=0o755)
    (tmp_path / "cache").symlink_to(tmp_path / "large-disk")
    private(tmp_path / "cache")
    assert mode(tmp_path / "large-disk") == 0o700


ELSEWHERE = "  Hint: Set UNIBEAM_HOME to a directory that only you can write to."


@root_only
def test_what_somebody_else_made_before_us_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", STRANGER, STRANGER)
    with pytest.raises(UnibeamError) as caught:
        private(tmp_path / "theirs")
    assert str(caught.value) == f"{tmp_path / 'theirs'} belongs to another user (uid {STRANGER}).\n{ELSEWHERE}"
    (tmp_path / "ours").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    os.lchown(tmp_path / "link", STRANGER, STRANGER)
    with pytest.raises(UnibeamError, match="belongs to another user"):
        private(tmp_path / "link")
    with pytest.raises(UnibeamError) as caught:
        private(tmp_path / "theirs" / "cache")
    assert caught.value.message == (f"{tmp_path / 'theirs'}, in which cache lies, belongs to another user "
                                    f"(uid {STRANGER}).")


def test_nothing_is_kept_where_others_could_put_another_directory_in_its_place(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(UnibeamError) as caught:
        private(shared / "cache")
    assert caught.value.message == f"Every user of this host can replace what is in {shared}."
    assert caught.value.hint == f"Close it (chmod o-w {shared}), or set UNIBEAM_HOME to a directory of your own."
    shared.chmod(0o1777)  # As /tmp is: there nobody renames what is not his.
    assert private(shared / "cache").is_dir()
