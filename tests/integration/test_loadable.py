"""The OCI layout is what every container engine takes: podman, Debian's docker, crun."""

from __future__ import annotations

import io
import os
import re
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unibeam_nb import process
from unibeam_nb.lab import Lab
from unibeam_nb.model import Image

NONCE = "0123456789abcdef"
HELLO = """
-module(hello).
-export([start/0]).
start() -> io:format("ready to serve~n"), ok.
"""


@pytest.fixture(params=["scratch", "slim"])
def image(request: pytest.FixtureRequest, lab: Lab) -> Image:
    return lab.build("hello", text=HELLO, target="oci", flavour=request.param).images[0]


@pytest.fixture(scope="module")
def docker(debian_package: Callable[..., Path]) -> Iterator[tuple[str, ...]]:
    """Debian's own docker daemon, run from its unpacked packages and visible to these tests only."""
    if os.geteuid() != 0:
        pytest.skip("the docker daemon needs root")
    root = debian_package("docker.io", "containerd", "runc")
    search = f"{root}/usr/sbin:{root}/usr/bin:{os.environ['PATH']}"
    # The socket's path must fit into 108 bytes, which a deep temporary directory would not.
    with tempfile.TemporaryDirectory(prefix="ub-docker-", dir="/tmp") as home, open(f"{home}/log", "wb") as log:
        client = (f"{root}/usr/bin/docker", "-H", f"unix://{home}/sock")
        daemon = process.spawn(
            # A mount namespace of its own takes the daemon's mounts with it when it ends.
            ["unshare", "--mount", "--propagation", "private", root / "usr/sbin/dockerd",
             "--data-root", f"{home}/data", "--exec-root", f"{home}/exec",
             "--pidfile", f"{home}/pid", "-H", f"unix://{home}/sock", "--iptables=false", "--bridge=none"],
            stdout=log, env={"PATH": search})
        try:
            deadline = time.monotonic() + 60
            while process.run([*client, "version"], check=False).code != 0:
                alive = daemon.poll() is None and time.monotonic() < deadline
                assert alive, Path(home, "log").read_text()[-3000:]
                time.sleep(0.2)
            yield client
        finally:
            process.stop_group(daemon, grace=20)


def test_docker_loads_and_runs_the_layout(docker: tuple[str, ...], image: Image) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(image.file("layout"), arcname=".")
    loaded = process.run([*docker, "load"], input=archive.getvalue())
    reference = re.search(r"Loaded image(?: ID)?: (\S+)", loaded.stdout)
    assert reference, loaded
    container = process.run([*docker, "run", "--rm", "--network", "host", "--env", f"UNIBEAM_NONCE={NONCE}",
                             "--detach", reference[1]]).stdout.strip()
    try:
        deadline = time.monotonic() + 60
        printed = ""
        # Marks and what the program prints come by two ways, so either may be first.
        while f"@unibeam {NONCE} app" not in printed or "ready to serve" not in printed:
            assert time.monotonic() < deadline, printed
            time.sleep(0.1)
            logs = process.run([*docker, "logs", container])
            printed = logs.stdout + logs.stderr
    finally:
        process.run([*docker, "kill", container], check=False)


def test_podman_and_crun_run_it_too(lab: Lab, image: Image) -> None:
    for runner in ("podman", "crun"):
        machine = lab.boot("hello", arm=f"oci+{image.flavour}@{runner}", machine_name=f"load-{image.flavour}-{runner}")
        try:
            assert "ready to serve" in machine.console.text()
        finally:
            machine.stop()
    assert str(lab.store.cache) not in Path("/proc/self/mounts").read_text()
