"""What unibeam works with, found out by running its own tests with each of it.

    scripts/torture.py compatibility

A row is a thing in a version that this host has, and a few tests that need it. Versions are read from the things
themselves, verdicts from pytest's report (JUnit XML). What the host does not have, or the distribution offers in
another version, is listed as not tried, with the reason.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from xml.etree import ElementTree

from tortures import ROOT, Options, for_tests
from tortures.page import table, write_section
from unibeam_nb import process, tools
from unibeam_nb.errors import UnibeamError
from unibeam_nb.release.otp import host_elixir, host_otp

RELEASE, MACHINE = "tests/integration/test_release.py", "tests/integration/test_machine.py"
IMAGE, TINY = "tests/integration/test_image.py", "tests/integration/test_tiny_kernel.py"
LESSON = "tests/notebooks/test_lessons.py::test_a_lesson_runs_as_it_stands_and_leaves_nothing_behind"

BOOTS = ("test_a_machine_boots_answers_is_measured_and_leaves_nothing", "test_the_users_variables_reach_the_program",
         "test_a_program_that_halts_at_start_is_reported_with_its_own_words")
"""Tests of every runner, which take it as their parameter."""

TOOLS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("rebar3", "rebar3", (f"{RELEASE}::TestRebar3",)),
    ("QEMU", "qemu-system-x86_64", (*(f"{MACHINE}::{test}[qemu]" for test in BOOTS),
                                    f"{MACHINE}::test_the_accelerator_is_proved_within_ten_seconds_and_once")),
    ("QEMU's disks", "qemu-img", ("tests/integration/test_disk_formats.py",)),
    ("User-mode Linux", "linux.uml", tuple(f"{MACHINE}::{test}[uml]" for test in BOOTS)),
    *((name, name, tuple(f"{MACHINE}::{test}[{name}]" for test in BOOTS))
      for name in ("podman", "docker", "crun", "runc", "runsc")),
    ("CRIU", "criu", (f"{MACHINE}::test_a_restored_container_goes_on_where_it_was",)),
    ("Firecracker", "firecracker", ("tests/integration/test_firecracker.py",)),
    ("Xen's xl", "xl", ()),
    ("mmdebstrap", "mmdebstrap",
     (f"{IMAGE}::test_a_slim_image_is_the_same_bytes_when_its_base_is_made_anew",)),
)
"""What is named, the program that tells its version, and tests that need it."""

KERNELS = (
    ("the distribution's kernel", f"{IMAGE}::test_a_linux_image_boots_and_answers_over_the_network",
     "linux-image-cloud-amd64"),
    ("tiny kernel", f"{TINY}::test_hello_answers_on_it_and_has_a_fine_clock", "linux-source"),
)

PACKAGES = (
    ("ipykernel", (f"{LESSON}[03_inside]",)),
    ("jupyterlab", ("tests/browser/test_console.py",)),
    ("notebook", ("tests/browser/test_notebook7.py",)),
)
"""Python packages of the front ends, and what needs them."""

USES = (
    ("quickstart", ("tests/notebooks/test_quickstart.py",)),
    ("lean emulator", ("tests/integration/test_lean.py",)),
    ("copies", ("tests/integration/test_resume.py",)),
    ("talk", ("tests/integration/test_talk.py",)),
    ("shaking", ("tests/integration/test_shake.py",)),
)
"""What is close to the innards of one version of Erlang, Elixir or QEMU, and its tests."""

HERE = Path(sys.executable)

RESULT = ROOT / "out" / "compatibility.json"
"""The rows that there are, for who reads them instead of the page."""

PYTHONS = ("3.11", "3.12", "3.13", "3.14")

OFFERS = {"Erlang/OTP": "erlang-base", "Elixir": "elixir", "QEMU": "qemu-system-x86", "podman": "podman",
          "docker": "docker.io", "crun": "crun", "runc": "runc"}
"""Packages of the distribution in which other versions may be offered."""


@dataclass(frozen=True)
class Outcome:
    """How many tests passed, failed and were left out; the names of those that failed, and why others were left out."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = [f"{self.passed} passed"]
        if self.failed:
            words.append(f"**{self.failed} failed** ({', '.join(self.failures)})")
        if self.skipped:
            words.append(f"{self.skipped} left out ({'; '.join(self.reasons)})")
        return ", ".join(words)


def read_report(path: Path) -> Outcome:
    """What pytest's JUnit XML says."""
    cases = list(ElementTree.parse(path).iter("testcase"))
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    left = [skipped for case in cases if (skipped := case.find("skipped")) is not None]
    return Outcome(len(cases) - len(bad) - len(left), len(bad), len(left),
                   tuple(sorted(str(case.get("name")) for case in bad)),
                   tuple(sorted({str(each.get("message")) for each in left})))


def outcome_of(tests: Sequence[str], python: Path = HERE) -> Outcome:
    """Run tests with a Python, and read what came out. A run that reports nothing is one failure."""
    with tempfile.TemporaryDirectory(prefix="unibeam-compatibility-") as place:
        report = Path(place) / "report.xml"
        own = {"UNIBEAM_TEST_STORE": os.environ["UNIBEAM_TEST_STORE"], "PYTHONPATH": str(ROOT),
               "PATH": f"{python.parent}:{os.environ['PATH']}"}
        done = process.run(["nice", "-n", "10", python, "-m", "pytest", "-q", f"--junitxml={report}",
                            f"--basetemp={place}/pytest", "-p", "no:cacheprovider", *tests], cwd=ROOT,
                           env=own, timeout=3600, check=False)
        if not report.is_file():
            return Outcome(failed=1, failures=(" ".join((done.stderr or done.stdout).split()[-30:]),))
        return read_report(report)


