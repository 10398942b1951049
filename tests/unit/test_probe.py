"""The first good answer, asked over real sockets."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from unibeam_nb.machine import ports
from unibeam_nb.machine.probe import Prober, ask
from unibeam_nb.model import Probe


@contextmanager
def server(answer: Callable[[socket.socket], None], port: int = 0) -> Iterator[int]:
    """A server that hands each connection to ``answer`` and closes it."""
    listener = socket.create_server(("127.0.0.1", port))
    listener.settimeout(0.05)
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        done.set()
        thread.join()
        listener.close()


def says(text: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(text)

    return answer


@pytest.mark.parametrize(("status", "good"), [(200, True), (204, True), (302, True), (404, False), (503, False)])
def test_a_status_below_400_is_a_good_answer(status: int, good: bool) -> None:
    with server(says(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())) as port:
        assert (ask(Probe(80), port, 2.0) is not None) is good


def test_what_is_no_http_is_no_good_answer() -> None:
    with server(says(b"220 smtp ready\r\n")) as port:
        assert not ask(Probe(80), port, 2.0)


def test_a_refused_connection_is_no_good_answer() -> None:
    assert not ask(Probe(80), ports.any_free(), 2.0)


def test_a_tcp_connection_that_stays_open_is_a_good_answer() -> None:
    with server(lambda connection: time.sleep(0.3)) as port:
        assert ask(Probe(80, "tcp"), port, 2.0)


def test_a_tcp_connection_that_is_hung_up_on_is_not() -> None:
    with server(lambda connection: None) as port:
        assert not ask(Probe(80, "tcp"), port, 2.0)


def test_a_ready_program_is_asked_within_milliseconds() -> None:
    port = ports.any_free()
    with Prober(Probe(80), port) as prober:
        prober.heard("app")
        time.sleep(0.1)
        assert prober.answered is None
        began = time.monotonic()
        with server(says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), port):
            assert select.select([prober.fileno()], [], [], 5.0)[0]
    assert prober.answered is not None
    assert 0 < prober.answered - began < 0.5


def test_a_program_that_never_says_it_is_ready_is_asked_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unibeam_nb.machine.probe.AFTER_BEAM", 0.2)
    monkeypatch.setattr("unibeam_nb.machine.probe.EARLY", 0.05)
    with server(says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as port, Prober(Probe(80), port) as prober:
        time.sleep(0.15)
        assert prober.answered is None
        heard = time.monotonic()
        prober.heard("beam")
        assert select.select([prober.fileno()], [], [], 5.0)[0]
        assert prober.answered is not None
        assert prober.answered - heard >= 0.2
