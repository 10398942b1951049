"""Ports are settled before anything starts."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from unibeam_nb.arms import parse_arm
from unibeam_nb.errors import PortInUse, UsageError
from unibeam_nb.machine import ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def test_a_listener_is_seen_and_named(taken: int) -> None:
    assert not ports.is_free(taken)
    assert f"(pid {os.getpid()})" in ports.listener(taken)


def test_a_virtual_machine_gets_free_host_ports() -> None:
    (first, a), (second, b) = ports.settle([(0, 80), (0, 443)], parse_arm("qemu"), {})
    assert (a, b) == (80, 443)
    assert first != second
    assert min(first, second) >= 1024


def test_a_wanted_port_in_use_names_port_and_owner(taken: int) -> None:
    with pytest.raises(PortInUse) as caught:
        ports.settle([(taken, 80)], parse_arm("qemu"), {})
    owner = ports.listener(taken)
    assert str(caught.value) == (
        f"Port {taken} on 127.0.0.1 is in use by {owner}.\n"
        "  Hint: Stop that program, or let a free port be chosen with --port 0:80.")


def test_a_port_of_a_running_machine_names_the_machine() -> None:
    port = ports.any_free()
    with pytest.raises(PortInUse) as caught:
        ports.settle([(port, 80)], parse_arm("qemu"), {port: "hello"})
    assert str(caught.value) == (
        f"Port {port} on 127.0.0.1 is in use by the machine hello.\n"
        "  Hint: Stop it with 'unibeam stop hello', or let a free port be chosen with --port 0:80.")


@pytest.mark.parametrize("runner", ["process", "podman", "crun", "runc"])
def test_on_the_hosts_network_the_declared_port_is_kept_where_it_is_free(runner: str) -> None:
    port = ports.any_free()
    assert ports.settle([(0, port)], parse_arm(runner), {}) == ((port, port),)


def test_on_the_hosts_network_the_first_port_gives_way_and_others_cannot(taken: int) -> None:
    (host, guest), = ports.settle([(0, taken)], parse_arm("process"), {})
    assert guest == taken != host
    with pytest.raises(PortInUse):
        ports.settle([(0, ports.any_free()), (0, taken)], parse_arm("process"), {})


def test_on_the_hosts_network_a_second_port_cannot_be_mapped() -> None:
    with pytest.raises(UsageError) as caught:
        ports.settle([(0, ports.any_free()), (9443, 8443)], parse_arm("podman"), {})
    assert caught.value.message == "podman cannot turn port 8443 into 9443."


def test_one_host_port_is_not_given_twice() -> None:
    port = ports.any_free()
    with pytest.raises(PortInUse, match="in use by this machine"):
        ports.settle([(port, 80), (port, 443)], parse_arm("qemu"), {})
