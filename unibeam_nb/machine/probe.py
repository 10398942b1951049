"""The first good answer of a machine, asked from outside: the mark ``http``.

A thread asks the machine every few milliseconds once the program said ``app``, and leaves the host time of the first
good answer. A program may also answer without ever saying so: some seconds after ``beam``, when the guest's
network is certainly up, it is asked now and then anyway. Asking a guest without a network would not be
refused but hang, and delay the very answer that is being timed.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import time
from types import TracebackType

from unibeam_nb.machine.link import LOOPBACK
from unibeam_nb.model import READY, Probe

EARLY, QUICK, LATER = 0.5, 0.003, 0.02
"""Seconds between two questions: before ``app``, in the first two seconds after it, and from then on."""

AFTER_BEAM, AT_LAST = 3.0, 20.0
"""Without ``app``, asking begins these many seconds after ``beam``, or after the start where there is none."""

PATIENCE = 5.0
"""An answer may take this many seconds: guests under emulation are slow, and one that is hung up on may crash."""


def ask(probe: Probe, port: int, patience: float, address: str = LOOPBACK) -> float | None:
    """The host's monotonic clock when one question was answered well, or None where it was not within ``patience``
    seconds. Nothing is raised: a refused or broken connection, or none, is a bad answer."""
    try:
        if probe.scheme == "tcp":
            return _stays_open(address, port, patience)
        connection = _connection(probe, address, port, patience)
        try:
            connection.request("GET", probe.path, headers={"Connection": "close", "Accept": "*/*"})
            good = connection.getresponse().status < 400
            return time.monotonic() if good else None
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return None


def _connection(probe: Probe, address: str, port: int, patience: float) -> http.client.HTTPConnection:
    if probe.scheme == "http":
        return http.client.HTTPConnection(address, port, timeout=patience)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # A machine made a minute ago has no certificate anybody could verify.
    return http.client.HTTPSConnection(address, port, timeout=patience, context=context)


def _stays_open(address: str, port: int, patience: float) -> float | None:
    """QEMU's user network accepts before the guest does and hangs up when the guest refuses: a connection
    counts, from the instant it was there, when it is still open, or has sent something, a quarter of a second
    later."""
    with socket.create_connection((address, port), timeout=patience) as connection:
        connected = time.monotonic()
        connection.settimeout(0.25)
        try:
            return connected if connection.recv(1) else None
        except TimeoutError:
            return connected


class Prober:
    """Asks on a thread of its own. ``fileno`` becomes readable at the first good answer, whose host monotonic
    clock is then in ``answered``."""

    def __init__(self, probe: Probe, port: int, address: str = LOOPBACK) -> None:
        self.answered: float | None = None
        self._probe, self._port, self._address = probe, port, address
        self._early = time.monotonic() + AT_LAST
        self._ready, self._stop = threading.Event(), threading.Event()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="unibeam-probe", daemon=True)

    def __enter__(self) -> Prober:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stop.set()
        self._ready.set()
        self._thread.join(PATIENCE + 1)
        os.close(self._event)

    def fileno(self) -> int:
        return self._event

    def heard(self, mark: str) -> None:
        """The machine gave a mark: after ``app`` it is asked quickly."""
        if mark == "beam":
            self._early = min(self._early, time.monotonic() + AFTER_BEAM)
        elif mark in READY:
            self._ready.set()

    def _run(self) -> None:
        while not self._ready.wait(EARLY):
            # A mere connection says nothing before `app`: QEMU's user network accepts on the guest's behalf.
            if self._probe.scheme != "tcp" and time.monotonic() >= self._early and self._good():
                return
        quick_until = time.monotonic() + 2.0
        while not self._stop.is_set() and not self._good():
            self._stop.wait(QUICK if time.monotonic() < quick_until else LATER)

    def _good(self) -> bool:
        answered = ask(self._probe, self._port, PATIENCE, self._address)
        if answered is None:
            return False
        self.answered = answered
        os.eventfd_write(self._event, 1)
        return True
