"""podman's command lines: private, on the host's network, limited where cgroups work."""

from __future__ import annotations

from pathlib import Path

import pytest

from unibeam_nb.errors import UsageError
from unibeam_nb.machine.podman_arguments import Places, base, listed, owned, pull, remove, run

PLACES = Places(Path("/cache/root"), Path("/tmp/u"), Path("/cache/containers.conf"), Path("/cache/policy.json"),
                Path("/cache/networks"))
ARGV = ("/opt/release/bin/erlexec", "-noinput")


def test_every_call_uses_storage_of_our_own() -> None:
    assert base(Path("/usr/bin/podman"), PLACES) == (
        "/usr/bin/podman", "--root", "/cache/root", "--runroot", "/tmp/u/run", "--tmpdir", "/tmp/u/tmp")


def test_images_are_pulled_from_this_disk_only() -> None:
    assert pull("layout", PLACES.policy)[-1] == "oci:layout"
    assert "--pull never" in " ".join(run("image", "name", "me", ARGV, {}))


def test_a_container_runs_in_the_foreground_on_the_hosts_network() -> None:
    assert run("image", "unibeam-1", "me", ARGV, {"PORT": "8080"}, directory=Path("/m"), mem_mb=64) == (
        "run", "--rm", "--name", "unibeam-1", "--label", "unibeam.owner=me", "--pull", "never", "--network", "host",
        "--log-driver", "none",
        "--cgroup-parent", "/unibeam-1", "--memory", "64m", "--memory-swap", "64m",
        "--pidfile", "/m/container.pid", "--conmon-pidfile", "/m/conmon.pid", "--env", "PORT=8080",
        "--workdir", "/var/lib/unibeam", "--entrypoint", '["/opt/release/bin/erlexec"]', "image", "-noinput")


def test_without_cgroups_no_limit_is_promised() -> None:
    words = run("image", "unibeam-1", "me", ARGV, {}, cgroups=False, mem_mb=64)
    assert words[words.index("--cgroups") + 1] == "disabled"
    assert "--memory" not in words
    assert "--cgroup-parent" not in words


def test_what_may_be_a_secret_is_told_in_a_file() -> None:
    words = run("image", "unibeam-1", "me", ARGV, {"HOME": "/"}, variables=Path("/m/variables"))
    assert words[words.index("--env-file") + 1] == "/m/variables"
    assert [words[at + 1] for at, word in enumerate(words) if word == "--env"] == ["HOME=/"]
    assert listed({"TOKEN": "a=b #c", "EMPTY": ""}) == "TOKEN=a=b #c\nEMPTY=\n"


@pytest.mark.parametrize("value", ["two\nlines", "a\rb"])
def test_a_value_of_two_lines_is_refused(value: str) -> None:
    with pytest.raises(UsageError) as caught:
        listed({"TEXT": value})
    assert caught.value.message == "The value of TEXT cannot be handed to a container engine."
    assert caught.value.hint == "There it is one line: boot on crun, or pass it without line breaks."


def test_removing_a_container_that_is_gone_is_no_error() -> None:
    assert remove("unibeam-1") == ("rm", "--force", "--ignore", "--time", "0", "unibeam-1")


def test_containers_are_listed_by_their_owner() -> None:
    assert owned("me") == ("ps", "--all", "--filter", "label=unibeam.owner=me", "--format", "{{.Names}}")
