"""The quickstart, executed for real, leaves what README promises."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("boot", "stages", "size", "memory")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, timed: Callable[[str], AbstractContextManager[None]]) -> Path:
    """What ``make demo`` leaves in ``out/``, made in a directory and a home of its own."""
    home = tmp_path_factory.mktemp("demo")
    with timed("01_quickstart"):
        done = subprocess.run([sys.executable, ROOT / "scripts" / "demo.py", home / "out"], capture_output=True,
                              text=True, env=os.environ | {"UNIBEAM_HOME": str(home / "home")}, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return home / "out"


def test_the_executed_notebook_shows_an_answer_and_every_chart(demo: Path) -> None:
    notebook = nbformat.read(demo / "01_quickstart.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "Hello from OTP" in printed
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= len(KINDS)
    assert not any(output.output_type == "error" for output in outputs)


def test_every_chart_is_there_as_svg_and_png(demo: Path) -> None:
    for kind in KINDS:
        assert (demo / f"{kind}.svg").read_text().lstrip().startswith("<?xml")
        png = (demo / f"{kind}.png").read_bytes()
        width, height = struct.unpack(">II", png[16:24])
        assert width > 800
        assert height > 200


def test_the_report_is_one_self_contained_file(demo: Path) -> None:
    report = (demo / "report.html").read_text()
    assert report.count("<svg") >= len(KINDS)
    assert "Content-Security-Policy" in report
    for outside in ("src=\"http", "href=\"http", "<script"):
        assert outside not in report
    for arm in ("linux@qemu", "oci+scratch@podman", "oci+scratch@crun", "release@process"):
        assert arm in report


def test_nothing_is_left_running(demo: Path) -> None:
    listed = subprocess.run([sys.executable, "-m", "unibeam_nb", "ps"], capture_output=True, text=True, check=True,
                            env=os.environ | {"UNIBEAM_HOME": str(demo.parent / "home")})
    assert "hello" not in listed.stdout
