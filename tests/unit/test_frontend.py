"""What is sent to browsers: small, self-contained, and built from the sources beside it."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FRONTEND = ROOT / "frontend"
STATIC = ROOT / "unibeam_nb" / "notebook" / "static"
SOURCES = ("console.js", "build.mjs", "package.json", "package-lock.json")


def test_the_console_is_built_from_its_sources() -> None:
    digest = hashlib.sha256(b"".join((FRONTEND / name).read_bytes() for name in SOURCES)).hexdigest()
    first = (STATIC / "console.js").read_text(encoding="utf-8").split("*/")[0]
    assert digest in first, "Build it again: cd frontend && npm ci && npm run build"


def test_the_console_is_small() -> None:
    assert len(gzip.compress((STATIC / "console.js").read_bytes(), 9)) <= 120_000


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda p: p.name)
def test_nothing_is_fetched_and_no_text_becomes_html(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\bimport\s*\(?\s*[\"']https?:", text)
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|eval)\s*\(", text)
    if path.name != "console.js":  # The terminal's own code is xterm.js's.
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", text)


def test_the_consoles_own_code_makes_no_html() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write",
                         (FRONTEND / "console.js").read_text(encoding="utf-8"))


def test_the_lock_file_has_a_hash_for_every_package() -> None:
    lock = (FRONTEND / "package-lock.json").read_text(encoding="utf-8")
    assert "resolved" not in lock
    assert lock.count('"integrity": "sha512-') >= 4


@pytest.mark.skipif(not (shutil.which("npm") and (FRONTEND / "node_modules").is_dir()),
                    reason="only where somebody works on the front end (npm ci in frontend/)")
def test_building_it_again_gives_the_same_bytes(tmp_path: Path) -> None:
    subprocess.run(["node", "build.mjs", tmp_path / "console.js"], cwd=FRONTEND, check=True, timeout=120)
    assert (tmp_path / "console.js").read_bytes() == (STATIC / "console.js").read_bytes()
