"""What people type, what consoles say, and what machines answer."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import Any

from tests.fuzz import shapes
from tests.fuzz.shapes import Name
from tests.fuzz.target import Judge, Target, Verdict, _timed, text_of
from unibeam_nb.arms import Arm
from unibeam_nb.bench.plan import parse_labelled
from unibeam_nb.bench.probes import wrk
from unibeam_nb.lab.words import parse_env, parse_port
from unibeam_nb.machine import diagnose, probe
from unibeam_nb.machine.console import plain
from unibeam_nb.machine.marks import MarkReader, code_of, memory_of, times_told, with_kernel
from unibeam_nb.model import Probe
from unibeam_nb.notebook.commands import COMMANDS
from unibeam_nb.notebook.completion import candidates
from unibeam_nb.notebook.parser import parse, split_line
from unibeam_nb.release.cell import in_cell_order, language_of, units
from unibeam_nb.release.shake.missing import undefined
from unibeam_nb.talk import channel, etf, evaluating, looking, reloading
from unibeam_nb.talk.values import python

NONCE = "0123456789abcdef"


# ---- what people type ---------------------------------------------------------------------------------------------


def _lines() -> Sequence[bytes]:
    """Every example of every command, and odd ones."""
    listed = [example.encode() for command in COMMANDS.values() for example in command.examples]
    return [
        *listed,
        b"bench hello --against oci+slim@podman,release@process -n 30",
        b"boot hello --env A='b c' --flag '+S 1:1' --",
        b"build hello --from - --port 8080 --port=9000:80",
        b"help boot",
        b"boot -h",
    ]


class _Nothing:
    def of(self, _what: str) -> tuple[str, ...]:
        return ("hello", "hello-1")


def _line(data: bytes) -> None:
    """A line as Tab, the magic and the shell have it. What one of them refuses, the others still see."""
    text = text_of(data)
    candidates(f"%unibeam {text}", _Nothing())
    if len(text) & 1:
        repr(parse(text.split(" ")))
    else:
        repr(parse(split_line(text), "body" if len(text) & 2 else None, "%%unibeam"))


def _small(data: bytes) -> None:
    """Arms, ports, environments, probes: each is read, whatever the one before it was."""
    text = text_of(data)
    kinds: tuple[Callable[[str], object], ...] = (
        Arm.parse,
        parse_labelled,
        parse_port,
        parse_env,
        lambda t: Probe.parse(t, (80,)),
    )
    kinds[len(text) % len(kinds)](text)


def _cell(data: bytes) -> None:
    text = text_of(data)
    language = language_of(text)
    made = units(text, language)
    in_cell_order(text, language, [unit.filename for unit in made])
    undefined(text)


# ---- consoles -----------------------------------------------------------------------------------------------------

CONSOLE = (
    f"SeaBIOS\r\n[    0.0] Linux\r\n@unibeam {NONCE} init 1200000000 tsc=1300000000\r\n"
    f"@unibeam {NONCE} beam 1900000000\r\n\x1b[1mhello\x1b[0m \x1b]0;title\x07\r\n"
    f"@unibeam {NONCE} app 2500000000 memory=12000000\r\n"
    f"Kernel panic - not syncing: no\r\n@unibeam {NONCE} exit code=1\r\n"
).encode()
SHOWN = (
    b"@unibeam ",
    NONCE.encode(),
    b" app ",
    b" exit",
    b" 9" * 9,
    b"=",
    b" code=",
    b" memory=",
    b" tsc=",
    b"\r",
    b"\n",
    b"\x1b[",
    b"\x1b]",
    b"\x07",
    b"\x1b\\",
    b"\x9b",
    b"\xe2\x80\xae",
    b"\xff",
    b"\x00",
    b"init terminating",
    b"Could not set up host forwarding rule '127.0.0.1:80",
    b"{undef,[{m,f,[],[]}",
    b"[backtrace]",
    b"out of memory",
    b"99999999999999999999999",
    b";",
    b" ",
)


def _console(data: bytes) -> None:
    text = plain(data)
    bad = [c for c in text if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 or "\u202a" <= c <= "\u202e"]
    if bad:
        raise AssertionError(f"a control character is shown: {bad[0]!r}")
    lines = diagnose.lines_of([text])
    seen = diagnose.Evidence(
        name="hello",
        runner="qemu",
        until="app",
        deadline=5.0,
        mem_mb=64,
        image_mb=20,
        limited=True,
        console=lines,
        vmm=lines[:3],
        left_out=frozenset({"m"}),
        ended=bool(len(data) & 1),
        osv=bool(len(data) & 2),
    )
    str(diagnose.explain(seen))


def _marks(data: bytes) -> None:
    """The stream in pieces of many sizes gives the same marks as at once, and nothing forged."""
    whole, parts = MarkReader(NONCE, 0.0), MarkReader(NONCE, 0.0, counted=bool(len(data) & 1))
    whole.feed(data, 5.0)
    step = 1 + len(data) // 7
    for at in range(0, len(data), step):
        parts.feed(data[at : at + step], 5.0 + at)
    if len(data) < 60000 and list(whole.marks) != list(parts.marks):
        raise AssertionError("marks depend on how the stream is cut")
    with_kernel(parts.marks)
    code_of(parts.values), memory_of(parts.values), times_told(data, NONCE, "app")


WRK = (
    b"Running 5s test @ http://127.0.0.1:8080/\n  1 threads and 8 connections\n  Latency Distribution\n"
    b"     50%  123.00us\n"
    b"     75%    1.20ms\n     90%    2.40ms\n     99%    1.01s \n  12345 requests in 5.00s, 1.1MB read\n"
    b"  Socket errors: connect 0, read 1, write 2, timeout 3\n  Non-2xx or 3xx responses: 4\nRequests/sec:   2469.00\n"
)


# ---- answers ------------------------------------------------------------------------------------------------------

VALUE: Any = (
    Name("ok"),
    [1, 2.5, -(1 << 70), b"text", "more", [104, 105]],
    {"a": Name("true"), (1, (2,)): {}},
    ("$unibeam", b"<0.1.0>"),
)
ANSWERS: tuple[Any, ...] = (
    (Name("value"), b"text", shapes.etf(VALUE), b"printed\n", 1234),
    (Name("exception"), b"error", b"badarg", [b"m:f/1"], b""),
    (Name("stopped"), b"out"),
    (Name("died"), b"killed", b""),
    (Name("unloadable"), b"badfile"),
)
TOPS: tuple[Any, ...] = (
    (
        [
            (b"interval_us", 500000),
            (b"processes", 40),
            (b"ports", 3),
            (b"atoms", 9000),
            (b"schedulers", 1),
            (b"run_queue", 0),
            (b"uptime_ms", 12345),
            (b"memory", [(b"total", 12000000), (b"binary", 40000)]),
        ],
        [(b"<0.1.0>", b"init", b"init:loop/1", 2800, 1000, 10, 0), (b"<0.2.0>", b"", b"a:b/1", 1, 2, 3, 4)],
    ),
)
RELOADS: tuple[Any, ...] = (
    (Name("ok"), [(b"m", Name("replaced")), (b"n", Name("new"))], [(b"m", b"<0.9.0>", b"name", b"m:f/0")]),
    (Name("busy"), [(b"m", b"<0.9.0>", b"name", b"m:f/0")]),
    (Name("error"), [(b"m", b"not_purged")]),
)
TERM = (
    b"\x83",
    b"h\x02",
    b"l\0\0\0\x01",
    b"j",
    b"w\x02ok",
    b"m\0\0\0\x04",
    b"t\0\0\0\x01",
    b"n\x08\0",
    b"o\0\0\0\xff\x01",
    b"F\x7f\xf0\0\0\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"k\0\x02",
    b"\x83P\0\0\xff\xff\x78\x9c",
    b"a\x01",
    b"b\xff\xff\xff\xff",
    b"v\0\x01a",
)
MACHINE: Any = SimpleNamespace(name="hello-1")


def _term(data: bytes) -> None:
    value = etf.decode(data)
    for language in ("erlang", "elixir"):
        repr(python(value, language))


def _answer(data: bytes) -> None:
    repr(evaluating._outcome(MACHINE, "elixir", etf.decode(data), 5.0, 0.0))


def _top(data: bytes) -> None:
    repr(looking.told("hello-1", "memory", etf.decode(data)))


def _reload(data: bytes) -> None:
    repr(reloading.told("hello-1", etf.decode(data)))


def _session(data: bytes) -> None:
    repr(evaluating.session_told("hello-1", etf.decode(data)))


def _channel(data: bytes) -> None:
    """What something that is not the agent may send on its channel."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        theirs.sendall(data[: 1 << 16])
        theirs.shutdown(socket.SHUT_WR)
        talk = channel.Channel("hello-1", ours)
        talk.greet("0" * 64)
        repr(talk.call("m", "f", []))


