"""The host's fingerprint: from files alone, the same for the same host, another for another."""

from __future__ import annotations

from pathlib import Path

import pytest

from unibeam_nb.bench.host import fingerprint, tool_versions
from unibeam_nb.errors import ToolMissing

CPUINFO = """processor\t: 0
model name\t: Intel(R) Xeon(R) CPU @ 2.20GHz
flags\t\t: fpu vme hypervisor lahf_lm
"""


def host_tree(root: Path, **changed: str) -> Path:
    files = {"proc/cpuinfo": CPUINFO, "proc/meminfo": "MemTotal:       16303428 kB\nMemFree: 1 kB\n",
             "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
             "etc/machine-id": "0123456789abcdef\n", "sys/class/dmi/id/sys_vendor": "QEMU\n",
             "sys/class/dmi/id/product_name": "Standard PC\n"}
    for name, text in (files | {key.replace("__", "/"): value for key, value in changed.items()}).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_facts_are_read_from_files(tmp_path: Path) -> None:
    host = fingerprint(host_tree(tmp_path), kernel="6.1.0", cores=4)
    assert host.facts() == {
        "cpu": "Intel Xeon @ 2.20GHz", "cores": 4, "ram_bytes": 16303428 * 1024, "kernel": "6.1.0",
        "distribution": "Debian GNU/Linux 12 (bookworm)", "virtualised": "QEMU Standard PC"}
    assert len(host.id) == 12


def test_the_id_is_stable_and_tells_hosts_apart(tmp_path: Path) -> None:
    one = fingerprint(host_tree(tmp_path / "a"), "6.1.0", 4)
    assert fingerprint(host_tree(tmp_path / "b"), "6.1.0", 4) == one
    assert fingerprint(tmp_path / "a", "6.2.0", 4).id != one.id
    assert fingerprint(tmp_path / "a", "6.1.0", 8).id != one.id
    twin = fingerprint(host_tree(tmp_path / "c", **{"etc__machine-id": "f00\n"}), "6.1.0", 4)
    assert twin.facts() == one.facts()
    assert twin.id != one.id


def test_bare_metal_is_not_virtualised_and_a_silent_host_is_survived(tmp_path: Path) -> None:
    bare = host_tree(tmp_path / "bare", proc__cpuinfo=CPUINFO.replace("hypervisor ", ""))
    assert fingerprint(bare, "6", 1).virtualised == ""
    (tmp_path / "empty").mkdir()
    silent = fingerprint(tmp_path / "empty", "6", 1)
    assert (silent.distribution, silent.ram_bytes, silent.virtualised) == ("unknown", 0, "")
    assert silent.cpu


def test_this_host_has_a_fingerprint() -> None:
    host = fingerprint()
    assert host.cores >= 1
    assert host.ram_bytes > 64 << 20
    assert host == fingerprint()


def test_versions_of_the_runners_in_use_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "crun"
    program.write_text("#!/bin/sh\necho crun version 1.23.4\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    versions = tool_versions(["crun", "process", "crun"])
    assert versions["crun"] == "1.23.4"
    assert sorted(versions) == ["crun", "python", "unibeam"]


def test_a_missing_runner_is_told_before_anything_is_measured(tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    from unibeam_nb import tools

    monkeypatch.setattr(tools, "locate", lambda command: None)
    with pytest.raises(ToolMissing, match="podman is not on this host"):
        tool_versions(["podman"])
