"""The client's end of a machine's channel; its other end is guest/unibeam_channel.erl.

A message is four bytes of length and a term. One connection lives for one command: nothing goes stale, and closing it,
as Ctrl-C does, ends what it asked for.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from unibeam_nb.errors import MachineError
from unibeam_nb.machine import Machine, door
from unibeam_nb.progress import checkpoint
from unibeam_nb.release.terms import Atom
from unibeam_nb.talk.etf import decode, encode

MESSAGE_BYTES = 1 << 24
"""The longest message either end takes."""

PATIENCE = 30.0
"""Seconds for anything that only takes as long as the machine does; emulation may be slow."""


class Channel:
    """An open, accepted connection. ``otp`` is the machine's OTP release, ``inside`` the digest of the module it was
    sent before (empty where it was sent none)."""

    def __init__(self, name: str, connection: socket.socket) -> None:
        self._name, self._connection = name, connection
        self.otp, self.inside = "", b""

    def greet(self, secret: str) -> None:
        """Say the secret. Raises MachineError where it is refused."""
        answer = self._exchange(secret.encode("ascii"), PATIENCE)
        match answer:
            case ("ok", (bytes(otp), bytes(inside))):
                self.otp, self.inside = otp.decode("ascii", "replace"), inside
            case ("error", b"refused"):
                raise MachineError(f"{self._name} refuses the secret of its channel.", "Boot it again with --channel.")
            case _:
                raise self._senseless()

    def call(self, module: str, function: str, arguments: list[Any], patience: float = PATIENCE) -> Any:
        """What ``module:function(arguments...)`` returns in the machine.

        Raises MachineError where the call fails or takes longer than ``patience`` seconds, and Cancelled.
        """
        message = encode((Atom(module), Atom(function), arguments))
        if len(message) > MESSAGE_BYTES:
            raise MachineError(f"That is more than a machine takes at once ({len(message)} bytes).",
                               f"Send less than {MESSAGE_BYTES >> 20} MB.")
        match self._exchange(message, patience):
            case ("ok", result):
                return result
            case ("error", bytes(reason)):
                raise MachineError(f"{self._name} cannot do that.", "Its own words are above.",
                                   reason.decode("utf-8", "replace").splitlines())
            case _:
                raise self._senseless()

    def _exchange(self, message: bytes, patience: float) -> Any:
        until = time.monotonic() + patience
        try:
            self._connection.settimeout(PATIENCE)
            self._connection.sendall(len(message).to_bytes(4, "big") + message)
            length = int.from_bytes(self._receive(4, until), "big")
            if length > MESSAGE_BYTES:
                raise self._senseless()
            return decode(self._receive(length, until))
        except (ConnectionError, TimeoutError) as error:
            raise MachineError(f"{self._name} hung up.", f"Look at its console: unibeam logs {self._name}") from error

    def _receive(self, count: int, until: float) -> bytes:
        data = bytearray()
        while len(data) < count:
            checkpoint()
            left = until - time.monotonic()
            if left <= 0:
                raise MachineError(f"{self._name} did not answer in time.",
                                   "Give it longer with --deadline, or look at its console.")
            if select.select([self._connection], [], [], min(left, 0.1))[0]:
                piece = self._connection.recv(min(count - len(data), 1 << 20))
                if not piece:
                    raise ConnectionResetError
                data += piece
        return bytes(data)

    def _senseless(self) -> MachineError:
        return MachineError(f"What answers at the channel of {self._name} is not its agent.", "Boot it again.")


@contextmanager
def channel_to(machine: Machine) -> Iterator[Channel]:
    """The channel of a running machine. Raises MachineError where it has none or does not answer."""
    secret = door.secret_of(machine.directory)
    if not machine.alive:
        raise MachineError(f"{machine.name} is not running.", "One can talk to a machine only while it runs.")
    if machine.channel is None or secret is None:
        raise MachineError(f"{machine.name} was booted without a channel.",
                           f"Boot it with --channel: unibeam boot {machine.image_name} --channel")
    connection = _connect(machine, machine.channel)
    with contextlib.closing(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel = Channel(machine.name, connection)
        channel.greet(secret)
        yield channel


def _connect(machine: Machine, port: int) -> socket.socket:
    try:
        return socket.create_connection((machine.address, port), timeout=PATIENCE)
    except OSError as error:
        raise MachineError(f"The channel of {machine.name} does not answer.",
                           f"Look at its console: unibeam logs {machine.name}") from error
