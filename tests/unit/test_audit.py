"""What the audit of installed packages says, and that silence is never taken for a good answer."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

found = importlib.util.spec_from_file_location("audit", Path(__file__).parents[2] / "scripts" / "audit.py")
assert found is not None
assert found.loader is not None
audit = importlib.util.module_from_spec(found)
found.loader.exec_module(audit)

ANSWERED: dict[str, Any] = {"name": "fine", "version": "1", "vulns": []}
BAD: dict[str, Any] = {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
SILENT: dict[str, Any] = {"name": "ours", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(("packages", "status", "said"), [
    ([ANSWERED], 0, "1 packages checked, 0 with a known hole."),
    ([ANSWERED, BAD, SILENT], 1, "bad 2: PYSEC-1, mended in 3\n"
                                 "2 packages checked, 1 with a known hole; nobody answers for ours."),
    ([SILENT], 2, "Nothing was checked: nobody answers for any of 1 packages. Is there a network? Without one: "
                  "make audit ARGS=\"--advisories all.zip\".")])
def test_what_was_not_checked_is_not_clean(packages: list[dict[str, Any]], status: int, said: str,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.report(packages) == status
    assert capsys.readouterr().out == f"{said}\n"


def advisory(key: str, name: str, *events: dict[str, str], ecosystem: str = "PyPI", versions: tuple[str, ...] = (),
             **more: str) -> dict[str, Any]:
    """A record as OSV's schema has it."""
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    return {"id": key, "modified": "2026-11-01T00:00:00Z", **more,
            "affected": [{"package": {"name": name, "ecosystem": ecosystem}, "ranges": ranges,
                          "versions": list(versions)}]}


def archive(path: Path, *records: Any) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for number, record in enumerate(records):
            made.writestr(f"{number}.json", json.dumps(record))
    return path


FIXED = advisory("PYSEC-1", "One", {"introduced": "0"}, {"fixed": "2.0"}, {"introduced": "3.0"}, {"fixed": "3.1"})
LAST = advisory("PYSEC-2", "one", {"introduced": "1.0"}, {"last_affected": "1.5"})


@pytest.mark.parametrize(("record", "number", "hit"), [
    (FIXED, "1.9", True), (FIXED, "2.0rc1", True), (FIXED, "2.0", False), (FIXED, "2.9", False),
    (FIXED, "3.0", True), (FIXED, "3.1", False), (LAST, "0.9", False), (LAST, "1.5", True), (LAST, "1.5.1", False),
    (advisory("PYSEC-3", "one", versions=("1.2",)), "1.2", True), (advisory("PYSEC-3", "one"), "1.2", False)])
def test_a_version_is_within_the_ranges_that_a_record_gives(record: dict[str, Any], number: str, hit: bool) -> None:
    assert audit.affects(record["affected"][0], number) is hit


def test_carried_records_are_held_against_what_is_installed(tmp_path: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    here = version("pytest")
    records = archive(tmp_path / "all.zip", advisory("PYSEC-1", "PyTest", {"introduced": "0"}, {"fixed": "9999"}),
                      advisory("PYSEC-2", "pytest", {"introduced": "0"}, {"fixed": "0.1"}),
                      advisory("PYSEC-3", "pytest", {"introduced": "0"}, withdrawn="2026-01-01T00:00:00Z"),
                      advisory("GO-4", "pytest", {"introduced": "0"}, ecosystem="Go"))
    assert audit.main(["--advisories", str(records)]) == 1
    first, second, last = capsys.readouterr().out.splitlines()
    assert first == "3 advisories, the newest of 2026-11-01."
    assert second == f"pytest {here}: PYSEC-1, mended in 9999"
    assert last.endswith(" packages checked, 1 with a known hole.")


def test_records_that_cannot_be_read_are_no_good_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing, empty = tmp_path / "missing.zip", archive(tmp_path / "empty.zip")
    strange = archive(tmp_path / "strange.zip", ["no", "advisory"])
    assert [audit.main(["--advisories", str(path)]) for path in (missing, empty, strange)] == [2, 2, 2]
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"Nothing was checked: {missing} cannot be read as OSV's records (")
    assert said[1] == f"Nothing was checked: {empty} holds no record."
    assert said[2] == f"Nothing was checked: {strange} cannot be read as OSV's records (0.json is no advisory)."
