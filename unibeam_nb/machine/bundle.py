"""A container bundle's ``config.json`` (OCI runtime specification 1.0.2, config.md). Pure: values in, data out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unibeam_nb.model import IMAGE_STATE

CAPABILITIES = tuple(f"CAP_{name}" for name in (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP",
    "SETUID", "SYS_CHROOT"))
"""What a container's root may do; the list that podman gives by default."""

MASKED = ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug",
          "/proc/scsi", "/sys/firmware")
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def config(argv: Sequence[str], env: Mapping[str, str], *, root: str, hostname: str,
           cgroup: str | None = None, memory: int | None = None, swap: bool = False,
           annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The configuration that runs ``argv`` on the root directory ``root`` (relative to the bundle).

    The host's network is shared, so there is no network namespace, and ``/sys`` is the host's, read-only. There
    are no ``rlimits``: raising one needs a capability that not every root has. ``memory`` is a limit in
    bytes, put on the cgroup called ``cgroup``; with ``swap``, where the host counts swap, nothing may spill into it.
    A user namespace is made outside, where one is needed.
    """
    capabilities = list(CAPABILITIES)
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
        "maskedPaths": list(MASKED), "readonlyPaths": list(READ_ONLY)}
    if cgroup is not None:
        linux["cgroupsPath"] = cgroup
        if memory is not None:
            # The specification's "swap" is memory and swap together (config-linux.md): equal means none.
            linux["resources"] = {"memory": {"limit": memory} | ({"swap": memory} if swap else {})}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False, "user": {"uid": 0, "gid": 0}, "args": list(argv), "cwd": IMAGE_STATE,
            "env": [f"{key}={value}" for key, value in env.items()], "noNewPrivileges": True,
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities)},
        "root": {"path": root, "readonly": False},
        "hostname": hostname,
        "mounts": [
            _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),  # nosec B108 # inside
            _mount("/tmp", "tmpfs", "tmpfs", "nosuid", "nodev", "mode=1777"),  # nosec B108 # inside
            _mount("/sys", "none", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro")],
        "linux": linux,
        "annotations": dict(annotations or {})}


def _mount(where: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": where, "type": kind, "source": source, "options": list(options)}
