"""Which host a sample was taken on: facts for people, and a short id that refuses a wrong comparison.

Everything is read from files below ``root`` (``/`` outside the tests), no program is started for it. The
host's name is not among the facts, so that a report can be shown to anybody.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unibeam_nb.store import digest


@dataclass(frozen=True)
class Host:
    """A host's fingerprint. ``ram_bytes`` is what the kernel manages; ``virtualised`` names the hypervisor's
    product where it tells, ``yes`` where it does not, and is empty on bare metal. ``id`` covers these facts
    and the machine's own id (hashed), so that two hosts of one make differ."""

    cpu: str
    cores: int
    ram_bytes: int
    kernel: str
    distribution: str
    virtualised: str
    id: str

    def facts(self) -> dict[str, Any]:
        """The facts without the id, for a journal's header."""
        return {key: value for key, value in asdict(self).items() if key != "id"}


def fingerprint(root: Path = Path("/"), kernel: str | None = None, cores: int | None = None) -> Host:
    """The fingerprint of the host whose file system is at ``root``."""
    cpuinfo = _read(root / "proc/cpuinfo")
    facts: dict[str, Any] = {
        "cpu": _cpu_model(cpuinfo),
        "cores": cores or len(os.sched_getaffinity(0)),
        "ram_bytes": _memory_total(_read(root / "proc/meminfo")),
        "kernel": kernel or platform.release(),
        "distribution": _distribution(_read(root / "etc/os-release")),
        "virtualised": _virtualised(cpuinfo, root),
    }
    identity = digest("unibeam host", _read(root / "etc/machine-id").strip())
    return Host(**facts, id=digest(facts, identity)[:12])


def tool_versions(runners: Iterable[str]) -> dict[str, str]:
    """The versions of what the measuring itself uses: this package, Python, and the runners' programs.

    Raises ToolMissing when a runner's program is not there, before anything is measured.
    """
    from unibeam_nb import __version__, tools
    from unibeam_nb.machine.available import NEEDS

    found = {"unibeam": __version__, "python": platform.python_version()}
    for runner in sorted(set(runners)):
        for program in NEEDS.get(runner, ()):
            found[program] = tools.version(program)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpu_model(cpuinfo: str) -> str:
    """``model name`` on x86; the machine's architecture where the kernel tells none (ARM)."""
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    if not found:
        return platform.machine()
    # "Intel(R) Xeon(R) CPU @ 2.20GHz" reads better, and fits a footer, without the marks of trade.
    return re.sub(r"\s+", " ", re.sub(r"\((?:R|TM|r|tm)\)|\bCPU\b(?= @)", "", found[1])).strip()


def _memory_total(meminfo: str) -> int:
    found = re.search(r"^MemTotal:\s*(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _distribution(os_release: str) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)"?', os_release, re.MULTILINE)
    return found[1] if found else "unknown"


def _virtualised(cpuinfo: str, root: Path) -> str:
    """x86 hypervisors set a CPU flag; their make stands in the firmware's tables."""
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    if not flags or "hypervisor" not in flags[1].split():
        return ""
    dmi = root / "sys/class/dmi/id"
    told = " ".join(filter(None, (_read(dmi / "sys_vendor").strip(), _read(dmi / "product_name").strip())))
    return told or "yes"
