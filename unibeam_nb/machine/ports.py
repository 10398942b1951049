"""Host ports for machines: chosen and checked before anything starts, on 127.0.0.1."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator, Mapping

from unibeam_nb.arms import Arm
from unibeam_nb.errors import PortInUse, UsageError


@contextlib.contextmanager
def claimed(ports: Iterable[int]) -> Iterator[None]:
    """Keep other boots on this host away from ``ports`` until the machine itself has bound them.

    A claim is a socket in the abstract namespace of unix(7): it is seen by every user, belongs to one network
    namespace just as a port does, and is gone with its process. Raises PortInUse where somebody was quicker.
    """
    with contextlib.ExitStack() as stack:
        for port in ports:
            claim = _claim(port)
            if claim is None:
                raise PortInUse(f"Port {port} on 127.0.0.1 is in use by a machine that is just being booted.",
                                "Boot again, or let a free port be chosen.")
            stack.enter_context(claim)
        yield


def _claim(port: int) -> socket.socket | None:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0unibeam-port-{port}")
    except OSError:
        claim.close()
        return None
    return claim


def is_free(port: int) -> bool:
    """Whether a program could listen on this port now, on 127.0.0.1 as on all addresses, and no machine that is
    just being booted is about to."""
    claim = _claim(port)
    if claim is None:
        return False
    claim.close()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # nosec B104 # to learn whether it is free
            # Linux lets two sockets with SO_REUSEADDR bind the same port; only one may listen.
            probe.listen(1)
        except PermissionError:
            raise UsageError(f"Port {port} may be opened by root only.", "Choose a port from 1024 up.") from None
        except OSError:
            return False
    return True


def any_free(taken: Iterable[int] = ()) -> int:
    """A port that is free now and not in ``taken``."""
    avoided = set(taken)
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("0.0.0.0", 0))  # nosec B104 # to learn which one is free
            port = int(probe.getsockname()[1])
        if port not in avoided:
            return port


def settle(wanted: Iterable[tuple[int, int]], arm: Arm, taken: Mapping[int, str]) -> tuple[tuple[int, int], ...]:
    """The pairs (host, guest) a machine gets for the pairs it wants, in which host 0 means a free one.

    ``taken`` maps host ports that running machines own to their names. A program that shares the host's
    network binds the port itself: it gets the declared one where that is free, and is told another one only for
    its first port, by ``PORT``. A machine at an address of its own keeps its ports. Raises PortInUse, UsageError.
    """
    pairs: list[tuple[int, int]] = []
    for index, (host, guest) in enumerate(wanted):
        if arm.linked:
            if host not in (0, guest):
                raise UsageError(f"{arm.runner} cannot turn port {guest} into {host}.",
                                 "The machine answers at an address of its own: leave the host's port out.")
            pairs.append((guest, guest))
            continue
        avoided = dict(taken) | {port: "this machine" for port, _ in pairs}
        if not arm.own_network:
            if index and host not in (0, guest):
                raise UsageError(f"{arm.runner} cannot turn port {guest} into {host}.",
                                 "The program binds the host's ports itself and learns only its first one, from PORT.")
            if host == 0:
                host = guest if index or _available(guest, avoided) else any_free(avoided)
        elif host == 0:
            host = any_free(avoided)
        if not _available(host, avoided):
            raise PortInUse(f"Port {host} on 127.0.0.1 is in use{_by(host, avoided)}.",
                            _advice(host, guest, taken))
        pairs.append((host, guest))
    return tuple(pairs)


def _available(port: int, taken: Mapping[int, str]) -> bool:
    return port not in taken and is_free(port)


def _by(port: int, taken: Mapping[int, str]) -> str:
    if port in taken:
        owner = taken[port]
        return f" by {owner}" if owner == "this machine" else f" by the machine {owner}"
    owner = listener(port)
    return f" by {owner}" if owner else ""


def _advice(port: int, guest: int, taken: Mapping[int, str]) -> str:
    if taken.get(port):
        return f"Stop it with 'unibeam stop {taken[port]}', or let a free port be chosen with --port 0:{guest}."
    return f"Stop that program, or let a free port be chosen with --port 0:{guest}."


def listener(port: int) -> str:
    """Who listens on this TCP port, for example ``nginx (pid 321)``; empty where we may not know."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port and found.pid:
                return f"{psutil.Process(found.pid).name()} (pid {found.pid})"
    return ""
