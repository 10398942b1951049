"""Do what Binder will do with this repository, without Binder, Docker or a network of theirs.

    scripts/binder.py                        all of it: some minutes, and those of compiling a kernel
    scripts/binder.py --quick                what takes seconds: repo2docker accepts it, apt knows the packages
    scripts/binder.py --store DIR [NAME...]  with the kernels of this store instead of compiling; only these notebooks

The rest runs in a copy of what git knows, as a user who is nobody, below a memory limit of 2 GB and on one processor:
``postBuild``, then ``start`` with every notebook. Root is needed to become nobody, to set the limit, and to hide KVM,
container engines and whatever else a Binder has not. What could not be had is told.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.tools import TOOLS, locate

ROOT = Path(__file__).resolve().parent.parent
BINDER = ROOT / "binder"
LIMIT = 2 * 1024**3
USER = 64_321
"""A user id that nobody has."""
GIVEN = {"apt", "dpkg", "tar", "git", "erlang-base", "erlang-dev", "erlang-nox", "elixir", "perl"}
"""Packages whose programs a Binder has from its base image or from conda."""


def packages() -> list[str]:
    return (BINDER / "apt.txt").read_text().split()


def dockerfile() -> str:
    """What repo2docker would build. Raises CalledProcessError where it refuses the repository."""
    program = Path(sys.executable).with_name("jupyter-repo2docker")
    done = subprocess.run([program, "--no-build", "--debug", ROOT], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def complaints_about(text: str) -> list[str]:
    """What is missing in the Dockerfile that repo2docker made of this repository."""
    found = [f"{name} is not installed" for name in packages()
             if not any("apt-get install" in line and f" {name} " in f"{line} " for line in text.splitlines())]
    for wanted in ("binder/environment.yml", "RUN ./binder/postBuild", "/binder/start"):
        if wanted not in text:
            found.append(f"{wanted} is not used")
    return found


def unknown_packages() -> list[str]:
    """The packages of apt.txt that this host's apt cannot install."""
    shown = subprocess.run(["apt-cache", "policy", *packages()], capture_output=True, text=True, check=True).stdout
    known = re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (?!\(none\))", shown, re.MULTILINE)
    return [name for name in packages() if name not in known]


def closed_to_others(path: Path) -> Path | None:
    """What of this path keeps other users from running it."""
    return next((part for part in (path, *path.parents) if not part.stat().st_mode & 0o001), None)


@dataclass
class Cage:
    """A control group with a memory limit, and what was seen in it. Version 1 or 2; ``path`` is None without root."""

    path: Path | None
    cpu: Path | None

    @classmethod
    def make(cls) -> Cage:
        name = f"unibeam-binder-{os.getpid()}"
        old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
        try:
            path = (old if old.is_dir() else new) / name
            path.mkdir()
            limit = path / ("memory.limit_in_bytes" if old.is_dir() else "memory.max")
            limit.write_text(str(LIMIT))
            cpu = Path("/sys/fs/cgroup/cpuacct") / name if old.is_dir() else path
            cpu.mkdir(exist_ok=True)
            return cls(path, cpu)
        except OSError as error:
            print(f"No memory limit: {error}.")
            return cls(None, None)

    def used(self) -> int:
        """Bytes of programs' own memory and of shared memory, without files that are only cached."""
        if self.path is None:
            return 0
        stat = dict(line.split() for line in (self.path / "memory.stat").read_text().splitlines())
        return sum(int(stat.get(key, 0)) for key in (("total_rss", "total_shmem") if "total_rss" in stat
                                                      else ("anon", "shmem")))

    def cpu_seconds(self) -> float:
        if self.cpu is None:
            return 0.0
        old = self.cpu / "cpuacct.usage"
        if old.is_file():
            return int(old.read_text()) / 1e9
        return int((self.cpu / "cpu.stat").read_text().split()[1]) / 1e6

    def killed(self) -> int:
        """How many processes died for want of memory."""
        if self.path is None:
            return 0
        name = "memory.oom_control" if (self.path / "memory.oom_control").is_file() else "memory.events"
        return next((int(line.split()[1]) for line in (self.path / name).read_text().splitlines()
                     if line.startswith("oom_kill ")), 0)

    def entered(self) -> str:
        """Shell words that put a process into it."""
        return "".join(f"echo $$ > {path}/cgroup.procs; " for path in {self.path, self.cpu} if path)

    def close(self) -> None:
        for path in {self.path, self.cpu}:
            if path:
                path.rmdir()


