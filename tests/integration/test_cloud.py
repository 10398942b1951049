"""User data, read and applied by the guest's own code on this host's emulator; nothing is booted here."""

from __future__ import annotations

import base64
import gzip
import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.cloud import ARGV, Apply, Outcome, compiled, reader
from unibeam_nb import process, tools
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


def refusal(sentence: str) -> list[str]:
    return [f"unibeam-cloud: user data is refused{sentence}; {OWN}"]


@pytest.mark.parametrize(("head", "sentence"), [
    ("#!/bin/sh\n", ", line 1: it is a script, and no shell is here to run it"),
    ("just words\n", ", line 1: it does not begin with #cloud-config"),
    ("#cloud-config\njust words\n", ", line 1: it is no mapping of keys to values"),
    ("#cloud-config\na: [1\n", ", line 2: what begins here does not end"),
    ("#cloud-config\nhostname: x\nhostname: y\n", ", line 3: the key hostname is there twice"),
    ("Content-Type: multipart/mixed; boundary=x\n", ", line 1: it has many parts (MIME), which are not read"),
    ("#cloud-config\nhostname: a..b\n", ", line 2: this is no host name"),
    ("#cloud-config\nhostname: [a]\n", ", line 2: this is no host name"),
    ("#cloud-config\nhostname: a/../b\n", ", line 2: this is no host name"),
    ("#cloud-config\nwrite_files: 3\n", ", line 2: write_files is a list"),
    ("#cloud-config\nerlang: 3\n", ", line 2: erlang is a mapping with node, cookie, vm_args and env"),
    ("#cloud-config\nerlang:\n  nodes: x\n", ", line 3: erlang has no nodes; it has node, cookie, vm_args and env"),
    ("#cloud-config\nerlang:\n  node: 'a b'\n", ", line 3: this is no node name"),
    ("#cloud-config\nerlang:\n  cookie: a b\n", ", line 3: a cookie is printable ASCII without blanks, and does not "
     "begin with -"),
    ("#cloud-config\nerlang:\n  cookie: 12\n", ", line 3: this is no cookie; put it in quotes"),
    ("#cloud-config\nerlang:\n  vm_args: -boot x\n", ", line 3: -boot is not for user data to say"),
    ("#cloud-config\nerlang:\n  vm_args: [-a, '\"b']\n", ", line 3: a quote in vm_args does not end"),
    ("#cloud-config\nerlang:\n  env: {a: {b: !c d}}\n", ", line 3: !c does not fit its value, or is none of !atom, "
     "!binary, !tuple"),
    ("#cloud-config\nerlang:\n  env: {a: 1}\n", ", line 3: an application's environment is a mapping"),
])
def test_what_is_refused_as_a_whole(configured: Configured, head: str, sentence: str) -> None:
    done = configured("", head + "#\n" + "x-key: 1\n" * ("Content" in head))
    assert (done.code, done.said) == (1, refusal(sentence))
    assert list((done.root / "run").rglob("*")) == []


def test_files_that_may_not_be_written_are_named_and_the_others_written(configured: Configured) -> None:
    bomb = base64.b64encode(gzip.compress(bytes(9 << 20))).decode()
    done = configured(f"""
write_files:
- {{path: /etc/passwd, content: x}}
- {{path: /tmp/../etc/passwd, content: x}}
- {{path: tmp/x, content: x}}
- {{path: /tmp/x/, content: x}}
- {{path: /run/unibeam/argv, content: x}}
- {{path: /tmp/./../x, content: x}}
- {{path: /run//unibeam/argv, content: x}}
- {{path: "/tmp/a\\nb", content: x}}
- {{path: /tmp/x, encoding: rot13, content: x}}
- {{path: /tmp/x, encoding: b64, content: "?"}}
- {{path: /tmp/x, encoding: gz+b64, content: {bomb}}}
- {{path: /tmp/x, encoding: gzip, content: x}}
- {{path: /tmp/x, permissions: '0999', content: x}}
- {{path: /tmp/x, content: [x]}}
- {{content: x}}
- 7
- {{path: /tmp, content: x}}
- {{path: /var/lib/unibeam, content: x}}
- {{path: /tmp/kept, content: x}}
- {{path: /tmp/kept/below, content: x}}
""")
    whys = [line.split(" is refused: ")[1] for line in done.said]
    place, dots, none = "it may lie below /var/lib/unibeam, /tmp or /run only", "its path contains '..'", \
        "its path is not that of a file"
    own, octal = "/run/unibeam is the machine's own", "its permissions are no octal number"
    assert whys == [
        place, dots, none, none, own, dots, own, "its path has a control character",
        "its encoding is none of b64, gzip and gz+b64", "it is not base64", "it is too large unpacked",
        "its compression is broken", octal, "its content is no text", "it has no path", "it is no mapping with a path",
        place, place, "it cannot be written (enotdir)"]
    assert [str(p.relative_to(done.root)) for p in (done.root / "tmp").rglob("*")] == ["tmp/kept"]
    assert done.code == 0


