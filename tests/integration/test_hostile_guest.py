"""What a machine can reach whose kernel is the attacker's: it sends whatever frames it likes to the network that QEMU,
or slirp4netns, makes for it. No guest is booted: this test is the other end of the network card."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from unibeam_nb import process, tools
from unibeam_nb.machine import qemu_arguments, slirp
from unibeam_nb.machine.marks import new_nonce

GUEST_MAC, GUEST, HOST, NAMESERVER = b"\x52\x54\0\x12\x34\x56", "10.0.2.15", "10.0.2.2", "10.0.2.3"
SYN, RST, ACK = 2, 4, 16
PATIENCE = 1.0


@dataclass
class Card:
    """The guest's end of its network: whole Ethernet frames, out and in."""

    send: Callable[[bytes], object]
    wire: socket.socket

    def frames(self, seconds: float) -> Iterator[bytes]:
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self.wire.settimeout(left)
            with contextlib.suppress(TimeoutError):
                yield self.wire.recv(65536)

    def gateway(self) -> bytes:
        """The hardware address at which 10.0.2.2 answers, asked for by ARP (RFC 826)."""
        ask = struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, GUEST_MAC, socket.inet_aton(GUEST), bytes(6),
                          socket.inet_aton(HOST))
        for _ in range(20):
            self.send(b"\xff" * 6 + GUEST_MAC + b"\x08\x06" + ask)
            for frame in self.frames(0.25):
                if frame[12:14] == b"\x08\x06" and frame[28:32] == socket.inet_aton(HOST):
                    return frame[22:28]
        raise AssertionError("the network does not answer")

    def connect(self, address: str, port: int) -> str:
        """What comes of a TCP connection to ``address``: ``open``, ``refused`` or ``silence``."""
        sent = os.getrandom(2)
        ours = 20000 + int.from_bytes(sent, "big") % 20000
        frame = self._ip(address, 6, tcp(GUEST, address, ours, port))
        self.send(frame)
        for answer in self.frames(PATIENCE):
            if answer[12:14] == b"\x08\x06" and answer[38:42] == socket.inet_aton(GUEST):
                self.send(answer[6:12] + GUEST_MAC + b"\x08\x06" + struct.pack(
                    ">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, GUEST_MAC, socket.inet_aton(GUEST), answer[22:28],
                    answer[28:32]))
            if answer[12:14] == b"\x08\0" and answer[23] == 6 and answer[34:38] == struct.pack(">HH", port, ours):
                return "refused" if answer[47] & RST else "open"
        return "silence"

    def asks(self, address: str, port: int) -> bool:
        """Whether a datagram to ``address`` is answered (a question for a name, RFC 1035)."""
        question = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1"
        self.send(self._ip(address, 17, struct.pack(">HHHH", 5353, port, 8 + len(question), 0) + question))
        return any(answer[12:14] == b"\x08\0" and answer[23] == 17 and answer[34:38] == struct.pack(">HH", port, 5353)
                   for answer in self.frames(PATIENCE))

    def _ip(self, address: str, protocol: int, payload: bytes) -> bytes:
        head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, socket.inet_aton(GUEST),
                           socket.inet_aton(address))
        head = head[:10] + checksum(head) + head[12:]
        return self.gateway() + GUEST_MAC + b"\x08\0" + head + payload


def tcp(source: str, aim: str, ours: int, theirs: int) -> bytes:
    """A SYN (RFC 9293)."""
    segment = struct.pack(">HHIIBBHHH", ours, theirs, 1000, 0, 0x50, SYN, 65535, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(aim) + struct.pack(">BBH", 0, 6, len(segment))
    return segment[:16] + checksum(pseudo + segment) + segment[18:]


def checksum(data: bytes) -> bytes:
    """The internet's (RFC 1071)."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~total & 0xFFFF)


@contextlib.contextmanager
def qemu_card(words: tuple[str, ...], place: Path) -> Iterator[Card]:
    """A machine without anything but the network ``words``, whose other end is ours."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire, socket.socket(socket.AF_INET,
                                                                              socket.SOCK_DGRAM) as other:
        wire.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        theirs = other.getsockname()[1]
        other.close()
        child = process.spawn(
            (tools.find(qemu_arguments.PROGRAM), "-M", "none", "-nodefaults", "-display", "none", *words,
             "-netdev", "hubport,id=inside,hubid=0,netdev=net",
             "-netdev", f"socket,id=card,udp=127.0.0.1:{wire.getsockname()[1]},localaddr=127.0.0.1:{theirs}",
             "-netdev", "hubport,id=outside,hubid=0,netdev=card"), cwd=place, stdout=subprocess.DEVNULL)
        try:
            yield Card(lambda frame: wire.sendto(frame, ("127.0.0.1", theirs)), wire)
        finally:
            process.stop_group(child)


@contextlib.contextmanager
def uml_card(place: Path, outgoing: bool = False) -> Iterator[Card]:
    """What User-mode Linux is handed as its network."""
    with (place / "log").open("wb") as log:
        network = slirp.connect(place, new_nonce(), (), GUEST, log, outgoing=outgoing)
    wire = socket.socket(fileno=network.frames)
    try:
        yield Card(wire.send, wire)
    finally:
        wire.close()
        os.close(network.leash)


@contextlib.contextmanager
def listening(address: str) -> Iterator[int]:
    """A service of the host that is nobody else's business."""
    with socket.create_server((address, 0)) as server:
        yield server.getsockname()[1]


def own_address() -> str | None:
    """An address of this host that is not the loopback one."""
    return next((one.address for found in psutil.net_if_addrs().values() for one in found
                 if one.family == socket.AF_INET and not one.address.startswith("127.")), None)


def reached(card: Card) -> dict[str, str]:
    found = {}
    with listening("127.0.0.1") as loopback, listening("0.0.0.0") as everywhere:
        found["the host's loopback, as 10.0.2.2"] = card.connect(HOST, loopback)
        found["the host's loopback, as 127.0.0.1"] = card.connect("127.0.0.1", loopback)
        found["a service of the host on all addresses"] = card.connect(own_address() or HOST, everywhere)
    found["the metadata of a cloud"] = card.connect("169.254.169.254", 80)
    found["the internet"] = card.connect("192.0.2.1", 80)
    found["names"] = "open" if card.asks(NAMESERVER, 53) else "silence"
    return found


CLOSED = {"the host's loopback, as 10.0.2.2", "the host's loopback, as 127.0.0.1",
          "a service of the host on all addresses", "the metadata of a cloud", "the internet", "names"}


@pytest.mark.parametrize("runner", ["qemu", "uml"])
def test_nothing_can_be_reached_out_of_a_machine(runner: str, tmp_path: Path) -> None:
    card = qemu_card(qemu_arguments.network(()), tmp_path) if runner == "qemu" else uml_card(tmp_path)
    with card as guest:
        found = reached(guest)
    assert set(found) == CLOSED
    assert "open" not in found.values(), found


def test_with_outgoing_the_services_of_the_host_can_be_reached_as_is_said(tmp_path: Path) -> None:
    """And thus the test above would see it where something could be reached."""
    with qemu_card(qemu_arguments.network((), outgoing=True), tmp_path) as guest, listening("127.0.0.1") as port:
        assert [guest.connect(HOST, port), guest.connect("127.0.0.1", port)] == ["open", "open"]
    with uml_card(tmp_path, outgoing=True) as guest, listening("127.0.0.1") as port:
        assert [guest.connect(HOST, port), guest.connect("127.0.0.1", port)] == ["open", "open"]