Row = tuple[str, str, str, str]
"""What, its version, the tests, what came out."""


def shown(tests: Sequence[str]) -> str:
    """Tests by file, and name where only one of a file is run."""
    files = dict.fromkeys(test.partition("::")[0].rpartition("/")[2] for test in tests)
    return ", ".join(f"`{name}`" for name in files)


def languages() -> Iterator[Row]:
    for name, installed, tests in (
            ("Erlang/OTP", host_otp, (f"{RELEASE}::TestErlangCells", f"{RELEASE}::TestReleasesAndFiles")),
            ("Elixir", host_elixir, (f"{RELEASE}::TestElixirCells", f"{RELEASE}::TestMix"))):
        try:
            number = installed().version
        except UnibeamError as error:
            yield name, "", "", f"not tried: {error.message}"
            continue
        yield name, number, shown(tests), str(outcome_of(tests))


def programs() -> Iterator[Row]:
    for name, command, tests in TOOLS:
        if tools.locate(command) is None:
            yield name, "", "", f"not tried: {command} is not on this host"
        else:
            outcome = str(outcome_of(tests)) if tests else "not tried: no host to try it on"
            yield name, tools.version(command), shown(tests), outcome


def kernels() -> Iterator[Row]:
    from unibeam_nb.image.kernels import known_kernels
    from unibeam_nb.store import Store

    store = Store(Path(os.environ["UNIBEAM_TEST_STORE"]) / "store" / "cache", Store.default().state)
    for name, test, source in KERNELS:
        outcome = str(outcome_of((test,)))
        found = sorted({kernel.version for kernel in known_kernels(store) if source in kernel.source})
        yield name, ", ".join(found), shown((test,)), outcome


def uses() -> Iterator[Row]:
    for name, tests in USES:
        yield name, "", shown(tests), str(outcome_of(tests))


def packages() -> Iterator[Row]:
    for name, tests in PACKAGES:
        try:
            number = version(name)
        except PackageNotFoundError:
            yield name, "", "", "not tried: it is not installed"
            continue
        yield name, number, shown(tests), str(outcome_of(tests))


def pythons() -> Iterator[Row]:
    """The unit tests on every Python in reach, each in a virtual environment with what pyproject.toml wants."""
    for number in PYTHONS:
        found = python_of(number)
        if found is None:
            yield f"Python {number}", "", "", "not tried: it is not on this host"
            continue
        exact = process.run([found, "-c", "import platform; print(platform.python_version())"]).stdout.strip()
        place = ROOT / "out" / "pythons" / exact
        ours = exact == platform.python_version()
        if why := "" if ours else furnished(found, place):
            yield f"Python {number}", exact, "", f"not tried: {why}"
        else:
            python = HERE if ours else place / "bin" / "python"
            yield f"Python {number}", exact, "`tests/unit`", str(outcome_of(("tests/unit", "-n", "2"), python))


def furnished(python: Path, place: Path) -> str:
    """Make a virtual environment with everything that the tests need, unless it is there; why there is none, or
    nothing."""
    if (place / "complete").is_file():
        return ""
    # Python brings the pip of its own day, which takes three times as long as today's.
    for words in ([python, "-m", "venv", "--clear", place],
                  [place / "bin" / "python", "-m", "pip", "install", "-q", "--upgrade", "pip"],
                  [place / "bin" / "python", "-m", "pip", "install", "-q", "-e", f"{ROOT}[test,parquet]"]):
        done = process.run(words, timeout=3600, check=False)
        if done.code != 0:
            return " ".join((done.stderr or done.stdout).split()[-25:])
    (place / "complete").touch()
    return ""


def python_of(number: str) -> Path | None:
    """A Python of this version that can make environments: one that can be called by its name, or the newest that
    pyenv has."""
    called = shutil.which(f"python{number}")
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    kept = sorted((root / "versions").glob(f"{number}.*/bin/python{number}"), reverse=True,
                  key=lambda path: [int(word) for word in re.findall(r"\d+", path.parts[-3])])
    for python in (*([Path(called)] if called else []), *kept):
        if process.run([python, "-c", "import venv, ensurepip"], check=False).code == 0:
            return python
    return None


def offered() -> Iterator[str]:
    """Other versions that the distribution offers, which would take the place of those that are installed."""
    for name, package in OFFERS.items():
        done = process.run(["apt-cache", "policy", package], check=False).stdout
        here = re.search(r"Installed: (\S+)", done)
        others = [number for number in re.findall(r"^ {5}(\S+) \d+$", done, re.MULTILINE)
                  if here is None or number != here[1]]
        if others:
            yield f"{name} {', '.join(others)} ({package})"


def run(options: Options) -> bool:
    """Every row, and the section of RELIABILITY.md; whether no test failed."""
    rows: list[Row] = []
    with for_tests() as store:
        os.environ["UNIBEAM_TEST_STORE"] = store
        for group in (languages, programs, kernels, uses, pythons, packages):
            for row in group():
                rows.append(row)
                RESULT.parent.mkdir(exist_ok=True)
                RESULT.write_text(json.dumps(rows))
                print("    " + " | ".join(filter(None, row)), flush=True)
    report(rows)
    return not any("failed" in row[3] for row in rows)


def report(rows: Sequence[Row]) -> None:
    """Write the rows to their section."""
    others = list(offered())
    write_section("Compatibility", "\n\n".join([
        "Each row is a version that a host had, and what came of the tests that need it (`scripts/torture.py "
        "compatibility`). One host has one version of most things; what it lacks was not tried.",
        table(("what", "version", "tests", "what came out"), rows),
        f"Not tried, though the distribution offers them in place of what is installed: {'; '.join(others)}."
        if others else "The distribution offers no other versions.",
        "Not tried: versions that would have to be compiled."]))
