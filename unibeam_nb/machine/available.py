"""Whether a runner can work on this host, told at once and without starting anything.

``doctor`` says more and takes longer; a plan asks this of each of its arms before the first boot.
"""

from __future__ import annotations

from unibeam_nb import tools
from unibeam_nb.arms import RESTORE, RUNNERS, Arm
from unibeam_nb.errors import MachineError, UsageError
from unibeam_nb.machine import hosted
from unibeam_nb.store import Store

NEEDS: dict[str, tuple[str, ...]] = {
    "qemu": ("qemu-system-x86_64",), "uml": ("linux.uml", "slirp4netns"), "xen": ("xl",),
    "firecracker": ("firecracker", "ip"), "podman": ("podman", "crun"),
    "docker": ("docker",), "crun": ("crun",), "runc": ("runc",), "runsc": ("runsc",), "process": ()}
"""The programs that each runner takes."""

OBSTACLES = {"xen": hosted.xen, "firecracker": hosted.firecracker}
"""What tells whether this host is of the kind that a runner needs, for those that need one."""


def available(runner: str) -> str | None:
    """Why ``runner`` cannot work here, as one sentence with the command that mends it, or None where nothing is
    known to be in its way. Raises UsageError for what is no runner."""
    if runner not in RUNNERS:
        raise UsageError(f"{runner!r} is not a runner.", f"The runners are {', '.join(RUNNERS)}.")
    if runner in OBSTACLES:
        found = OBSTACLES[runner]()
        return str(found) if found else None
    absent = lacking(NEEDS[runner])
    if absent is None and runner == "docker":
        from unibeam_nb.machine import dockerd

        return dockerd.obstacle()
    return absent


def refuse(runner: str) -> None:
    """Raise MachineError where the host is not of the kind that ``runner`` needs."""
    if (found := OBSTACLES[runner]()) is not None:
        raise MachineError(found.why, found.hint)


def obstacle(store: Store, arm: Arm) -> str | None:
    """Why ``arm`` cannot run here: because of its runner, or of what its options take. Nothing is started but CRIU,
    once per host boot, where a container is to be restored."""
    why = available(arm.runner)
    if why is None and RESTORE in arm.options:
        from unibeam_nb.machine import criu

        return criu.obstacle(store, arm.runner)
    return why


def lacking(programs: tuple[str, ...]) -> str | None:
    """Which of some programs this host has not, as a sentence with the command that installs them."""
    absent = [program for program in programs if tools.locate(program) is None]
    if not absent:
        return None
    verb = "is" if len(absent) == 1 else "are"
    return f"{' and '.join(absent)} {verb} not on this host: {tools.install_command(*absent)}"