def test_ten_megabytes_are_refused_from_a_disk_and_from_a_server(apply: Apply, tmp_path: Path) -> None:
    much = b"#cloud-config\nhostname: x\n" + b"# more\n" * (10 << 20 >> 3)
    seed.write(tmp_path / "disk", much, "i-1")
    sentence = [f"unibeam-cloud: user data is larger than 64 KB, and refused; {OWN}"]
    assert apply(f"disk {tmp_path / 'disk'}").said == sentence
    with serving({"/user-data": much}) as (url, _):
        assert apply(f"url {url}").said == sentence
    packed = gzip.compress(much)
    seed.write(tmp_path / "disk", packed, "i-1")
    assert apply(f"disk {tmp_path / 'disk'}").said == refusal(": it is too large unpacked")


def test_what_a_server_can_do_wrong(apply: Apply) -> None:
    with serving({}) as (url, _):
        assert apply(f"url {url}").said == [
            f"unibeam-cloud: user data cannot be had from url {url}: it answers 404; {OWN}"]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer() -> None:
            for reply in (b"HTTP/1.0 200 OK\r\nContent-Length: 90\r\n\r\n#cloud", b"SSH-2.0-x\r\n\r\n"):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(reply)

        threading.Thread(target=answer, daemon=True).start()
        source = f"url http://127.0.0.1:{port}/"
        for why in ("its answer is cut short", "what answers there does not speak HTTP"):
            assert apply(source).said == [f"unibeam-cloud: user data cannot be had from {source}: {why}; {OWN}"]
    for address, why in (("https://127.0.0.1/", "only http:// is read"),
                         ("http://metadata/", "its address must be an IPv4 address")):
        sentence = f"unibeam-cloud: user data cannot be had from url {address}: {why}; {OWN}"
        assert apply(f"url {address}").said == [sentence]


def test_a_silent_server_is_given_up(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        program = f"""
            Now = erlang:monotonic_time(millisecond),
            {{error, Silent}} = unibeam_cloud_http:get("http://127.0.0.1:{port}/", [], 10, Now + 700),
            {{error, Absent}} = unibeam_cloud_http:get("http://127.0.0.1:1/", [], 10, Now + 1400),
            Took = erlang:monotonic_time(millisecond) - Now,
            io:format("~s, ~s, ~p", [Silent, Absent, Took < 5000]), halt()."""
        done = process.run([tools.find("erl"), "-noshell", "-pa", compiled(store), "-eval", program], timeout=60)
    assert done.stdout == "it stopped in the middle (timeout), it does not answer (econnrefused), true"


@pytest.mark.parametrize("megabytes", [1, 20, 80])
def test_a_fat_disk_of_any_width(apply: Apply, tmp_path: Path, megabytes: int) -> None:
    """FAT12, 16 and 32, written by mkfs.vfat and mcopy as people write such seeds."""
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, megabytes << 20)
    process.run(["mkfs.vfat", "-n", "CIDATA", *(("-F", "32") if megabytes == 80 else ()), disk])
    # A file of many clusters before it, so that the tables are followed.
    (tmp_path / "a-first-file").write_bytes(bytes(100_000))
    (tmp_path / "user-data").write_text("#cloud-config\nhostname: fat\n# " + "x" * 60_000 + "\n")
    (tmp_path / "meta-data").write_text("{}")
    for name in ("a-first-file", "meta-data", "user-data"):
        process.run(["mcopy", "-i", disk, tmp_path / name, "::"])
    done = apply(f"disk {disk}")
    assert (done.code, done.said, done.read("/run/unibeam/hostname")) == (0, [], "fat")