def _framed(random: Random, _seed: bytes) -> bytes:
    first = shapes.etf(
        shapes.changed(random, (Name("ok"), (b"25", b"digest")))
        if random.random() < 0.5
        else (Name("ok"), (b"25", b"digest"))
    )
    second = shapes.etf(shapes.changed(random, random.choice(((Name("ok"), VALUE), (Name("error"), b"no")))))
    return b"".join(len(one).to_bytes(4, "big") + one for one in (first, second))


HTTP = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    b"HTTP/1.0 404 Not Found\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
)


@contextmanager
def _asked() -> Iterator[Judge]:
    """A server on the loopback interface that answers what it is told to."""
    listener = socket.create_server(("127.0.0.1", 0))
    answer = b""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(2.0)
                connection.recv(4096)
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with _timed() as clock:

        def judge(inputs: Sequence[bytes]) -> list[Verdict]:
            nonlocal answer
            found = []
            for answer in inputs:
                found.append(clock(lambda _: probe.ask(Probe(1), listener.getsockname()[1], 2.0), answer))
            return found

        try:
            yield judge
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join(5)


def _cells() -> Sequence[bytes]:
    return [
        b"-module(hello).\n-export([start/0]).\nstart() -> io:format(\"hi~n\").\n-module('b c').\nx() -> 1.\n",
        b'defmodule Hello do\n  def start, do: IO.puts("hi")\n  defmodule In do\n  end\nend\n',
        b"{undef,[{m,f,[],[]}]} function Elixir.M:f/0 is undefined",
    ]


