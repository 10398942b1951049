"""Archives made by hand to do harm: what is in them reaches no other place, no other owner, and no other file."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from unibeam_nb.errors import ArchiveError, SourceError
from unibeam_nb.release import adopt, archive


def entry(name: str, kind: bytes = tarfile.REGTYPE, *, data: bytes = b"", link: str = "", mode: int = 0o644,
          owner: int = 0, headers: dict[str, str] | None = None) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.uid, info.size = kind, link, mode, owner, len(data)
    info.pax_headers = headers or {}
    return info, data


def packed(place: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    path = place / "r.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "inner" / "target"
    path.mkdir(parents=True)
    return path


HARMFUL = {
    "a name in an extended header": [entry("fine", data=b"x", headers={"path": "/tmp/unibeam-test-outside"})],
    "a link's aim in an extended header": [entry("fine", tarfile.SYMTYPE, link="ok", headers={"linkpath": "/etc"})],
    "a name in an extended header that climbs": [entry("fine", data=b"x", headers={"path": "a/../../../x"})],
    "a hard link to an absolute path": [entry("a", tarfile.LNKTYPE, link="/etc/passwd")],
    "a hard link through a link that was made before": [
        entry("d", tarfile.DIRTYPE, mode=0o755), entry("d/out", tarfile.SYMTYPE, link="../.."),
        entry("x", tarfile.LNKTYPE, link="d/out/secret")],
    "a file in place of a link, then through it": [
        entry("l", tarfile.SYMTYPE, link="d"), entry("d", tarfile.DIRTYPE), entry("l/../../x", data=b"x")],
    "a block device": [entry("disk", tarfile.BLKTYPE)],
    "a name that ends": [entry("a\0b", data=b"x", headers={"path": "a\0/../../b"})],
}


@pytest.mark.parametrize("what", HARMFUL)
def test_it_is_refused_or_stays_inside(what: str, tmp_path: Path, target: Path) -> None:
    (tmp_path / "inner" / "secret").write_text("not yours")
    with contextlib.suppress(ArchiveError):
        archive.unpack(packed(tmp_path, entry("good", data=b"x"), *HARMFUL[what]), target)
    outside = Path("/tmp/unibeam-test-outside")
    written = outside.exists()
    outside.unlink(missing_ok=True)
    assert not written
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inner", "r.tar.gz"]
    assert sorted(p.name for p in (tmp_path / "inner").iterdir()) == ["secret", "target"]
    for path in target.rglob("*"):
        assert path.resolve().is_relative_to(target)
        assert path.is_dir() or path.read_bytes() != b"not yours"


def test_of_a_files_rights_only_that_to_run_is_taken_over(tmp_path: Path, target: Path) -> None:
    archive.unpack(packed(tmp_path, entry("su", data=b"x", mode=0o6777, owner=54321),
                          entry("dir", tarfile.DIRTYPE, mode=0o7777, owner=54321), entry("text", mode=0o7666)), target)
    assert {path.name: path.stat().st_mode & 0o7777 for path in target.iterdir()} == {
        "su": 0o755, "text": 0o644, "dir": (target / "dir").stat().st_mode & 0o0777}
    assert {path.stat().st_uid for path in target.iterdir()} == {os.geteuid()}


def test_names_that_differ_in_their_letters_only_are_two_files(tmp_path: Path, target: Path) -> None:
    archive.unpack(packed(tmp_path, entry("lib/App", data=b"one"), entry("lib/app", data=b"two"),
                          entry("LIB/app", data=b"three")), target)
    assert [(target / name).read_bytes() for name in ("lib/App", "lib/app", "LIB/app")] == [b"one", b"two", b"three"]


def test_a_bomb_is_known_by_what_it_says_or_ends_where_its_data_do(tmp_path: Path, target: Path) -> None:
    huge, _ = entry("huge")
    huge.size = 1 << 50
    bomb = tmp_path / "r.tar.gz"
    bomb.write_bytes(gzip.compress(huge.tobuf() + bytes(1 << 20)))
    with pytest.raises(ArchiveError):
        archive.unpack(bomb, target)
    assert list(target.iterdir()) == []
    # A sparse file of a kilobyte that says it is a terabyte (GNU tar's format 1.0).
    sparse = packed(tmp_path, entry("hole", data=b"1\n1099511627776\n0\n".ljust(512, b"\0"), headers={
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "hole",
        "GNU.sparse.realsize": "1099511627776"}))
    with pytest.raises(ArchiveError):
        archive.unpack(sparse, target)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("rel", [
    '{release, {"../../x", "1"}, {erts, "13"}, []}.', '{release, {"x", "1"}, {erts, "/../../../usr"}, []}.',
    '{release, {"x", "1"}, {erts, "13"}, [{kernel, "../../../etc"}]}.', '{release, {"..", "1"}, {erts, "13"}, []}.'])
def test_a_releases_description_names_no_other_place(rel: str, tmp_path: Path) -> None:
    place = tmp_path / "r" / "releases" / "1"
    place.mkdir(parents=True)
    (tmp_path / "r" / "lib").mkdir()
    (place / "x.rel").write_text(rel)
    (place / "start.boot").write_bytes(b"x")
    with pytest.raises(SourceError) as caught:
        adopt.layout(tmp_path / "r")
    assert caught.value.message == f"{place} holds no readable release description."
