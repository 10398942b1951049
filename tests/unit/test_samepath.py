"""A build finds its directory at one path, wherever that lies on the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from unibeam_nb.errors import ToolMissing
from unibeam_nb.release import samepath

if not samepath.possible():
    pytest.skip("this host allows no mount namespace here", allow_module_level=True)


def sh(script: str, work: Path, cwd: Path, *words: object, **more: object) -> str:
    done = samepath.run(["/bin/sh", "-c", script, "sh", *map(str, words)], work, cwd=cwd, env={}, timeout=30,
                        **more)  # type: ignore[arg-type]
    assert done.argv[0] == "/bin/sh", "its own words, not those of what leads there"
    return f"{done.code} {done.stdout}{done.stderr}"


def test_what_is_written_there_names_the_same_path_and_what_is_printed_the_callers(tmp_path: Path) -> None:
    for name in ("one", "another with a space"):
        work = tmp_path / name
        (work / "deep").mkdir(parents=True)
        said = sh('pwd; echo "$1" > "$1/written"; exit 3', work, work / "deep", work / "deep")
        assert said == f"3 {work}/deep\n"
        assert (work / "deep" / "written").read_text() == "/mnt/deep\n"


def test_the_host_sees_nothing_of_it(tmp_path: Path) -> None:
    before = sorted(samepath.PLACE.iterdir())
    sh("touch /mnt/here", tmp_path, tmp_path)
    assert sorted(samepath.PLACE.iterdir()) == before
    assert (tmp_path / "here").is_file()


@pytest.mark.parametrize("needed", ["home", "needs"])
def test_nothing_is_hidden_that_the_program_needs(needed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = samepath.PLACE / "somebody"
    if needed == "home":
        monkeypatch.setenv("HOME", str(below))
    needs = [below] if needed == "needs" else []
    assert sh("pwd > written", tmp_path, tmp_path, needs=needs) == "0 "
    assert (tmp_path / "written").read_text() == f"{tmp_path}\n"


def test_where_no_namespace_is_allowed_the_directory_stays_where_it_is(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbidding = tmp_path / "bin"
    forbidding.mkdir()
    (forbidding / "unshare").write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    (forbidding / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", str(forbidding), prepend=":")
    samepath._allowed.cache_clear()
    try:
        assert not samepath.possible()
        assert sh("pwd > written", tmp_path, tmp_path) == "0 "
        assert (tmp_path / "written").read_text() == f"{tmp_path}\n"
    finally:
        samepath._allowed.cache_clear()


def test_a_program_that_is_not_there_is_told_as_ever(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match=f"^{tmp_path}/nothing is not on this host\\.\n"):
        samepath.run([tmp_path / "nothing"], tmp_path, cwd=tmp_path, env={}, timeout=30)