TARGETS = (
    Target(
        "line",
        _lines,
        _line,
        words=(
            b"--",
            b"-",
            b"=",
            b"'",
            b'"',
            b"\\",
            b" ",
            b"$x",
            b"{x}",
            b"-n",
            b"--port",
            b"--mem",
            b"--env",
            b"--against",
            b"boot",
            b"build",
            b"bench",
            b"chart",
            b"\n",
            b"\x00",
            b"-1",
            b"1e9",
            b"nan",
            "\u00b2".encode(),
            "\u0663".encode(),
        ),
        share=15,
        longest=1 << 13,
    ),
    Target(
        "small-words",
        lambda: [
            b"linux+tiny+resume@qemu",
            b"a=oci+slim@podman",
            b"9000:8080",
            b"KEY=VALUE",
            b"https:8443/x",
            b"tcp:5672",
            b"release@process",
        ],
        _small,
        words=(b"+", b"@", b"=", b":", b"/", b"linux", b"oci", b"qemu", "\u0663".encode(), b"\n", b" ", b"99999"),
        share=130,
        longest=1 << 12,
    ),
    Target(
        "cell",
        _cells,
        _cell,
        words=(b"-module(", b").", b"'", b"\\", b"defmodule ", b"\n", b" ", b"\t", b"undef", b"{", b"- ", b"function "),
        share=50,
        longest=1 << 15,
    ),
    Target("console", lambda: [CONSOLE], _console, words=SHOWN, share=10, longest=1 << 16),
    Target("marks", lambda: [CONSOLE], _marks, words=SHOWN, share=60, longest=1 << 16),
    Target(
        "wrk",
        lambda: [WRK],
        lambda data: wrk.parse(text_of(data)),
        share=60,
        longest=1 << 14,
        words=(
            b"%",
            b"us",
            b"ms",
            b"s",
            b"h",
            b".",
            b"..",
            b"requests in",
            b"Requests/sec:",
            b"\n",
            b" ",
            "\u0663".encode(),
        ),
    ),
    Target(
        "term",
        lambda: [shapes.etf(VALUE), shapes.etf([1, 2])],
        _term,
        words=TERM,
        shape=shapes.terms(VALUE),
        share=110,
        longest=1 << 15,
    ),
    Target(
        "answer-evaluated",
        lambda: [shapes.etf(one) for one in ANSWERS],
        _answer,
        words=TERM,
        shape=shapes.terms(*ANSWERS),
        share=70,
        longest=1 << 15,
    ),
    Target(
        "answer-top",
        lambda: [shapes.etf(one) for one in TOPS],
        _top,
        words=TERM,
        shape=shapes.terms(*TOPS),
        share=60,
        longest=1 << 15,
    ),
    Target(
        "answer-reloaded",
        lambda: [shapes.etf(one) for one in RELOADS],
        _reload,
        words=TERM,
        shape=shapes.terms(*RELOADS),
        share=60,
        longest=1 << 15,
    ),
    Target(
        "answer-session",
        lambda: [shapes.etf((b"slot", [b"erlang"], [(b"erlang", [b"X", b"Y"])]))],
        _session,
        words=TERM,
        shape=shapes.terms((b"slot", [b"erlang", b"elixir"], [(b"erlang", [b"X", b"Y"])])),
        share=60,
        longest=1 << 15,
    ),
    Target(
        "channel",
        lambda: [_framed(Random(1), b"")],
        _channel,
        words=(*TERM, b"\0\0\0\x10", b"\x01\0\0\0", b"\xff\xff\xff\xff"),
        shape=_framed,
        share=25,
        longest=1 << 15,
    ),
    Target(
        "http-answer",
        lambda: HTTP,
        judge=_asked,
        words=(
            b"HTTP/1.1",
            b" 200",
            b"\r\n",
            b"\n",
            b":",
            b"Content-Length: ",
            b"Transfer-Encoding: chunked",
            b"\xff",
            b"\x00",
            b" 99999",
            b"-1",
        ),
        share=2,
        longest=1 << 15,
    ),
)
