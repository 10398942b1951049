"""The Lab: every step from source to chart as one method, for Python, the magic and the shell alike.

    lab = Lab()
    lab.build("hello", text=erlang, ports=(8080,))
    machine = lab.boot("hello", arm="qemu", http="/")
    experiment = lab.bench("hello", arms=("linux@qemu", "release@process"), blocks=10, http="/")
    lab.chart("boot")

The Lab remembers what the user called things (``<state>/names/NAME.json``); everything else it looks up.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unibeam_nb.analysis.chart import CHARTS, Chart
from unibeam_nb.errors import UsageError
from unibeam_nb.model import (
    DEFAULT_ARM_OF,
    RESUME,
    RUNNERS,
    Arm,
    Finding,
    Image,
    Probe,
    Release,
    dump,
    from_json,
)
from unibeam_nb.progress import step
from unibeam_nb.store import Store, remove_tree, write_atomically

if TYPE_CHECKING:
    from unibeam_nb.bench import Experiment
    from unibeam_nb.bench.plan import Plan
    from unibeam_nb.doctor import Diagnosis
    from unibeam_nb.image.kernels import Kernel
    from unibeam_nb.machine import Machine
    from unibeam_nb.release.erts.runtime import Erts

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")


@dataclass(frozen=True)
class Build:
    """What one name stands for: a release, the images made from it, and how to make more of them."""

    name: str
    release: Release
    images: tuple[Image, ...] = ()
    kernel: str | None = None
    compression: str = "lz4"

    def __repr__(self) -> str:
        return f"<Build {self.name}: {self.release!r}" + "".join(f"; {image!r}" for image in self.images) + ">"


@dataclass(frozen=True)
class Machines(Sequence["Machine"]):
    """The machines that run, as a sequence with a table for a face."""

    machines: tuple[Machine, ...]

    def __len__(self) -> int:
        return len(self.machines)

    def __getitem__(self, index: Any) -> Any:
        return self.machines[index]


class Lab:
    """All of unibeam over one :class:`~unibeam_nb.store.Store` (the user's own unless given)."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store or Store.default()

    # -- source -> release -> image ------------------------------------------------------------------

    def build(self, name: str, *, text: str | None = None, path: Path | None = None,
              language: str | None = None, target: str = "linux", flavour: str = "",
              ports: tuple[int, ...] = (), applications: tuple[str, ...] = (), flags: tuple[str, ...] = (),
              kernel: str | None = None, compression: str = "lz4", erts: str | None = None) -> Build:
        """Make a release from a cell's ``text`` or from ``path``, and an image of it for ``target``.

        ``erts`` puts another emulator into the release: ``lean``, or the path of one (``host`` leaves it alone).
        Raises SourceError, ImageError, ToolMissing; a failed build leaves the name as it was.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot be a name.", "Use a lower-case letter, then letters, digits, - or _.")
        if (text is None) == (path is None):
            raise UsageError("A build takes either a cell's text or --from PATH.",
                             f"Write the modules below '%%unibeam build {name}', or name a project.")
        release = self._on_erts(self._release(name, text, path, language, ports, applications, flags), erts)
        build = Build(name, release, kernel=kernel, compression=compression)
        image = self._image(build, target, flavour)
        build = dataclasses.replace(build, images=(image,))
        write_atomically(self._names() / f"{name}.json", dump(build))
        return build

    def _release(self, name: str, text: str | None, path: Path | None, language: str | None,
                 ports: tuple[int, ...], applications: tuple[str, ...], flags: tuple[str, ...]) -> Release:
        from unibeam_nb.release import release_from_cell, release_from_path

        if path is not None:
            return release_from_path(self.store, name, path.expanduser(), ports=ports,
                                     applications=applications, flags=flags)
        assert text is not None
        return release_from_cell(self.store, name, text, language=language, ports=ports,
                                 applications=applications, flags=flags)

    def _image(self, build: Build, target: str, flavour: str, options: tuple[str, ...] = ()) -> Image:
        """The image of ``build`` that an arm of this target, flavour and options runs."""
        from unibeam_nb.image import build_image

        release = self._on_erts(build.release, "lean" if "lean" in options else None)
        if target != "linux":
            return dataclasses.replace(build_image(self.store, release, target, flavour), options=options)
        small = "small" in options
        kernel = self._tiny(build.kernel, small) if "tiny" in options else self._kernel(build.kernel)
        image = build_image(self.store, release, target, flavour, kernel=kernel,
                            options=tuple(word for word in options if word != RESUME),
                            compression="xz" if small else build.compression)
        return dataclasses.replace(image, options=options)  # A machine that is resumed runs the very same image.

    def _on_erts(self, release: Release, wanted: str | None) -> Release:
        """The release on the emulator called ``wanted``."""
        if wanted is None or wanted == "host":
            return release
        from unibeam_nb.release.erts import lean, runtime, swap

        if wanted != "lean":
            return swap.with_erts(self.store, release, runtime.erts_at(Path(wanted)))
        swap.refuse_native_code(release)  # Said before the minutes that a first build takes.
        return swap.with_erts(self.store, release, lean.build_lean(self.store, release.otp))

    def _tiny(self, wanted: str | None, small: bool) -> Kernel:
        """The tiny kernel of an arm: the one the build was made with where that is tiny, else the plain one."""
        from unibeam_nb.image.tiny import is_tiny, profiled, tiny_from_name

        name = wanted if wanted is not None and is_tiny(wanted) else "tiny"
        return tiny_from_name(self.store, profiled(name, "size") if small else name)

    def build_tiny_kernel(self, optimise: str = "boot", extras: tuple[str, ...] = ()) -> Kernel:
        """A kernel for the BEAM alone, compiled on this host unless that has been done (see image/tiny.py)."""
        from unibeam_nb.image.tiny import build_tiny

        return build_tiny(self.store, optimise, extras)

    def _kernel(self, wanted: str | None) -> Kernel | None:
        """The kernel called ``wanted``: a file, or the name of one that is known; None means the stock one."""
        from unibeam_nb.image.kernels import kernel_from_path, known_kernels
        from unibeam_nb.image.tiny import is_tiny, tiny_from_name

        if wanted is None or wanted == "stock":
            return None
        known = {kernel.name: kernel for kernel in known_kernels(self.store)}
        if wanted in known:
            return known[wanted]
        if is_tiny(wanted) and not Path(wanted).exists():
            return tiny_from_name(self.store, wanted)
        path, _, modules = wanted.partition(":")
        return kernel_from_path(Path(path).expanduser(), Path(modules).expanduser() if modules else None)

    def named(self, name: str) -> Build:
        """What was built under ``name``. Raises UsageError that lists what there is."""
        path = self._names() / f"{name}.json"
        if not _NAME.fullmatch(name) or not path.is_file():
            there = ", ".join(self.names()) or "nothing yet"
            raise UsageError(f"Nothing has been built under the name {name!r}.",
                             f"Built so far: {there}. Build it with '%%unibeam build {name}'.")
        build = from_json(Build, json.loads(path.read_text(encoding="utf-8")))
        if not build.release.path.is_dir():
            raise UsageError(f"{name} was built, but its release is no longer in the cache.", "Build it again.")
        return build

    def names(self) -> list[str]:
        """What has been built, by name."""
        directory = self.store.state / "names"
        return sorted(path.stem for path in directory.glob("*.json")) if directory.is_dir() else []

    def _names(self) -> Path:
        return self.store.directory("names")

    def check(self, name: str) -> tuple[Finding, ...]:
        """What in the release of ``name`` needs more than a BEAM around it."""
        return self.named(name).release.findings

    # -- image -> machine ------------------------------------------------------------------------------

    def boot(self, name: str, *, arm: str | None = None, mem_mb: int = 256, vcpus: int = 1,
             accelerator: str = "auto", ports: tuple[str, ...] = (), http: str | None = None,
             until: str | None = None, deadline: float = 120.0, env: tuple[str, ...] = (),
             machine_name: str | None = None, resume: bool = False) -> Machine:
        """Boot ``name`` and return the machine when it has reached ``until`` (``http`` where a probe is given).

        With ``resume`` it is not booted but copied from a snapshot, which is taken where there is none yet.
        """
        from unibeam_nb.machine import BootOptions
        from unibeam_nb.machine import boot as boot_machine

        build = self.named(name)
        chosen = parse_arm(arm or "qemu")
        if resume and RESUME not in chosen.extras:
            if chosen.runner != "qemu":
                raise UsageError(f"{chosen} cannot be resumed.", "Only a linux image on qemu can: leave out --on.")
            chosen = Arm.parse("+".join((chosen.target, *chosen.options, RESUME)) + f"@{chosen.runner}")
        options = BootOptions(
            mem_mb=mem_mb, vcpus=vcpus, accelerator=accelerator, deadline=deadline,
            ports=tuple(parse_port(port) for port in ports) or None,
            probe=Probe.parse(http, build.release.ports or tuple(parse_port(p)[1] for p in ports)) if http else None,
            until=until or ("http" if http else "app"), env=tuple(parse_env(item) for item in env))
        image = self._image(build, chosen.target, chosen.flavour, chosen.extras)
        with step(f"{'Resuming' if RESUME in chosen.extras else 'Booting'} {name} as {chosen}"):
            return boot_machine(self.store, image, chosen.runner, options, name=machine_name or name)

    def ps(self) -> Machines:
        """The machines that run."""
        from unibeam_nb.machine import machines

        return Machines(tuple(machines(self.store)))

    def machine(self, name: str) -> Machine:
        """A machine by name or by the start of its id."""
        from unibeam_nb.machine import find_machine

        return find_machine(self.store, name)

    def logs(self, name: str, lines: int = 40) -> str:
        """The last lines of a machine's console."""
        return "\n".join(self.machine(name).console.tail(lines))

    def stop(self, name: str | None = None, *, all: bool = False) -> list[str]:
        """Stop one machine, or all of them; returns one line each."""
        if (name is None) != all:
            raise UsageError("Say which machine to stop.", "Name one that 'ps' lists, or use --all.")
        chosen = list(self.ps()) if all else [self.machine(name or "")]
        for machine in chosen:
            machine.stop()
        return [f"Stopped {machine.name} ({machine.id})." for machine in chosen] or ["Nothing is running."]

    def clean(self, *, cache: bool = False) -> list[str]:
        """Stop and remove everything that runs or was left behind; with ``cache`` also what was built.

        Journals of experiments are never deleted.
        """
        from unibeam_nb.machine import clean

        lines = clean(self.store)
        if cache and self.store.cache.is_dir():
            remove_tree(self.store.cache)
            lines.append(f"Removed the cache {self.store.cache}.")
        return lines or ["Nothing to clean."]

    # -- machine -> samples -> chart ---------------------------------------------------------------------

    def bench(self, name: str | None = None, *, arms: tuple[str, ...] = (), against: tuple[str, ...] = (),
              blocks: int = 10, warmup: int = 1, seed: int | None = None, mem_mb: int = 256, vcpus: int = 1,
              http: str | None = None, until: str | None = None, deadline: float = 120.0,
              accelerator: str = "auto", toml: str | None = None, experiment: str | None = None) -> Experiment:
        """Run an experiment: every arm once per block, in an order shuffled by ``seed``.

        ``experiment`` names the journal; one that exists already is continued if its plan is the same.
        """
        from unibeam_nb.bench import run_experiment

        plan = self.plan(name, arms=arms, against=against, blocks=blocks, warmup=warmup, seed=seed, mem_mb=mem_mb,
                         vcpus=vcpus, http=http, until=until, deadline=deadline, accelerator=accelerator, toml=toml)
        build = self.named(plan.source)
        with step("Building the images of every arm"):
            images = {str(arm): self._image(build, arm.target, arm.flavour, arm.extras) for arm in plan.arms}
        stem = experiment or f"{plan.source}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}", stem):
            raise UsageError(f"{stem!r} cannot be the name of an experiment.", "Use letters, digits, '.', '-' and '_'.")
        return run_experiment(plan, images, self.store, self.store.directory("experiments") / f"{stem}.jsonl")

    def plan(self, name: str | None = None, *, arms: tuple[str, ...] = (), against: tuple[str, ...] = (),
             toml: str | None = None, blocks: int = 10, warmup: int = 1, seed: int | None = None,
             mem_mb: int = 256, vcpus: int = 1, http: str | None = None, until: str | None = None,
             deadline: float = 120.0, accelerator: str = "auto") -> Plan:
        """The plan that :meth:`bench` would run, for looking at before anything runs."""
        from unibeam_nb.bench.plan import make_plan, plan_from_toml

        if toml is not None and toml.strip():
            return plan_from_toml(toml, source=name, ports=self.named(name).release.ports if name else ())
        if name is None:
            raise UsageError("Say what to measure.", "Name a build, for example '%unibeam bench hello -n 10'.")
        first = arms or ("linux@qemu",)
        chosen = tuple(dict.fromkeys(parse_arm(arm) for arm in (*first, *(against or _DEFAULT_RIVALS))))
        ports = self.named(name).release.ports
        return make_plan(name, chosen, blocks=blocks, warmup=warmup, seed=seed, mem_mb=mem_mb, vcpus=vcpus,
                         probe=Probe.parse(http, ports) if http else None,
                         until=until or ("http" if http else None), deadline=deadline, accelerator=accelerator)

    def experiments(self) -> list[str]:
        """The names of the experiments on disk, oldest first."""
        directory = self.store.state / "experiments"
        if not directory.is_dir():
            return []
        return [path.stem for path in sorted(directory.glob("*.jsonl"), key=lambda p: p.stat().st_mtime)]

    def experiment(self, name: str | None = None) -> Experiment:
        """An experiment by name or path; the newest one when none is named."""
        from unibeam_nb.bench import load_experiment

        there = self.experiments()
        if name is not None and name.endswith(".jsonl") and Path(name).expanduser().is_file():
            return load_experiment(Path(name).expanduser())
        if not there:
            raise UsageError("There is no experiment yet.", "Run one with '%unibeam bench NAME -n 10'.")
        chosen = name or there[-1]
        if chosen not in there:
            raise UsageError(f"There is no experiment {chosen!r}.", f"There are: {', '.join(there[-8:])}.")
        return load_experiment(self.store.state / "experiments" / f"{chosen}.jsonl")

    def chart(self, kind: str, experiment: str | Experiment | None = None) -> Chart:
        """Draw one kind of chart (see CHARTS) of an experiment, the newest one unless named."""
        if kind not in CHARTS:
            raise UsageError(f"There is no chart {kind!r}.", f"The charts are {', '.join(CHARTS)}.")
        from unibeam_nb.analysis import charts

        chosen = self.experiment(experiment) if isinstance(experiment, str | None) else experiment
        axes = getattr(charts, f"chart_{kind}")(chosen)
        return Chart(kind, axes.figure, getattr(charts, f"describe_{kind}")(chosen))

    def report(self, experiment: str | Experiment | None = None, path: Path | None = None) -> Path:
        """Write one self-contained HTML file about an experiment and return where it is."""
        from unibeam_nb.analysis.report import write_report

        chosen = self.experiment(experiment) if isinstance(experiment, str | None) else experiment
        return write_report(chosen, path or Path(f"{chosen.name}.html"))

    def doctor(self, *, prove: bool = False) -> Diagnosis:
        """What this host can do, why not, and how to get the rest; ``prove`` boots a tiny guest to know."""
        from unibeam_nb.doctor import diagnose

        return diagnose(self.store, prove=prove)

    def kernels(self) -> list[Kernel]:
        """The kernels that images can be made with."""
        from unibeam_nb.image.kernels import known_kernels

        return known_kernels(self.store)

    def stock_kernel(self) -> Kernel:
        """The distribution's cloud kernel, fetched if it is not in the cache."""
        from unibeam_nb.image.kernels import stock_kernel

        return stock_kernel(self.store)

    def runtimes(self) -> list[Erts]:
        """The emulators that releases can run on: the host's, and the lean ones that have been built."""
        from unibeam_nb.release.erts.lean import known_lean
        from unibeam_nb.release.erts.runtime import host_erts

        return [host_erts(), *known_lean(self.store)]

    def lean_erts(self) -> Erts:
        """The lean emulator of the host's OTP version, built from source if it is not in the cache."""
        from unibeam_nb.release.erts.lean import build_lean
        from unibeam_nb.release.otp import host_otp

        return build_lean(self.store, host_otp().version)


_DEFAULT_RIVALS = ("oci+scratch@crun", "oci+scratch@podman", "release@process")


def parse_arm(text: str) -> Arm:
    """An arm, or the one meant by a runner's name alone."""
    return Arm.parse(DEFAULT_ARM_OF[text] if text in RUNNERS else text)


def parse_port(text: str) -> tuple[int, int]:
    """``8080`` or ``9000:8080`` as (host port or 0 for any, port inside the machine)."""
    found = re.fullmatch(r"(?:(\d{1,5}):)?(\d{1,5})", text)
    if not found or not 0 < int(found[2]) < 65536 or int(found[1] or 0) > 65535:
        raise UsageError(f"{text!r} is not a port.", "Write the port inside the machine, or HOST:GUEST.")
    return int(found[1] or 0), int(found[2])


def parse_env(text: str) -> tuple[str, str]:
    """``KEY=VALUE`` as a pair."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
        raise UsageError(f"{text!r} is not an environment variable.", "Write KEY=VALUE.")
    return key, value
