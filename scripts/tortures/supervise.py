"""Interrupts works, inside namespaces of its own, and looks at what is left: `python supervise.py BASE SEED K,K,...`.

It is the first process of a PID namespace, so that every process it sees belongs to the case; likewise mounts and
network devices. For each case it prints a line of JSON: what went wrong, or nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS.parent)]

from tortures import SHARED, farm, kernels, leaks  # noqa: E402
from tortures.cases import BUILDS, RUNNERS, Case, case  # noqa: E402
from tortures.works import NAME  # noqa: E402
from unibeam_nb.bench.journal import load_experiment  # noqa: E402
from unibeam_nb.errors import UnibeamError  # noqa: E402
from unibeam_nb.lab import Lab  # noqa: E402
from unibeam_nb.machine import machines, registry, ways  # noqa: E402
from unibeam_nb.store import Store  # noqa: E402

ENDS = 90.0
"""Seconds in which a work ends once it was interrupted; a machine that does not come up has 40."""

IMPATIENT = 3.0
"""Seconds beyond its usual time after which a work that hangs is interrupted, as its user would."""

SETTLES, OTHERS_SETTLE = 6.0, 90.0
"""Seconds in which what is ending has ended; and a control group, which may be of the case that is played beside this
one, where it may have no process for as long as that takes."""


class Broken(Exception):
    """A promise was not kept: each argument is a line that says which."""


@dataclasses.dataclass
class Bench:
    """Where the cases of one supervisor happen. ``whole`` has the digest of every entry that was made undisturbed,
    ``takes`` the seconds of every work."""

    base: Path
    shared: Path
    farm: Path
    whole: dict[str, str] = dataclasses.field(default_factory=dict)
    takes: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def temporary(self) -> Path:
        """Where temporary files go: a short path, because of podman, and the same for all cases, because of podman."""
        return self.base / "t"

    @property
    def home(self) -> Path:
        """The home of works that need what others have built."""
        return self.base / "home"

    def new_home(self, path: Path, kinds: Path | None = None) -> Path:
        """A home with nothing in it but what all share, or also the kinds of another cache."""
        (path / "cache").mkdir(parents=True)
        (path / "state").mkdir()
        for kind in SHARED:
            if (self.shared / kind).exists():
                (path / "cache" / kind).symlink_to((self.shared / kind).resolve())
        for source in kinds.iterdir() if kinds else ():
            if source.is_dir() and source.name not in (*SHARED, "tmp", "snapshots", "podman", "docker"):
                (path / "cache" / source.name).mkdir()
                for entry in source.iterdir():
                    (path / "cache" / source.name / entry.name).symlink_to(entry)
        return path


def store_of(home: Path) -> Store:
    return Store(home / "cache", home / "state")


class Work:
    """One work under way as a process, and what it has told."""

    def __init__(self, bench: Bench, what: str, home: Path, place: Path) -> None:
        self.told: list[dict[str, Any]] = []
        self.acks, self.errors = place / "acks", place / "errors"
        with self.errors.open("wb") as errors:
            self.child = subprocess.Popen(
                [sys.executable, str(SCRIPTS / "tortures/works.py"), what, str(self.acks)], stdout=subprocess.PIPE,
                stderr=errors, env=environment(bench, home, place), start_new_session=True, text=True)
        self.reader = Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.told.append(json.loads(line) | {"at": time.monotonic()})

    def began(self) -> float:
        ends = time.monotonic() + 60
        while not self.told and self.running and time.monotonic() < ends:
            time.sleep(0.005)
        return time.monotonic()

    @property
    def running(self) -> bool:
        return self.child.poll() is None

    def interrupt(self, sign: str) -> None:
        if self.running:
            self.child.send_signal(signal.Signals[sign])

    def end(self, seconds: float = ENDS) -> None:
        """Wait for its end. Raises Broken where that does not come."""
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise Broken(f"the work had not ended after {seconds:.0f} s: {self.told[-1:]}") from None
        self.reader.join(5)

    def succeeded(self) -> bool:
        return self.child.returncode == 0 and self.told[-1]["what"] == "done"

    def last_words(self) -> str:
        return f"{self.told[-1:]} {self.errors.read_text(errors='replace')[-1500:]}"


def environment(bench: Bench, home: Path, place: Path) -> dict[str, str]:
    """What every program of a case has: its own home, its own directory for temporary files, our programs."""
    kept = {key: os.environ[key] for key in ("LANG", "USER") if key in os.environ}
    return kept | {"UNIBEAM_HOME": str(home), "TMPDIR": str(bench.temporary), "PATH": str(bench.farm),
                   "HOME": str(bench.base / "user"), "PYTHONPATH": os.pathsep.join((str(SCRIPTS), str(SCRIPTS.parent))),
                   "PYTHONDONTWRITEBYTECODE": "1"}


def begin(bench: Bench, what: str, home: Path, place: Path) -> Any:
    """A work of this kind, begun."""
    if what.startswith("kernel-"):
        return kernels.KernelWork(what, place, environment(bench, home, place))
    return Work(bench, what, home, place)


def undisturbed(bench: Bench, what: str, home: Path, place: Path) -> float:
    """Do a work that nobody interrupts; how long it took. Raises Broken where it fails."""
    work = begin(bench, what, home, place)
    began = work.began()
    work.end(240)
    if not work.succeeded():
        raise Broken(f"undisturbed, the work fails: {work.last_words()}")
    return time.monotonic() - began


def prepare(bench: Bench, cases: list[Case]) -> None:
    """Do every work once that the cases need, and note how long it takes and what it makes."""
    place = bench.base / "before"
    place.mkdir()
    bench.new_home(bench.home)
    wanted = {one.work for one in cases} | {"build"}
    for what in (*BUILDS, *RUNNERS, "bench", *sorted(kernels.WORKS)):
        if what in wanted:
            for _ in range(2 if what in (*RUNNERS, "bench") else 1):  # The first time also makes images.
                forget_journal(bench.home)
                tidied(bench.home)  # A docker daemon, which every case starts anew.
                bench.takes[what] = patiently(bench, what, place)
            forget_journal(bench.home)
    bench.whole = leaks.entries(bench.home / "cache")
    tidied(bench.home)
    for what in wanted & set(BUILDS):  # Nothing of what they make is there when they are interrupted.
        bench.takes[what] = undisturbed(bench, what, bench.new_home(bench.base / f"again-{what}"), place)


def patiently(bench: Bench, what: str, place: Path) -> float:
    """As :func:`undisturbed`; once more where a host that is busy with other things was too slow."""
    try:
        return undisturbed(bench, what, bench.home, place)
    except Broken as broken:
        print(json.dumps({"note": str(broken)}), flush=True)
        return undisturbed(bench, what, bench.home, place)


def forget_journal(home: Path) -> None:
    (home / "state/experiments" / f"{NAME}.jsonl").unlink(missing_ok=True)


@contextlib.contextmanager
def stage(bench: Bench, one: Case, place: Path) -> Iterator[Path]:
    """The home in which a case happens, with whatever is wrong there arranged."""
    builds = one.work in (*BUILDS, "kernel-build")
    home = bench.home
    if one.fault == "full disk":
        disk = place / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m", "full", str(disk)], check=True)
        home = bench.new_home(disk / "home", None if builds else bench.home / "cache")
        if not builds:
            shutil.copytree(bench.home / "state/names", home / "state/names")
        fill(disk, one.room)
    elif builds:
        home = bench.new_home(place / "home")
    elif one.fresh and one.work in ("resume", "bench", "kernel-boot"):
        shutil.rmtree(home / "cache/snapshots", ignore_errors=True)
    real = (bench.farm / one.victim).readlink() if one.fault.startswith("tool ") else None
    if real is not None:
        farm.misbehave(place, bench.farm, one.victim, one.fault.split()[1], one.call)
    try:
        yield home
    finally:
        if real is not None:
            farm.mend(bench.farm, one.victim, real)


def fill(disk: Path, room: int) -> None:
    """Leave ``room`` bytes on a disk."""
    facts = os.statvfs(disk)
    with (disk / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, max(facts.f_bavail * facts.f_frsize - room, 4096))


def meet(bench: Bench, one: Case, work: Any) -> None:
    """Interrupt the work as the case says, and wait for its end."""
    began, takes = work.began(), bench.takes[one.work]
    when = began + one.at * takes
    if one.fault.startswith("SIG"):
        while time.monotonic() < when and work.running:
            time.sleep(0.002)
        work.interrupt(one.fault)
    elif one.fault == "killed tool":
        while work.running and (time.monotonic() < when or not kill(one.victim)):
            time.sleep(0.002)
    elif one.fault == "tool hangs":
        while work.running and time.monotonic() < began + 2 * takes + IMPATIENT:
            time.sleep(0.02)
        work.interrupt("SIGINT")
    work.end()


def kill(name: str) -> bool:
    """Kill one process of this name (as the kernel has it); whether there was one."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and (entry / "comm").read_text().strip() == name[:15]:
                os.kill(int(entry.name), signal.SIGKILL)
                return True
    return False


