"""docker's and dockerd's command lines. Pure: values in, words out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unibeam_nb.machine.podman_arguments import HOST, OWNER, environment
from unibeam_nb.model import IMAGE_STATE


@dataclass(frozen=True)
class Places:
    """Where a daemon of our own keeps things: ``root`` images and containers, ``run`` what ends with the host's boot,
    whose path must be short, since sockets lie in it (unix(7))."""

    root: Path
    run: Path

    @property
    def address(self) -> str:
        """What DOCKER_HOST would be."""
        return f"unix://{self.run / 'docker.sock'}"


KEEP = ('mkdir -p /run/containerd && mount -t tmpfs -o mode=711 containerd /run/containerd && { "$@" & daemon=$!; '
        'while kill -0 $daemon 2>&-; do wait $daemon; done; }')
"""What runs the daemon, as the first process of a PID namespace: containerd's sockets stay in sight of it alone, and
the processes that lost their parent are waited for."""


def pidfile(places: Places) -> Path:
    """Where a daemon writes its process id."""
    return places.run / "docker.pid"


def daemon(program: Path, places: Places, configuration: Path) -> tuple[str, ...]:
    """A daemon that leaves nothing behind: mounts and processes end with its namespaces, and the host's network is
    neither given a bridge nor a firewall."""
    return ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=SIGKILL",
            "--mount-proc", "sh", "-c", KEEP, "sh",
            str(program), "--config-file", str(configuration), "--data-root", str(places.root),
            "--exec-root", str(places.run / "exec"), "--pidfile", str(pidfile(places)),
            "--host", places.address, "--bridge=none", "--iptables=false", "--ip6tables=false",
            "--ip-forward=false", "--ip-masq=false", "--log-level", "warn")


def run(image: str, name: str, owner: str, argv: Sequence[str], env: Mapping[str, str], mem_mb: int,
        network: Sequence[str] = HOST, variables: Path | None = None) -> tuple[str, ...]:
    """Run ``argv`` in the foreground; the container is removed when it ends. ``mem_mb`` is a limit in MiB, swap
    included; the cgroup lies in one named like the container. The limit of open files is that of the other runners.
    ``variables`` is a file of more variables.
    """
    return ("run", "--rm", "--name", name, "--label", f"{OWNER}={owner}", "--pull", "never", *network,
            "--log-driver", "none", "--cgroup-parent", f"/{name}", "--memory", f"{mem_mb}m",
            "--memory-swap", f"{mem_mb}m", "--ulimit", "nofile=20000:20000", *environment(env, variables),
            "--workdir", IMAGE_STATE, "--entrypoint", argv[0], image, *argv[1:])


def make_bridge(network: str, device: str) -> tuple[str, ...]:
    """Make a bridge that containers can be on; ``device`` is what the host calls it."""
    return ("network", "create", "--driver", "bridge", "--opt", f"com.docker.network.bridge.name={device}", network)


def owned(owner: str) -> tuple[str, ...]:
    """List the names of all containers of one owner, running or not."""
    return ("ps", "--all", "--filter", f"label={OWNER}={owner}", "--format", "{{.Names}}")


def remove(name: str) -> tuple[str, ...]:
    """Remove a container whatever state it is in."""
    return ("rm", "--force", name)
