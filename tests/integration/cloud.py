"""The code that reads user data (guest/unibeam_cloud*.erl), run by this host's emulator as a machine runs it: from its
own boot script, in which there is nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.image import cloud
from unibeam_nb.release.compiler import compile_guest
from unibeam_nb.store import Store, digest

ARGV = ("/srv/erts-13/bin/erlexec", "+P", "32768", "-boot", "/srv/releases/1/unibeam", "-noinput",
        "-config", "/srv/sys", "-s", "unibeam_agent", "ready", "-extra", "one")


@dataclass(frozen=True)
class Outcome:
    """What a run left behind: its exit status, its lines on the console, and the directory that stood for ``/``."""

    code: int
    said: list[str]
    root: Path

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text(encoding="utf-8")

    @property
    def argv(self) -> list[str]:
        return self.read("/run/unibeam/argv").splitlines()

    def has(self, path: str) -> bool:
        return (self.root / path.lstrip("/")).exists()


Apply = Callable[..., Outcome]


def compiled(store: Store) -> Path:
    """The directory with the guest's modules."""
    texts = [(cloud.GUEST / name).read_bytes() for name in cloud.SOURCES]
    return store.build("cloud-test", digest(*texts)[:32],
                       lambda made: compile_guest(cloud.SOURCES, made, (), "host"))[0]


def reader(store: Store, tmp_path: Path) -> Apply:
    """A function that has user data applied, from a source as PID 1 writes it."""
    script = tmp_path / "cloud.boot"
    script.write_bytes(cloud.boot_script(str(compiled(store))))
    erl, count = tools.find("erl"), 0

    def apply(source: str, argv: tuple[str, ...] = ARGV) -> Outcome:
        nonlocal count
        count += 1
        root = tmp_path / f"root{count}"
        for path in ("etc/unibeam", "run", "tmp", "var/lib/unibeam"):
            (root / path).mkdir(parents=True)
        (root / "etc/unibeam/argv").write_text("".join(f"{word}\n" for word in argv))
        done = process.run([erl, "+S", "1:1", "-boot", script.with_suffix(""), "-noinput"], check=False, timeout=60,
                           env={"UNIBEAM_CLOUD": source, "UNIBEAM_CLOUD_ROOT": str(root)})
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        return Outcome(done.code, lines, root)

    return apply
