"""What matters about a host while it measures, read from files below ``root`` (``/`` outside the tests)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Counters:
    """Counts since the host was started: ``ticks`` of processor time and those of them that were ``stolen`` by the
    hypervisor (proc(5), the line ``cpu``), and how often something ``throttled`` the processors: heat (the kernel's
    thermal_throttle), or the quota of this session's control group (cpu.stat, nr_throttled)."""

    ticks: int
    stolen: int
    throttled: int

    def since(self, before: Counters) -> dict[str, float]:
        """What happened meanwhile, by the names of a sample's values."""
        ticks = self.ticks - before.ticks
        return {"steal_ratio": (self.stolen - before.stolen) / ticks if ticks > 0 else 0.0,
                "throttled_count": float(max(0, self.throttled - before.throttled))}


@dataclass(frozen=True)
class HostState:
    """What matters about a host at one moment. ``governors`` are the CPU frequency governors in use
    (empty where the host does not tell, as in most virtual machines); ``machines`` are the names of the
    unibeam machines that run. ``steal`` is the share of processor time that the hypervisor took away just now,
    ``throttled`` how often the processors were throttled meanwhile; ``quota`` is how many processors this session's
    control group may use, None for all."""

    load1: float
    cores: int
    governors: tuple[str, ...]
    available_bytes: int
    swap_used_bytes: int
    machines: tuple[str, ...] = ()
    steal: float = 0.0
    throttled: int = 0
    quota: float | None = None


def read_counters(root: Path = Path("/")) -> Counters:
    """The counts now; a host that does not tell one of them has 0."""
    ticks = [int(word) for word in _text(root / "proc/stat").partition("\n")[0].split()[1:9]]
    heat = sum(_number(path) for path in (root / "sys/devices/system/cpu").glob(
        "cpu[0-9]*/thermal_throttle/core_throttle_count"))
    quota = sum(int(line.split()[1]) for line in _text(root / "sys/fs/cgroup/cpu.stat").splitlines()
                if line.startswith("nr_throttled "))
    return Counters(sum(ticks), ticks[7] if len(ticks) > 7 else 0, heat + quota)


def read_state(machines: Sequence[str] = (), root: Path = Path("/"), *, seconds: float = 0.5,
               sleep: Callable[[float], None] = time.sleep) -> HostState:
    """The host's state now; steal and throttling are watched for so many seconds."""
    before = read_counters(root)
    sleep(seconds)
    meanwhile = read_counters(root).since(before)
    meminfo = {}
    for line in _text(root / "proc/meminfo").splitlines():
        key, _, rest = line.partition(":")
        meminfo[key] = int(rest.split()[0]) * 1024
    governors = {_text(path).strip()
                 for path in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")}
    load1 = float(_text(root / "proc/loadavg").split()[0])
    return HostState(load1, len(os.sched_getaffinity(0)), tuple(sorted(governors)),
                     meminfo.get("MemAvailable", 0), meminfo.get("SwapTotal", 0) - meminfo.get("SwapFree", 0),
                     tuple(machines), meanwhile["steal_ratio"], int(meanwhile["throttled_count"]), _quota(root))


def _quota(root: Path) -> float | None:
    """Processors that the control group allows (cpu.max: microseconds of each period), None without a limit."""
    words = _text(root / "sys/fs/cgroup/cpu.max").split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0