def test_a_disk_that_is_cut_or_changed_is_refused(apply: Apply, tmp_path: Path) -> None:
    seed.write(tmp_path / "whole", b"#cloud-config\nhostname: x\n", "i-1")
    data = (tmp_path / "whole").read_bytes()
    chance = random.Random(8)
    for count in range(12):
        broken = bytearray(data[:chance.randrange(16 * 2048, len(data))])
        for _ in range(0 if count < 4 else 40):
            broken[chance.randrange(16 * 2048, len(broken))] = chance.randrange(256)
        (tmp_path / "disk").write_bytes(broken)
        done = apply(f"disk {tmp_path / 'disk'}")
        assert done.code in (0, 1), done.said
        assert all(line.startswith("unibeam-cloud: ") for line in done.said), done.said


def test_user_data_cannot_write_anything_but_text_on_the_console(configured: Configured) -> None:
    done = configured('"\\e[31m\\r\\n@unibeam x app 1": 1\n' + f'{"k" * 2000}: 1\n')
    assert [line[:60] for line in done.said] == [
        "unibeam-cloud: line 2: ?[31m??@unibeam x app 1 is ignored: a", "unibeam-cloud: line 3: " + "k" * 37]
    assert len(done.said[1]) == 300


def test_a_named_release_keeps_its_own_port_mapper_and_loses_its_name(configured: Configured) -> None:
    argv = ("/srv/erlexec", "-name", "old@host.x", "-start_epmd", "false", "-epmd_module", "mine", "-kernel",
            "inet_dist_use_interface", "{127,0,0,1}", "-setcookie", "old", "-s", "unibeam_agent", "ready")
    done = configured("erlang: {node: new@db1, cookie: abc}\n", argv=argv)
    assert done.argv == ["/srv/erlexec", "-start_epmd", "false", "-epmd_module", "mine", "-sname", "new@db1",
                         "-setcookie", "abc", "-s", "unibeam_agent", "ready"]
    done = configured("erlang: {node: new@db1.x}\n", argv=(*argv[:1], *argv[-3:]))
    assert done.argv == ["/srv/erlexec", "-name", "new@db1.x", "-start_epmd", "false", "-epmd_module", "unibeam_epmd",
                         "-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-s", "unibeam_agent", "ready"]


def test_the_code_calls_only_what_is_inside_the_emulator(store: Store) -> None:
    """It runs without kernel and stdlib, of which a shaken release holds less than whole."""
    program = """
        Here = [list_to_atom(filename:rootname(filename:basename(F))) || F <- filelib:wildcard("*.beam")],
        Known = erlang:pre_loaded() ++ Here,
        [begin
            {ok, {_, [{imports, Calls}]}} = beam_lib:chunks(atom_to_list(Module), [imports]),
            [io:format("~p calls ~p:~p/~p~n", [Module, M, F, A]) || {M, F, A} <- Calls,
             not lists:member(M, Known), not erlang:is_builtin(M, F, A)]
         end || Module <- Here], io:format("~p", [length(Here)]), halt()."""
    done = process.run([tools.find("erl"), "-noshell", "-eval", program], cwd=compiled(store), timeout=60)
    assert done.stdout == "6"


def test_a_release_that_was_shaken_without_distribution_gets_no_name(apply: Apply, tmp_path: Path) -> None:
    script = tmp_path / "lonely.boot"
    process.run([tools.find("erl"), "-noshell", "-eval", """
        Load = {application, load, [{application, kernel, [{env, [{start_distribution, false}]}]}]},
        file:write_file("lonely.boot", term_to_binary({script, {"x", "1"}, [{apply, Load}]})), halt()."""],
        cwd=tmp_path)
    seed.write(tmp_path / seed.SEED, b"#cloud-config\nerlang: {node: shop, vm_args: +P 99999}\n", "i-1")
    for root in range(1, 3):  # the second with the script, in the directory that stands for /
        if root == 2:
            place = tmp_path / "root2" / "srv"
            place.mkdir(parents=True)
            script.rename(place / script.name)
        done = apply(f"disk {tmp_path / seed.SEED}", ("/srv/erlexec", "-boot", "/srv/lonely", "-s", "unibeam_agent"))
        assert ("-name" in done.argv) is (root == 1)
        assert done.argv[-4:-2] == ["+P", "99999"]
    assert done.said == ["unibeam-cloud: node is left out: this release was shaken without distribution; build it with "
                         "--flag '-sname NAME'."]
