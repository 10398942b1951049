"""docker's and dockerd's command lines, and what is said where there is no daemon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unibeam_nb.machine import available, dockerd
from unibeam_nb.machine.docker_arguments import KEEP, Places, daemon, make_bridge, owned, remove, run
from unibeam_nb.machine.podman_arguments import bridged

PLACES = Places(Path("/c/docker/root"), Path("/tmp/unibeam-0-abc"))


def test_a_daemon_of_our_own_keeps_to_itself() -> None:
    words = daemon(Path("/usr/sbin/dockerd"), PLACES, Path("/c/docker/configuration.json"))
    assert words[0] == "unshare"
    assert {"--mount", "--pid", "--kill-child=SIGKILL", "--bridge=none", "--iptables=false", "--ip-forward=false"} \
        <= set(words)
    assert words[words.index("--host") + 1] == PLACES.address == "unix:///tmp/unibeam-0-abc/docker.sock"
    assert words[words.index("--data-root") + 1] == "/c/docker/root"
    assert KEEP.startswith("mkdir -p /run/containerd && mount -t tmpfs")


def test_a_container_is_like_podmans() -> None:
    words = run("unibeam/hello:x", "unibeam-1", "me", ("/opt/erlexec", "-noinput"), {"PORT": "80"}, 96)
    assert words[:6] == ("run", "--rm", "--name", "unibeam-1", "--label", "unibeam.owner=me")
    assert words[words.index("--network") + 1] == "host"
    assert words[words.index("--memory") + 1] == words[words.index("--memory-swap") + 1] == "96m"
    assert words[words.index("--cgroup-parent") + 1] == "/unibeam-1"
    assert words[-4:] == ("--entrypoint", "/opt/erlexec", "unibeam/hello:x", "-noinput")


def test_a_bridged_container_publishes_on_the_loopback_address_only() -> None:
    words = run("image", "c", "me", ("/x",), {}, 96, bridged("unibeam", ((18080, 8080), (18443, 8443))))
    assert "host" not in words
    assert [words[at + 1] for at, word in enumerate(words) if word == "--publish"] == \
        ["127.0.0.1:18080:8080", "127.0.0.1:18443:8443"]
    assert make_bridge("unibeam", "unibeam12345678")[-2:] == \
        ("com.docker.network.bridge.name=unibeam12345678", "unibeam")


def test_only_what_is_ours_is_listed_and_removed() -> None:
    assert "label=unibeam.owner=me" in owned("me")
    assert remove("unibeam-1") == ("rm", "--force", "unibeam-1")


@pytest.fixture
def no_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(dockerd, "USUAL", tmp_path / "docker.sock")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("unibeam_nb.tools._EXTRA_PATH", ())
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o755)
    return tmp_path


def test_without_root_it_is_said_how_to_get_a_daemon(no_daemon: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert available("docker") == (
        "No docker daemon runs here that you may use, and only root may start one: "
        "sudo systemctl start docker; sudo usermod -aG docker $USER")
    (no_daemon / "docker.sock").touch()
    assert available("docker") is None


def test_root_needs_a_daemon_to_start(no_daemon: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert available("docker") == ("No docker daemon runs here, and there is none to start: "
                                   "apt-get install --no-install-recommends docker.io")
    (no_daemon / "dockerd").write_text("#!/bin/sh\n")
    (no_daemon / "dockerd").chmod(0o755)
    assert available("docker") is None
