"""The work that is interrupted, as a process of its own: `python works.py WORK`. What it tells goes to its standard
output, a line of JSON each: ``step`` when one begins, ``sample`` for each that is acknowledged, ``done`` at the end."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

NAME = "torture"

TEXT = """
-module(torture).
-export([start/0]).
start() -> io:format("ready~n"), ok.
"""

PROJECTS = {
    "rebar3": {"rebar.config": "{erl_opts, [debug_info]}.\n",
               "src/torture_app.app.src":
                   '{application, torture_app, [{vsn, "1"}, {applications, [kernel, stdlib]}, '
                   "{mod, {torture_app, []}}]}.\n",
               "src/torture_app.erl":
                   "-module(torture_app).\n-behaviour(application).\n-export([start/2, stop/1]).\n"
                   "start(_, _) -> {ok, spawn(fun() -> receive never -> ok end end)}.\nstop(_) -> ok.\n"},
    "mix": {"mix.exs":
                'defmodule Torture.MixProject do\n  use Mix.Project\n\n  def project, do: [app: :torture, version: '
                '"1.0.0"]\n  def application, do: [extra_applications: [:logger]]\nend\n',
            "lib/torture.ex": "defmodule Torture do\n  def start, do: :ok\nend\n"}}
"""A project of each build tool, as small as they come: its files."""

PLAN = """
source = "torture"
until = "app"
blocks = 3
warmup = 0
seed = 3
arms = ["release@process", "oci+scratch@crun"]
"""

CELLS = {
    "kernel-build": ("%%unibeam build torture --kernel tiny\n" + TEXT,),
    "kernel-boot": ("%unibeam boot torture --on process", "%unibeam stop torture",
                    "%unibeam boot torture --on linux+tiny+resume@qemu", "%unibeam stop --all"),
    "kernel-bench": ("%%unibeam bench --experiment torture\n" + PLAN,),
}
"""What a notebook runs, cell by cell."""


def tell(what: str, **more: Any) -> None:
    """One line to whoever watches."""
    print(json.dumps({"what": what, **more}), flush=True)


def acknowledge(path: str) -> None:
    """From now on every sample that the journal has taken is told in the file ``path``, after that and not before."""
    from unibeam_nb.bench.journal import Journal

    append = Journal.append
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def appended(self: Journal, sample: Any) -> None:
        append(self, sample)
        os.write(handle, (json.dumps([sample.case, sample.block, sample.order]) + "\n").encode())

    Journal.append = appended  # type: ignore[method-assign]


def project(tool: str, place: Path) -> Path:
    """The project of a build tool, written below ``place`` unless it is there."""
    for name, text in PROJECTS[tool].items():
        path = place / f"{NAME}_{tool}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return place / f"{NAME}_{tool}"


def work(what: str, place: Path) -> None:
    """Do it, from begin to end; files that it needs lie below ``place``."""
    from tortures.cases import RUNNERS
    from unibeam_nb.errors import MachineError
    from unibeam_nb.lab import Lab

    lab = Lab()
    if what == "build":
        lab.build(NAME, text=TEXT, kernel="tiny")
    elif what in PROJECTS:
        lab.build(f"{NAME}-{what}", path=project(what, place), target="oci", flavour="scratch")
    elif what == "bench":
        lab.bench(toml=PLAN, experiment=NAME)
    else:
        machine = lab.boot(NAME, arm=RUNNERS[what], deadline=40)
        try:
            ends = time.monotonic() + 10
            # What a copy printed before it became one is on another console.
            while what != "resume" and "ready" not in machine.console.text() and time.monotonic() < ends:
                time.sleep(0.02)
            if not machine.alive:  # Somebody may have killed it when it was up already: no fault of the boot.
                raise MachineError(f"{machine!r} is not what was asked for.", details=machine.console.tail(5))
            if time.monotonic() > ends:
                raise AssertionError(f"{machine!r} is not what was asked for: {machine.console.text()}")
        finally:
            machine.stop()


def main() -> int:
    """Do the work that is named, and say so."""
    # A shell that runs this in the background starts it deaf to SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from unibeam_nb.errors import UnibeamError
    from unibeam_nb.progress import listening

    acknowledge(sys.argv[2])
    tell("go")
    try:
        with listening(lambda event: tell("step", title=event.title) if event.kind == "begin" else None):
            work(sys.argv[1], Path(sys.argv[2]).parent)
    except UnibeamError as error:
        tell("refused", why=str(error))
        return 1
    tell("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
