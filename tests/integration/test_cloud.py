"""User data, read and applied by the guest's own code on this host's emulator; nothing is booted here."""

from __future__ import annotations

import base64
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.cloud import ARGV, Apply, Outcome, reader
from unibeam_nb.machine import seed
from unibeam_nb.store import Store

OWN = "the image's own settings hold."


@pytest.fixture
def apply(store: Store, tmp_path: Path) -> Apply:
    return reader(store, tmp_path)


@pytest.fixture
def configured(apply: Apply, tmp_path: Path) -> Configured:
    return Configured(apply, tmp_path)


class Configured:
    """Applies the text of a #cloud-config, from a disk as ``boot --user-data`` writes it."""

    def __init__(self, apply: Apply, place: Path) -> None:
        self._apply, self._disk = apply, place / seed.SEED

    def __call__(self, text: str, head: str = "#cloud-config\n", argv: tuple[str, ...] = ARGV) -> Outcome:
        seed.write(self._disk, (head + text).encode(), "i-1")
        return self._apply(f"disk {self._disk}", argv)


WHOLE = """
hostname: shop-1
write_files:
  - path: /var/lib/unibeam/conf/shop.conf
    permissions: '0600'
    content: |
      # kept
      greeting: hello

  - {path: /tmp/packed, encoding: gz+b64, content: %s, permissions: 0755}
  - path: /tmp/packed
    append: true
    content: "more\\n"
erlang:
  node: shop
  cookie: not-a-secret
  vm_args: |
    # a comment, as in a release's vm.args
    +P 65536
    -proto_dist 'a b'
  env:
    shop:
      port: 8080
      share: 0.5
      greeting: "caf\\u00e9 \\"x\\""
      mode: !atom fast
      peers: [!binary é, !tuple [1, two], ~, true]
      nested: {a: 1, b: []}
"""


def test_a_seed_disk_names_the_node_and_writes_files(configured: Configured) -> None:
    packed = base64.b64encode(gzip.compress(b"unpacked\n")).decode()
    done = configured(WHOLE % packed)
    assert (done.code, done.said) == (0, [])
    assert done.read("/run/unibeam/hostname") == "shop-1"
    assert done.read("/var/lib/unibeam/conf/shop.conf") == "# kept\ngreeting: hello\n"
    assert (done.root / "var/lib/unibeam/conf/shop.conf").stat().st_mode & 0o777 == 0o600
    assert done.read("/tmp/packed") == "unpacked\nmore\n"
    new = ["-name", "shop@shop-1.unibeam", "-setcookie", "not-a-secret", "-start_epmd", "false", "-epmd_module",
           "unibeam_epmd", "-config", "/run/unibeam/cloud", "+P", "65536", "-proto_dist", "a b"]
    at = ARGV.index("-s")
    assert done.argv == [*ARGV[:at], *new, *ARGV[at:]]
    assert done.read("/run/unibeam/argv.plain").splitlines() == [*ARGV[:at], *new[:-4], *ARGV[at:]]
    assert done.read("/run/unibeam/flags") == "+P\n65536\n-proto_dist\na b\n"
    assert done.read("/run/unibeam/cloud.config") == (
        r"""[{'shop',[{'port',8080},{'share',5.00000000000000000e-01},{'greeting',"caf\x{E9} \x{22}x\x{22}"},"""
        r"""{'mode','fast'},{'peers',[<<"\x{E9}"/utf8>>,{1,"two"},undefined,true]},"""
        r"""{'nested',[{'a',1},{'b',[]}]}]}].""" "\n")


class Metadata(BaseHTTPRequestHandler):
    """What a metadata service answers, by method and path; version 2 of EC2's wants the token it has given."""

    answers: dict[str, bytes] = {}
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(f"GET {self.path} {self.headers.get('X-aws-ec2-metadata-token', '-')}")
        if self.path.startswith("/latest/") and self.headers.get("X-aws-ec2-metadata-token") != "a-token":
            self.send_error(401)
        elif self.path in self.answers:
            self._answer(self.answers[self.path])
        else:
            self.send_error(404)

    def do_PUT(self) -> None:
        self.asked.append(f"PUT {self.path} {self.headers.get('X-aws-ec2-metadata-token-ttl-seconds')}")
        self._answer(b"a-token")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(answers: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """A server on loopback with these answers: its address, and what it was asked."""
    asked: list[str] = []
    handler = type("Handler", (Metadata,), {"answers": answers, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", asked
        finally:
            server.shutdown()


def test_ec2_wants_a_token_first(apply: Apply) -> None:
    with serving({"/latest/user-data": b"#cloud-config\nhostname: from-ec2\n"}) as (url, asked):
        done = apply(f"ec2 {url}")
    assert (done.code, done.said, done.read("/run/unibeam/hostname")) == (0, [], "from-ec2")
    assert asked == ["PUT /latest/api/token 60", "GET /latest/user-data a-token"]


def test_an_ec2_machine_without_user_data_is_left_alone(apply: Apply) -> None:
    with serving({}) as (url, _):
        done = apply(f"ec2 {url}")
    assert (done.code, done.said, done.has("/run/unibeam/argv")) == (0, [], False)


def test_the_command_line_may_name_a_server(apply: Apply) -> None:
    files = {"/seed/user-data": gzip.compress(b"#cloud-config\nerlang: {cookie: abc}\n"),
             "/seed/meta-data": b"instance-id: i-1\nlocal-hostname: by.meta\n"}
    with serving(files) as (url, asked):
        done = apply(f"url {url}seed")
    assert (done.code, done.said, done.read("/run/unibeam/hostname")) == (0, [], "by.meta")
    assert done.argv[-6:] == ["abc", "-s", "unibeam_agent", "ready", "-extra", "one"]
    assert asked == ["GET /seed/user-data -", "GET /seed/meta-data -"]
