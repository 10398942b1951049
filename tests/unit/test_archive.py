from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unibeam_nb.errors import ArchiveError
from unibeam_nb.release import archive

Entry = tuple[str, bytes, str]


def pack(path: Path, *entries: tuple[str, bytes, bytes | str]) -> Path:
    """An archive of (name, tar type, contents or link target)."""
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, data in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(data, str):
                info.linkname = data
            else:
                info.size = len(data)
                info.mode = 0o6755
            tar.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.mkdir()
    return path


def test_files_directories_and_inner_links_are_unpacked(tmp_path: Path, target: Path) -> None:
    made = pack(tmp_path / "r.tar.gz", ("lib", tarfile.DIRTYPE, b""), ("lib/a", tarfile.REGTYPE, b"text"),
                ("lib/b", tarfile.SYMTYPE, "a"), ("c", tarfile.LNKTYPE, "lib/a"))
    archive.unpack(made, target)
    assert (target / "lib" / "b").read_text() == "text"
    assert (target / "c").read_text() == "text"
    assert (target / "lib" / "a").stat().st_mode & 0o7777 == 0o755


REFUSED = {
    "an absolute path": [("/etc/passwd", tarfile.REGTYPE, b"x")],
    "dots": [("lib/../../x", tarfile.REGTYPE, b"x")],
    "a symlink to an absolute path": [("lib/a", tarfile.SYMTYPE, "/etc/passwd")],
    "a symlink out": [("lib/a", tarfile.SYMTYPE, "../../x")],
    "a hard link out": [("lib/a", tarfile.LNKTYPE, "../x")],
    "a symlink that climbs through another": [("d/x", tarfile.SYMTYPE, ".."), ("y", tarfile.SYMTYPE, "d/x/../z")],
    "a file through a link": [("a", tarfile.SYMTYPE, "lib"), ("a/b", tarfile.REGTYPE, b"x")],
    "a device": [("dev", tarfile.CHRTYPE, b"")],
    "a pipe": [("pipe", tarfile.FIFOTYPE, b"")],
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_and_nothing_is_left(what: str, tmp_path: Path, target: Path) -> None:
    made = pack(tmp_path / "r.tar.gz", ("good", tarfile.REGTYPE, b"x"), *REFUSED[what])
    with pytest.raises(ArchiveError) as caught:
        archive.unpack(made, target)
    assert caught.value.message.startswith("r.tar.gz ")
    assert caught.value.hint == "Do not trust this archive; build the release again."
    assert list(target.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.tar.gz", "target"]


def test_too_many_entries_are_refused(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_ENTRIES", 3)
    made = pack(tmp_path / "r.tar.gz", *((f"f{i}", tarfile.REGTYPE, b"") for i in range(4)))
    with pytest.raises(ArchiveError) as caught:
        archive.unpack(made, target)
    assert caught.value.message == "r.tar.gz holds more than 3 entries."


def test_too_many_bytes_are_refused_before_they_are_written(tmp_path: Path, target: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    made = pack(tmp_path / "r.tar.gz", ("big", tarfile.REGTYPE, bytes(1001)))
    with pytest.raises(ArchiveError):
        archive.unpack(made, target)
    assert list(target.iterdir()) == []


NOT_TAR = gzip.compress(b"not a tar" * 100, mtime=0)


@pytest.mark.parametrize("data", [b"", b"not an archive", NOT_TAR, b"\x1f\x8b\x08broken"])
def test_an_unreadable_archive_is_one_sentence(data: bytes, tmp_path: Path, target: Path) -> None:
    (tmp_path / "r.tar.gz").write_bytes(data)
    with pytest.raises(ArchiveError) as caught:
        archive.unpack(tmp_path / "r.tar.gz", target)
    assert caught.value.message == "r.tar.gz is not a readable archive."


def test_a_cut_archive_leaves_nothing(tmp_path: Path, target: Path) -> None:
    made = pack(tmp_path / "r.tar.gz", ("a", tarfile.REGTYPE, bytes(range(256)) * 4000), ("b", tarfile.REGTYPE, b"x"))
    made.write_bytes(made.read_bytes()[:-30])
    with pytest.raises(ArchiveError):
        archive.unpack(made, target)
    assert list(target.iterdir()) == []


NAMES = st.sampled_from(["a", "b", "a/b", "b/a/c", "../x", "/x", "a/../../x", "./a", ".", "a/", "a//b"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(NAMES, st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]),
                          NAMES), max_size=6))
def test_nothing_is_ever_written_outside(tmp_path_factory: pytest.TempPathFactory,
                                         entries: list[Entry]) -> None:
    base = tmp_path_factory.mktemp("fuzz")
    target = base / "inner" / "target"
    target.mkdir(parents=True)
    made = pack(base / "r.tar.gz", *((name, kind, link if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else b"")
                                     for name, kind, link in entries))
    try:
        archive.unpack(made, target)
    except ArchiveError:
        assert list(target.iterdir()) == []
    assert sorted(p.name for p in base.iterdir()) == ["inner", "r.tar.gz"]
    assert sorted(p.name for p in target.parent.iterdir()) == ["target"]
    for path in target.rglob("*"):
        if path.exists():
            assert path.resolve().is_relative_to(target)
