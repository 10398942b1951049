"""What the audit of installed packages says, and that silence is never taken for a good answer."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ANSWERED: dict[str, Any] = {"name": "fine", "version": "1", "vulns": []}
BAD: dict[str, Any] = {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
SILENT: dict[str, Any] = {"name": "ours", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(("packages", "status", "said"), [
    ([ANSWERED], 0, "1 packages checked, 0 with a known hole."),
    ([ANSWERED, BAD, SILENT], 1, "bad 2: PYSEC-1, mended in 3\n"
                                 "2 packages checked, 1 with a known hole; nobody answers for ours."),
    ([SILENT], 2, "Nothing was checked: nobody answers for any of 1 packages. Is there a network?")])
def test_what_was_not_checked_is_not_clean(packages: list[dict[str, Any]], status: int, said: str,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    found = importlib.util.spec_from_file_location("audit", Path(__file__).parents[2] / "scripts" / "audit.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    assert module.report(packages) == status
    assert capsys.readouterr().out == f"{said}\n"
