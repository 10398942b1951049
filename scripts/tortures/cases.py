"""Which interruption meets which work: case K of a seed is always the same one. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

SIGNALS = ("SIGINT", "SIGTERM", "SIGKILL")
MISBEHAVIOURS = ("hangs", "fails", "garbage", "vanishes")

BUILDS = ("build", "rebar3", "mix")
"""Works that build: a cell for a tiny kernel, and a project of each build tool."""

RUNNERS = {"process": "release@process", "crun": "oci+scratch@crun", "podman": "oci+scratch@podman",
           "docker": "oci+scratch@docker", "uml": "linux@uml",
           "qemu": "linux+tiny@qemu", "resume": "linux+tiny+resume@qemu"}
"""Works that boot a machine, by name: on which arm."""

VICTIMS = {"process": ("beam.smp",), "crun": ("crun", "beam.smp"), "podman": ("podman", "conmon", "beam.smp"),
           "docker": ("docker", "dockerd", "containerd", "containerd-shim", "beam.smp"),
           "uml": ("linux.uml", "slirp4netns"), "qemu": ("qemu-system-x86",), "resume": ("qemu-system-x86",),
           "bench": ("crun", "beam.smp"),
           "rebar3": ("beam.smp", "erl_child_setup"), "mix": ("beam.smp", "erl_child_setup"),
           "build": ("erlc", "beam.smp", "erl_child_setup", "cc1", "as", "collect2", "mkfs.erofs", "erlexec")}
"""Programs of a work that are killed, by the name that the kernel has for them."""

TOOLS = {"build": ("erlc", "erl", "musl-gcc", "mkfs.erofs"), "rebar3": ("rebar3", "erl"), "mix": ("mix", "erl"),
         "crun": ("crun", "unshare"), "podman": ("podman", "crun"), "docker": ("docker", "dockerd"),
         "uml": ("linux.uml", "slirp4netns"), "qemu": ("qemu-system-x86_64",), "resume": ("qemu-system-x86_64",)}
"""Programs of a work that misbehave."""

KINDS: tuple[tuple[str, str], ...] = (
    *((work, sign) for work in (*BUILDS, "bench", "kernel-build", "kernel-boot", "kernel-bench", *RUNNERS)
      for sign in SIGNALS),
    *((work, "killed tool") for work in VICTIMS),
    *((work, f"tool {how}") for work in TOOLS for how in MISBEHAVIOURS),
    *((work, "full disk") for work in (*BUILDS, "bench", *RUNNERS) if work != "podman"))
"""Every kind: a work, and what happens to it. What podman writes lies in a place of the host's, not in the home whose
disk can be filled."""


@dataclass(frozen=True)
class Case:
    """What happens in case ``number``: ``fault`` meets ``work`` at ``at``, a fraction of what the work takes when
    nobody interrupts it. ``victim`` is the program that is killed or misbehaves, at its call number ``call``;
    ``room`` bytes are what a full disk has left; ``fresh`` a resumed machine has no snapshot yet.
    Afterwards comes ``clean``, or without it the same work again (``start``)."""

    number: int
    work: str
    fault: str
    at: float
    victim: str = ""
    call: int = 1
    room: int = 0
    fresh: bool = False
    then: str = "clean"


def case(seed: int, number: int) -> Case:
    """Case ``number`` of ``seed``. The kinds take turns, so that a part of the cases has them all as evenly."""
    random = Random(f"{seed}:{number}")
    order = list(KINDS)
    Random(f"{seed}:order:{number // len(KINDS)}").shuffle(order)
    work, fault = order[number % len(KINDS)]
    victim = ""
    if fault == "killed tool":
        victim = random.choice(VICTIMS[work])
    elif fault.startswith("tool "):
        victim = random.choice(TOOLS[work])
    return Case(number, work, fault, random.random(), victim, random.randint(1, 3),
                int(2 ** random.uniform(12, 24)), random.random() < 0.5, random.choice(("clean", "start")))
