"""Each defence of docs/security.md is taken away in a copy of the tree, and the test that is said to show it must fail
there; with the defence it must pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tortures import ROOT, Options, for_tests

COPIED = ("unibeam_nb", "tests", "pyproject.toml", "scripts", "frontend")

SANDBOX = '"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"'


@dataclass(frozen=True)
class Removal:
    """What takes a defence away: in ``file`` every ``old`` becomes ``new``; ``test`` is what must notice."""

    what: str
    file: str
    old: str
    new: str
    test: str


HOSTILE = "tests/unit/test_hostile_values.py"
USERS = "tests/integration/test_other_users.py"

REMOVALS = (
    Removal("links of an archive are not judged", "release/archive.py",
            'if member.linkname.startswith("/") or', "if False and", "tests/unit/test_archive.py"),
    Removal("names of an archive are not judged", "release/archive.py",
            'if name.startswith("/") or ".." in name.split("/") or "\\0" in name:', "if False:",
            "tests/unit/test_hostile_archive.py"),
    Removal("a file keeps its set-user-ID bit", "release/archive.py",
            "path.chmod(0o755 if member.mode & 0o100 else 0o644)", "path.chmod(member.mode)",
            "tests/unit/test_hostile_archive.py"),
    Removal("names of a release become paths", "release/adopt.py",
            "if not all(len(word.encode()) <= LONGEST_NAME and _A_NAME.fullmatch(word) for word in words):",
            "if False:", "tests/unit/test_hostile_archive.py"),
    Removal("any nonce makes a mark", "machine/marks.py", "if nonce != self.nonce or", "if",
            "tests/unit/test_marks.py"),
    Removal("control characters are shown", "visible.py", "    if text.isprintable():\n        return text\n",
            "    return text\n", HOSTILE),
    Removal("a journal is shown as it comes", "bench/journal.py", "if SUSPECT.search(text):", "if False:", HOSTILE),
    Removal("a journal's name is a path", "bench/journal.py",
            're.sub(r"[^A-Za-z0-9._-]", "_", self.name).lstrip(".") or "experiment"', "self.name", HOSTILE),
    Removal("texts of a CSV are formulas", "analysis/tables.py", "inert(wide_frame(exp))", "wide_frame(exp)", HOSTILE),
    Removal("dollar signs begin formulas", "analysis/chart.py", '"text.parse_math": False', '"text.parse_math": True',
            HOSTILE),
    Removal("HTML is not escaped", "notebook/sheet.py", "return escape(visible(text), quote=True)", "return text",
            "tests/unit/test_display.py"),
    Removal("the report's template does not escape", "analysis/report.py", "autoescape=True", "autoescape=False",
            "tests/unit/test_report.py"),
    Removal("the report's policy lets scripts through", "analysis/templates/report.html.j2",
            "default-src 'none'", "default-src *", "tests/unit/test_report.py"),
    Removal("an open directory stays open", "private.py",
            "os.fchmod(handle, stat.S_IMODE(status.st_mode) & ~OTHERS)", "pass", "tests/unit/test_private.py"),
    Removal("a directory of somebody else's is used", "private.py", "if owner != os.geteuid():", "if False:",
            "tests/unit/test_private.py"),
    Removal("others may replace a directory", "private.py", "    _refuse_exchangeable(path)\n", "",
            "tests/unit/test_private.py"),
    Removal("the lock follows a link", "bench/lock.py", " | os.O_NOFOLLOW", "", "tests/unit/test_bench_run.py"),
    Removal("QEMU's network lets everything out", "machine/qemu_arguments.py",
            'closed = "" if outgoing else ",restrict=on"', 'closed = ""', "tests/integration/test_hostile_guest.py"),
    Removal("slirp4netns lets everything out", "machine/slirp.py", "closed = () if outgoing else",
            "closed = () if True else", "tests/integration/test_hostile_guest.py"),
    Removal("slirp4netns is told of its loopback address only", "machine/slirp.py",
            ', f"--outbound-addr={NOBODYS}"', "", "tests/integration/test_hostile_guest.py"),
    Removal("QEMU has no sandbox", "machine/qemu_arguments.py", SANDBOX, '"off"', USERS),
    Removal("the store is open", "private.py", "    _made(path)\n",
            "    path.mkdir(parents=True, exist_ok=True)\n    return path\n", USERS),
    Removal("a secret is in a record", "machine/boot.py", "pairs, _url(seat),",
            "pairs, opened.secret if opened else None,", USERS),
    Removal("what --env says stands on a command line", "machine/podman_arguments.py",
            '*(("--env-file", str(variables)) if variables else ())',
            '*(word for line in (variables.read_text().splitlines() if variables else ()) for word in ("--env", line))',
            USERS),
    Removal("a channel takes any secret", "guest/unibeam_channel.erl", "case same(Given, Secret) of",
            "case same(Secret, Secret) of", USERS),
)
"""Every defence that can be taken away by one edit."""


def run(options: Options) -> bool:
    """Take every defence away, one at a time; ``only`` are the numbers of some, ``count`` how many from the first."""
    numbers = options.only or range(len(REMOVALS))
    chosen = [(number, REMOVALS[number]) for number in numbers][:options.count]
    with tempfile.TemporaryDirectory(prefix="unibeam-removal-") as place, for_tests() as store:
        whole = sorted({one.test for _, one in chosen})
        missed = [f"{test} fails with every defence in its place" for test in whole if not passes(ROOT, test, store)]
        print("\n".join(f"    {line}" for line in missed or [f"with every defence {len(whole)} files of tests pass"]),
              flush=True)
        broken = len(missed)
        for number, one in chosen:
            noticed = not passes(without(one, Path(place) / str(number)), one.test, store)
            said = "noticed by" if noticed else "NOT NOTICED by"
            print(f"    {number:>3} {one.what:<52} {said} {one.test}", flush=True)
            missed += [] if noticed else [one.what]
    print(f"    {len(chosen)} defences taken away, {len(chosen) - len(missed) + broken} noticed")
    return not missed


def without(one: Removal, place: Path) -> Path:
    """A copy of the tree without one defence."""
    place.mkdir(mode=0o755)
    place.parent.chmod(0o755)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        else:
            shutil.copyfile(source, place / name)
    path = place / "unibeam_nb" / one.file
    text = path.read_text(encoding="utf-8")
    assert one.old in text, f"tests/unit/test_torture.py holds {one.file} and this module together"
    path.write_text(text.replace(one.old, one.new), encoding="utf-8")
    return place


def passes(tree: Path, test: str, store: str) -> bool:
    """Whether a file of tests passes in a tree. A test that is skipped shows nothing, and counts as one that fails to
    notice."""
    # Other tests may run meanwhile: these have machines of their own (tests/conftest.py).
    own = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "UNIBEAM_TEST_STORE": store,
           "PYTEST_XDIST_WORKER": "security"}
    done = subprocess.run([sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", test], cwd=tree,
                          check=False, capture_output=True, text=True, env=os.environ | own)
    return done.returncode == 0