def clean(bench: Bench, home: Path, place: Path) -> None:
    """`unibeam clean`, as a user does it. Raises Broken where it does not end well."""
    done = subprocess.run([sys.executable, "-m", "unibeam_nb", "clean"], env=environment(bench, home, place),
                          capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise Broken(f"clean failed: {done.stdout[-500:]} {done.stderr[-1500:]}")


def tidied(home: Path) -> None:
    """The same from Python."""
    Lab(store_of(home)).clean()


def nothing_left(bench: Bench, before: leaks.Traces, home: Path, *, lingers: bool = False) -> None:
    """Raise Broken unless nothing is left soon."""
    began, stays = time.monotonic(), None
    while lines := leaks.left(before, store_of(home), bench.temporary, lingers=lingers):
        # Control groups of others come and go; what is left over stays.
        groups = {line for line in lines if line.startswith("cgroups: ")}
        stays = groups if stays is None else stays & groups
        lines = [line for line in lines if line not in groups or line in stays]
        if not lines:
            return
        if time.monotonic() > began + (OTHERS_SETTLE if groups.issuperset(lines) else SETTLES):
            raise Broken(*lines)
        time.sleep(0.1)


def journal_holds(home: Path, work: Any) -> None:
    """Raise Broken unless every acknowledged sample is in the journal, once."""
    acks = [tuple(json.loads(line)) for line in work.acks.read_text().splitlines()] if work.acks.exists() else []
    path = home / "state/experiments" / f"{NAME}.jsonl"
    if not acks and not path.exists():
        return
    try:
        samples = [(s.case, s.block, s.order) for s in load_experiment(path).samples]
    except UnibeamError as error:
        if acks or path.stat().st_size:
            raise Broken(f"the journal cannot be read: {error}") from None
        return
    if missing := [ack for ack in acks if ack not in samples]:
        raise Broken(f"acknowledged and lost: {missing}")
    if len(set(samples)) != len(samples):
        raise Broken(f"samples twice: {samples}")


def stop_those_up(home: Path) -> None:
    """What the next start of the same machine asks for, where the one before is up and has outlived its booter."""
    for machine in machines(store_of(home)):
        if machine.record.ready:
            machine.stop()


def play(bench: Bench, one: Case, place: Path) -> None:
    """One case. Raises Broken with what did not hold."""
    before = leaks.look()
    with stage(bench, one, place) as home:
        if one.fault == "full disk":
            before = leaks.look()
        forget_journal(home)
        work = begin(bench, one.work, home, place)
        meet(bench, one, work)
        if "bench" in one.work:
            journal_holds(home, work)
        errors = work.errors.read_text(errors="replace") if work.errors.exists() else ""
    if not one.fault.startswith("SIG") and one.fault != "tool hangs" and "Traceback" in errors:
        raise Broken(f"a traceback: {errors[-2500:]}")
    (place / "disk/filler").unlink(missing_ok=True)
    if one.then == "clean":
        clean(bench, home, place)
        nothing_left(bench, before, home)
        broken = leaks.damaged(home / "cache", bench.whole)
        undisturbed(bench, one.work, home, place)
    else:
        stop_those_up(home)
        undisturbed(bench, one.work, home, place)
        nothing_left(bench, before, home, lingers=True)
        broken = leaks.damaged(home / "cache", bench.whole)
    if "bench" in one.work:
        journal_holds(home, work)
    tidied(home)
    nothing_left(bench, before, home)
    broken += leaks.damaged(home / "cache", bench.whole)
    if broken:
        raise Broken(*dict.fromkeys(broken))


def main() -> int:
    """Every case in turn."""
    base, seed, shared = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[4])
    cases = [case(seed, int(word)) for word in sys.argv[3].split(",")]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    base.mkdir(mode=0o700)
    # The lock of whoever measures on this host is not for cases: nothing is measured here.
    with contextlib.suppress(FileExistsError):
        Path("/tmp/unibeam").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "own", "/tmp/unibeam"], check=True)
    (base / "user").mkdir()
    (base / "t").mkdir()
    # What this process starts itself finds the same programs as the works do.
    os.environ["TMPDIR"], os.environ["HOME"] = str(base / "t"), str(base / "user")
    os.environ["JUPYTER_RUNTIME_DIR"] = str(base / "user/runtime")
    os.environ["IPYTHONDIR"] = str(base / "user/ipython")
    bench = Bench(base, shared, farm.plant(base / "bin"))
    os.environ["PATH"] = str(bench.farm)
    prepare(bench, cases)
    print(json.dumps({"takes": bench.takes, "entries": len(bench.whole)}), flush=True)
    for one in cases:
        place = base / str(one.number)
        place.mkdir()
        began, broken = time.monotonic(), []
        try:
            play(bench, one, place)
        except Broken as error:
            broken = [str(line) for line in error.args]
        except Exception as error:
            broken = [f"{type(error).__name__}: {error}"]
        print(json.dumps(dataclasses.asdict(one) | {"broken": broken, "seconds": time.monotonic() - began}),
              flush=True)
        tidy(bench, place)
    return 0


def tidy(bench: Bench, place: Path) -> None:
    """Whatever a case left, the next one shall not inherit."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                os.kill(int(entry.name), signal.SIGKILL)
    time.sleep(0.05)
    for record, _ in registry.records(store_of(bench.home)):
        for name in (ways.container_name(record.id), ways.trial_name(record.id)):
            ways.remove_cgroup(name)
    subprocess.run(["umount", "-l", str(place / "disk")], check=False, capture_output=True)
    shutil.rmtree(bench.home / "state/machines", ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)
    for left in bench.temporary.iterdir():
        if not leaks.stays(left):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()


if __name__ == "__main__":
    sys.exit(main())
