"""podman's command lines and configuration. Pure: values in, words and text out.

Everything podman keeps is private to us (``--root``, ``--runroot``, ``--tmpdir``), so that the user's own
containers are neither seen nor touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.errors import UsageError
from unibeam_nb.model import IMAGE_STATE

PIDFILE, CONMON_PIDFILE, VARIABLES = "container.pid", "conmon.pid", "variables"

OWNER = "unibeam.owner"
"""The label that says whose container it is: two registries may share one cache of images."""

CONFIGURATION = """\
# Written by unibeam, for its private containers only.
[containers]
# The built-in limits are higher than a root without CAP_SYS_RESOURCE may ask for.
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]

[engine]
runtime = "crun"
events_logger = "none"
cgroup_manager = "cgroupfs"

[network]
network_config_dir = "{networks}"
"""

HOST = ("--network", "host")
"""The words for the host's own network: the program's ports are the host's, and nothing is forwarded."""

BRIDGE_NAME = "unibeam"
"""What a bridge of ours is called in an engine of ours."""

POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}\n'
"""containers-policy.json(5): the images are our own, from this disk, and carry no signatures."""


@dataclass(frozen=True)
class Places:
    """Where our podman keeps things: ``root`` images and containers, ``run`` what ends with the host's boot.
    ``configuration`` is what CONTAINERS_CONF names, ``networks`` where bridges are described."""

    root: Path
    run: Path
    configuration: Path
    policy: Path
    networks: Path


def base(program: Path, places: Places) -> tuple[str, ...]:
    """The words that every call begins with."""
    return (str(program), "--root", str(places.root), "--runroot", str(places.run / "run"),
            "--tmpdir", str(places.run / "tmp"))


def pull(layout: str, policy: Path) -> tuple[str, ...]:
    """Load an OCI image layout, a directory by its name inside the working directory; podman prints its id last.

    podman 4 makes a repository's name of the path it is given, and refuses one with a capital letter in it: a
    whole path would depend on where the user's cache happens to lie.
    """
    return ("pull", "--quiet", "--signature-policy", str(policy), f"oci:{layout}")


def run(image: str, name: str, owner: str, argv: Sequence[str], env: Mapping[str, str], *,
        directory: Path | None = None, cgroups: bool = True, mem_mb: int | None = None,
        network: Sequence[str] = HOST, variables: Path | None = None, shell: bool = False) -> tuple[str, ...]:
    """Run ``argv`` in the foreground; the container is removed when it ends.

    ``owner`` says whose registry of machines it belongs to. ``directory`` is where the pids of the container and
    its monitor are left. ``mem_mb`` is a limit in MiB, which cannot be kept without ``cgroups``; the cgroup
    lies in one named like the container, which is removed with it. ``variables`` is a file of more variables
    (:func:`listed`), since a command line is for everybody to read. With ``shell`` standard input is handed on.
    """
    limit = ("--memory", f"{mem_mb}m", "--memory-swap", f"{mem_mb}m") if cgroups and mem_mb else ()
    pids = () if directory is None else ("--pidfile", str(directory / PIDFILE),
                                         "--conmon-pidfile", str(directory / CONMON_PIDFILE))
    return ("run", "--rm", "--name", name, "--label", f"{OWNER}={owner}", "--pull", "never", *network,
            "--log-driver", "none", *(("--interactive",) if shell else ()),
            *(("--cgroup-parent", f"/{name}") if cgroups else ("--cgroups", "disabled")), *limit, *pids,
            *environment(env, variables), "--workdir", IMAGE_STATE,
            "--entrypoint", json.dumps(list(argv[:1])), image, *argv[1:])


def environment(env: Mapping[str, str], variables: Path | None = None) -> tuple[str, ...]:
    """The words for a container's environment: ``env``, and what stands in the file ``variables``. They are docker's
    too."""
    return (*(word for key, value in env.items() for word in ("--env", f"{key}={value}")),
            *(("--env-file", str(variables)) if variables else ()))


def listed(variables: Mapping[str, str]) -> str:
    """The file that tells an engine of variables. Raises UsageError for a value that does not fit into a line."""
    for key, value in variables.items():
        if "\n" in value or "\r" in value:
            raise UsageError(f"The value of {key} cannot be handed to a container engine.",
                             "There it is one line: boot on crun, or pass it without line breaks.")
    return "".join(f"{key}={value}\n" for key, value in variables.items())


def bridged(network: str, ports: Iterable[tuple[int, int]]) -> tuple[str, ...]:
    """The words for a bridge called ``network`` with ``ports`` (host, guest) published on the loopback address. They
    are docker's too."""
    return ("--network", network, *(word for host, guest in ports
                                    for word in ("--publish", f"127.0.0.1:{host}:{guest}")))


def make_bridge(network: str) -> tuple[str, ...]:
    """Make a bridge that containers can be on. There is no name server on it: nothing there has a name."""
    return ("network", "create", "--disable-dns", network)


def owned(owner: str) -> tuple[str, ...]:
    """List the names of all containers of one owner, running or not."""
    return ("ps", "--all", "--filter", f"label={OWNER}={owner}", "--format", "{{.Names}}")


def remove(name: str) -> tuple[str, ...]:
    """Remove a container whatever state it is in; no error when there is none."""
    return ("rm", "--force", "--ignore", "--time", "0", name)
