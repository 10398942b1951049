"""The same tests on other releases of Debian, each in a root of its own that is made, entered, and left.

    scripts/torture.py hosts [--releases trixie,forky]

A root is made by mmdebstrap below `out/hosts` and kept, with the kernels that are compiled in it; what the machine has
besides is in its namespaces and ends with them. There the last commit of this repository is set up as README.md says,
and :mod:`tortures.compatibility` finds out the rest. It is a release's programs on this machine's kernel, without an
init system: what these decide is not what a row shows.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tortures import ROOT, Options
from tortures.compatibility import RESULT, Row
from tortures.page import table, write_section
from unibeam_nb import process, tools
from unibeam_nb.held import held_directory

PLACE = ROOT / "out" / "hosts"
RELEASES = ("trixie",)
"""What is tried unless told otherwise."""

CLONE = Path("root/unibeam")
"""Where the repository is in a root, and below :data:`STORE` what its tests build."""
STORE = "/var/tmp/unibeam"

FIRST = ("ca-certificates", "git", "make")
"""What somebody has who clones a repository and calls make."""

CERTIFICATES = Path("usr/local/share/ca-certificates")
"""Those that this machine trusts besides the distribution's, as a company's proxy wants it."""

SETTINGS = ("etc/resolv.conf", "etc/hosts", "etc/pip.conf", "root/.config/pip/pip.conf")

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# A root of its own rather than chroot(2), in which nobody may make user namespaces. The list of mounts begins anew.
ENTER = """
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount --bind "$2" tmp
[ ! -d /opt ] || mount --bind -o ro /opt opt
mkdir -p .machine
pivot_root . .machine
umount -l /.machine
shift 2
exec "$@"
"""

WORK = f"""
cd /{CLONE}
update-ca-certificates >/dev/null 2>&1
scripts/setup.sh && scripts/setup.sh --browser || exit 2
UNIBEAM_TEST_STORE={STORE} .venv/bin/python -u scripts/torture.py compatibility
"""
"""What is done in a root. Its exit status is 2 where it cannot be set up."""


def run(options: Options) -> bool:
    """Every release, and the section of RELIABILITY.md; whether no test failed."""
    if os.geteuid() != 0:
        print("    Not run: only root can make a root of another release and enter it.")
        return True
    held = True
    for release in options.releases or RELEASES:
        with held_directory(PLACE.parent, "hosts-") as scratch:
            held &= tried(release, made(release), scratch)
    report()
    return held


def made(release: str) -> Path:
    """The root of a release, with this repository's last commit in it."""
    root = PLACE / release
    if not (root / "complete").is_file():
        shutil.rmtree(root, ignore_errors=True)
        root.parent.mkdir(parents=True, exist_ok=True)
        # A mirror may be behind by more than testing's lists are good for. Signatures are checked all the same.
        process.run([tools.find("mmdebstrap"), "--variant=minbase", f"--include={','.join(FIRST)}",
                     "--aptopt=Acquire::Check-Valid-Until false", release, root], timeout=3600)
        process.run(["git", "clone", "-q", "--no-hardlinks", ROOT, root / CLONE])
        (root / "complete").touch()
    process.run(["git", "fetch", "-q", ROOT, "HEAD"], cwd=root / CLONE)
    process.run(["git", "reset", "-q", "--hard", "FETCH_HEAD"], cwd=root / CLONE)
    for name in SETTINGS:
        if (Path("/") / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path("/") / name, root / name)
    if (Path("/") / CERTIFICATES).is_dir():
        shutil.copytree(Path("/") / CERTIFICATES, root / CERTIFICATES, dirs_exist_ok=True)
    return root


def tried(release: str, root: Path, scratch: Path) -> bool:
    """Do what is done in a root, and keep what came of it; whether it held."""
    scratch.chmod(0o1777)
    result = root / CLONE / RESULT.relative_to(ROOT)
    result.unlink(missing_ok=True)
    last = ""
    with subprocess.Popen(entered(root, scratch, ["sh", "-c", WORK]), stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, env=environment(os.environ)) as child:
        assert child.stdout is not None
        for line in child.stdout:
            last = line.strip() or last
            print(f"    {release}: {line.rstrip()}", flush=True)
    rows = json.loads(result.read_text()) if result.is_file() else []
    if child.returncode and not rows:
        rows = [("`scripts/setup.sh`", "", "", f"**failed** ({last})")]
    about = {"name": title(root), "rows": rows}
    (PLACE / f"{release}.json").write_text(json.dumps(about, indent=1))
    return child.returncode == 0


def entered(root: Path, scratch: Path, words: list[str]) -> list[str | Path]:
    """The command that runs ``words`` in ``root`` with ``scratch`` as /tmp, in namespaces that end with this process
    and everything in them."""
    return ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "--pid", "--fork",
            "--kill-child=SIGKILL", "--uts", "--ipc", "sh", "-euc", ENTER, "enter", root, scratch, *words]


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What somebody has in the environment who just logged in; how pip and proxies are set up here holds there too."""
    kept = {name: value for name, value in ours.items() if name.startswith("PIP_") or name.lower().endswith("_proxy")}
    return kept | {"HOME": "/root", "USER": "root", "PATH": PATH, "LANG": "C.UTF-8", "TERM": "dumb"}


def title(root: Path) -> str:
    """What the distribution in a root calls itself."""
    text = (root / "etc/os-release").read_text()
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', text, re.MULTILINE)
    return found[1] if found else root.name


def kept() -> Iterator[tuple[str, list[Row]]]:
    """The name and rows of every release that was tried, the oldest first."""
    for path in sorted(PLACE.glob("*.json"), key=lambda path: path.stat().st_mtime):
        about = json.loads(path.read_text())
        yield about["name"], [(what, number, tests, outcome) for what, number, tests, outcome in about["rows"]]


def report() -> None:
    """Write the rows of every release to their section: a row for each thing, a column for each release."""
    tried_out = dict(kept())
    columns = {name: {row[0]: row for row in rows} for name, rows in tried_out.items()}
    things = dict.fromkeys(row[0] for rows in tried_out.values() for row in rows if not absent(row))
    lines = []
    for thing in things:
        tests = next((rows[thing][2] for rows in columns.values() if thing in rows and rows[thing][2]), "")
        lines.append((thing, tests, *(cell(rows.get(thing)) for rows in columns.values())))
    lacking = sorted({f"{row[0]} ({row[3].removeprefix('not tried: ')})"
                      for rows in tried_out.values() for row in rows if row[0] not in things})
    write_section("Other hosts", "\n\n".join([
        "The same tests with the programs and libraries of other releases of Debian, each in a root of its own in "
        "which this is set up as README.md says (`make torture ARGS=\"hosts --releases "
        f"trixie,forky\"`). Kernel and processor are the host's own (Linux {os.uname().release.partition('-')[0]}, "
        f"{title(Path('/'))}), and there is no init system.",
        table(("what", "tests", *columns), lines),
        f"Not tried: {'; '.join(lacking)}." if lacking else "Nothing was left out."]))


def absent(row: Row) -> bool:
    """Whether a row is of something that a release was not given."""
    return row[3].startswith("not tried: ")


def cell(row: Row | None) -> str:
    """A version and what came of it."""
    if row is None:
        return ""
    return f"{row[1]}: {row[3]}" if row[1] else row[3]