class Session:
    """A home of its own for nobody, with a copy of the repository, and a way to run things there."""

    def __init__(self, home: Path, cage: Cage, store: Path | None) -> None:
        self.home, self.cage, self.repo = home, cage, home / "repository"
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            (self.repo / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, self.repo / name)
            shutil.copymode(ROOT / name, self.repo / name)
        subprocess.run([sys.executable, "-m", "venv", home / "env"], check=True)
        # What conda would have installed is borrowed from the environment that runs this.
        site = next((home / "env/lib").glob("python*/site-packages"))
        borrowed = next(path for path in sys.path if path.endswith("site-packages"))
        (site / "borrowed.pth").write_text(f"{borrowed}\n")
        (home / "empty").touch(mode=0o600)
        for kind in ("kernels", "sources", "apt") if store else ():
            shutil.copytree(store / "cache" / kind, home / "store/cache" / kind, symlinks=True)
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{USER}:{USER}", self.repo, home / "env", *home.glob("store")], check=True)
            os.chown(home, USER, USER)
            os.chown(home / "empty", 0, 0)

    def command(self, words: list[str]) -> list[str]:
        """``words`` as they are run: in the cage, with what a Binder lacks hidden, as nobody."""
        if os.geteuid() != 0:
            return words
        hidden = [str(place.resolve()) for tool in TOOLS.values() if not set(tool.packages) <= {*packages(), *GIVEN}
                  and (place := locate(tool.command))]
        hide = " ".join(f"mount --bind {self.home}/empty {place};" for place in
                        dict.fromkeys([*hidden, *(["/dev/kvm"] if Path("/dev/kvm").exists() else [])]))
        become = f"setpriv --reuid={USER} --regid={USER} --clear-groups --no-new-privs --inh-caps=-all"
        return ["unshare", "--mount", "--propagation", "private", "sh", "-ec",
                f'{self.cage.entered()}{hide} exec {become} taskset -c 0 "$@"', "sh", *words]

    def run(self, title: str, words: list[str], cwd: Path) -> bool:
        """Run it, and say how long it took and what memory it needed at most."""
        env = {"HOME": str(self.home), "PATH": f"{self.home}/env/bin:{os.environ['PATH']}", "LANG": "C.UTF-8",
               "UNIBEAM_HOME": str(self.home / "store"), "TMPDIR": str(self.home), "PIP_NO_BUILD_ISOLATION": "1",
               "NB_PYTHON_PREFIX": str(self.home / "env"), "JUPYTER_PLATFORM_DIRS": "1"}
        began, cpu, most, over = time.monotonic(), self.cage.cpu_seconds(), 0, threading.Event()

        def watch() -> None:
            nonlocal most
            while not over.wait(0.2):
                most = max(most, self.cage.used())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            done = subprocess.run(self.command(words), cwd=cwd, env=env, capture_output=True, text=True, check=False)
        finally:
            over.set()
            watcher.join()
        good = done.returncode == 0 and not self.cage.killed()
        print(f"{'ok  ' if good else 'FAIL'}  {title:20} {time.monotonic() - began:6.0f} s  "
              f"{self.cage.cpu_seconds() - cpu:6.0f} CPU-s  {most / 1e6:6.0f} MB at most", flush=True)
        if not good or title == "postBuild":
            print((done.stdout + done.stderr)[-4000:], flush=True)
        return good


def rehearse(store: Path | None, names: list[str]) -> bool:
    """postBuild, and every notebook behind ``start``; whether all went well."""
    with tempfile.TemporaryDirectory(prefix="binder-") as place:
        Path(place).chmod(0o755)
        cage = Cage.make()
        try:
            session = Session(Path(place), cage, store)
            good = session.run("postBuild", ["./binder/postBuild"], session.repo)
            notebooks = sorted((session.repo / "notebooks").glob("*.ipynb"))
            for path in [p for p in notebooks if not names or any(p.stem.startswith(name) for name in names)]:
                execute = ["python", "-m", "nbconvert", "--to", "notebook", "--execute", "--output-dir", place,
                           "--ExecutePreprocessor.timeout=900", "--ExecutePreprocessor.kernel_name=python3", path.name]
                good &= session.run(path.stem, ["../binder/start", *execute], path.parent)
                keep = ROOT / "out" / "binder"
                keep.mkdir(parents=True, exist_ok=True)
                if (Path(place) / path.name).is_file():
                    shutil.copyfile(Path(place) / path.name, keep / path.name)
        finally:
            cage.close()
    return good


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--store", type=Path)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    text = dockerfile()
    print("\n".join(line for line in text.splitlines() if line.startswith(("FROM", "apt-get install", "RUN ./binder"))))
    bad = complaints_about(text) + [f"{name} is no package that apt knows" for name in unknown_packages()]
    print("\n".join(bad) or "repo2docker accepts the repository; apt knows every package.")
    if given.quick or bad:
        return 1 if bad else 0
    if os.geteuid() == 0 and (closed := closed_to_others(Path(sys.executable).resolve())):
        sys.exit(f"binder: nobody but root can run this Python: {closed} is closed to others.\n"
                 "  Hint: make the environment with one of the system's: make setup PYTHON=/usr/bin/python3")
    return 0 if rehearse(given.store, given.names) else 1


if __name__ == "__main__":
    sys.exit(main())
