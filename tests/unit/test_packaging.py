"""The places that name dependencies agree with each other."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from unibeam_nb.tools import TOOLS

ROOT = Path(__file__).resolve().parents[2]
CONDA_NAMES = {"matplotlib-base": "matplotlib"}


def split(requirement: str) -> tuple[str, str]:
    found = re.fullmatch(r"([A-Za-z0-9_.-]+)(.*)", requirement)
    assert found
    return CONDA_NAMES.get(found[1], found[1]), found[2]


def project() -> dict[str, object]:
    loaded: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return loaded


def conda(path: str = "environment.yml") -> dict[str, str]:
    listed = yaml.safe_load((ROOT / path).read_text())["dependencies"]
    flat = [item for entry in listed for item in (entry["pip"] if isinstance(entry, dict) else [entry])]
    return dict(split(item) for item in flat if item not in ("pip", "-e ."))


def system_packages() -> list[str]:
    lines = (ROOT / "scripts" / "packages.txt").read_text().splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def test_conda_users_get_the_same_packages_and_minimum_versions() -> None:
    extras = project()["optional-dependencies"]
    wanted = dict(split(item) for item in [*project()["dependencies"], *extras["parquet"], *extras["lessons"]])  # type: ignore
    there = conda()
    assert there.pop("python") == project()["requires-python"]
    assert there == wanted


def test_binder_gets_the_same_packages_and_a_pinned_python() -> None:
    there = conda("binder/environment.yml")
    assert re.fullmatch(r"=3\.\d+", there.pop("python"))
    own = {"erlang", "elixir", "nbgitpuller"}
    assert own <= there.keys()
    wanted = conda()
    wanted.pop("python")
    assert {name: spec for name, spec in there.items() if name not in own} == wanted


def test_binder_installs_only_packages_that_setup_knows() -> None:
    assert set((ROOT / "binder" / "apt.txt").read_text().split()) <= set(system_packages())


def test_every_tool_names_packages_that_setup_installs() -> None:
    part_of_every_debian = {"apt", "dpkg", "tar"}
    for tool in TOOLS.values():
        assert {name.rstrip("?") for name in tool.packages} <= {*system_packages(), *part_of_every_debian}, tool.command


def test_the_given_packages_are_dependencies() -> None:
    assert {"ipywidgets", "jupyterlab", "pandas", "matplotlib", "plumbum"} <= conda().keys()


@pytest.mark.parametrize(("known", "said"), [("", "No package chromium here"),
                                             ("chromium | 1.0", "Chromium could not be installed")])
def test_where_there_is_no_chromium_to_be_had_only_the_browser_tests_are_left_out(tmp_path: Path, known: str,
                                                                                  said: str) -> None:
    stubs = {"apt-cache": f"echo '{known}'", "id": "echo 1000", "dpkg-query": "exit 1"}
    for name, body in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    for name in ("dirname", "sed", "mktemp", "rm"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    done = subprocess.run([ROOT / "scripts" / "setup.sh", "--browser"],
                          env={"PATH": str(tmp_path), "TMPDIR": str(tmp_path)}, capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{said}: browser tests will be skipped." in done.stdout


def set_up(place: Path, *, offered: list[str],
           installed: list[str]) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run setup.sh as root where apt offers and dpkg has these packages, up to the virtual environment; what it said,
    and what it asked of apt-get."""
    stubs = {"apt-cache": "\n".join(f"echo ' {name} | 1.0 | main'" for name in offered), "id": "echo 0",
             "apt-get": f'echo "$*" >> {place}/asked',
             "dpkg-query": f'case " {" ".join(installed)} " in *" $4 "*) echo install ok installed ;; esac'}
    for name, body in stubs.items():
        (place / name).write_text(f"#!/bin/sh\n{body}\n")
        (place / name).chmod(0o755)
    (place / "asked").write_text("")
    done = subprocess.run([ROOT / "scripts" / "setup.sh"], capture_output=True, text=True, timeout=60, check=False,
                          env={"PATH": f"{place}:/usr/bin:/bin", "TMPDIR": str(place), "PYTHON": "no-python"})
    return done, (place / "asked").read_text().splitlines()


def test_what_a_release_does_not_have_is_named_and_keeps_nobody_from_the_rest(tmp_path: Path) -> None:
    wanted = system_packages()
    offered = [name for name in wanted if name != "hyperfine"]
    done, asked = set_up(tmp_path, offered=offered, installed=["git", "make"])
    left_out = "hyperfine (tests: our times against those of another tool)"
    assert f"Not in this distribution, and left out: {left_out}." in done.stdout
    assert asked[0] == "update -qq"
    assert asked[1].split() == ["install", "-y", "-qq", "--no-install-recommends",
                                *(name for name in offered if name not in ("git", "make"))]
    assert "There is no Python 3.11 or later" in done.stderr  # It went on to what comes next.


def test_what_was_left_out_before_is_not_asked_for_again(tmp_path: Path) -> None:
    wanted = system_packages()
    done, asked = set_up(tmp_path, offered=["apt"], installed=[name for name in wanted if name != "hyperfine"])
    assert (asked, "hyperfine" in done.stdout) == ([], False)


def test_lists_that_apt_has_not_fetched_yet_are_fetched(tmp_path: Path) -> None:
    done, asked = set_up(tmp_path, offered=[], installed=["make"])
    assert asked == ["update -qq"]
    assert done.stderr == (
        "setup: apt knows no package erlang-base, without which nothing can be built.\n"
        "  Hint: Add the distribution's main archive (on Ubuntu universe too) to the lines of /etc/apt/sources.list, "
        "then run this again.\n")
