"""What a machine reads at boot (guest/unibeam_cloud*.erl): user data, seed disks, answers of metadata services.

The modules are those of an image, compiled with everything exported; one emulator stays and is given batches.
"""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.fuzz.target import ROOM, ROOT, Judge, Target, Verdict, scratch
from unibeam_nb import process, tools
from unibeam_nb.image.cloud import GUEST, SOURCES
from unibeam_nb.machine import seed
from unibeam_nb.talk import etf

ARGV = b"/srv/erts-13/bin/erlexec\n+P\n32768\n-boot\n/srv/1/unibeam\n-noinput\n-s\nunibeam_agent\nready\n-extra\none\n"


def _compiled() -> Path:
    place = scratch() / "guest"
    if not (place / "guest_driver.beam").is_file():
        (place / "etc/unibeam").mkdir(parents=True, exist_ok=True)
        (place / "etc/unibeam/argv").write_bytes(ARGV)
        sources = [*(GUEST / name for name in SOURCES), ROOT / "tests/fuzz/guest_driver.erl"]
        process.run(
            [tools.find("erlc"), "+export_all", "+nowarn_export_all", "+line", "-o", place, *sources], timeout=120
        )
    return place


@contextmanager
def node(reader: str) -> Iterator[Judge]:
    """An emulator with the guest's modules that judges by one of its readers."""
    place = _compiled()
    words = [tools.find("erl"), "+S", "1:1", "+sbwt", "none", "-noinput", "-pa", place, "-s", "guest_driver", "main"]
    child = process.spawn(words, cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield lambda inputs: _judged(child, reader, inputs)
    finally:
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
        process.stop_group(child)


def _node(reader: str) -> Callable[[], AbstractContextManager[Judge]]:
    return lambda: node(reader)


def _judged(child: subprocess.Popen[bytes], reader: str, inputs: Sequence[bytes]) -> list[Verdict]:
    assert child.stdin is not None
    assert child.stdout is not None
    message = etf.encode((reader, list(inputs)))
    child.stdin.write(len(message).to_bytes(4, "big") + message)
    child.stdin.flush()
    size = int.from_bytes(child.stdout.read(4), "big")
    answer = etf.decode(child.stdout.read(size))
    status = Path(f"/proc/{child.pid}/status").read_text()
    peak = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))
    if peak > ROOM:
        return [Verdict(f"more than {ROOM} bytes of memory", False, 0.0)] * len(inputs)
    return [
        Verdict(None if fault == "none" else str(fault, "utf-8", "replace"), taken == "true", micros / 1e6)
        for fault, taken, micros in answer
    ]


CONFIG = (
    b"#cloud-config\nhostname: shop-1\nwrite_files:\n  - path: /var/lib/unibeam/shop.pem\n    permissions: '0600'\n"
    b"    content: |\n      -----BEGIN-----\nerlang:\n  node: shop\n  cookie: between-us\n  vm_args: |\n    +P 65536\n"
    b"  env:\n    shop:\n      port: 8080\n      log_level: !atom info\n      listen: !tuple [127, 0, 0, 1]\n"
    b"      region: !binary eu-central-1\n",
    b"#cloud-config\nerlang: {node: a@b.c, vm_args: [-a, \"'b c'\", +K true], "
    b"env: {a: {b: [1, 2.5e3, ~, yes, 0x1f, 0644]}}}\n"
    b"users: []\nfqdn: x.y\n",
)
DOCUMENTS = (
    b"- - a\n  - b\n- x: 1\n  y:\n    - z\nlit: |2-\n    two\n  one\n\nfold: >+\n  a\n  b\n",
    b"single: 'it''s'\ndouble: \"a\\tb\\x41\\u00e9\\U0001F600 \\\"q\\\" \\\n  x\"\nurl: http://x:80/#y # c\n? k\n",
    b"---\nflow: {a: 1, \"b\": [x, 'y', {c: d}], e: , f}\n"
    b"over: [one,\n  two, # c\n\n  three]\nplain: one\n  two\n...\n",
    b"bin: !!binary aGk=\nstr: !!str 12\nanchor: &a 1\nalias: *a\n<<: {}\n\ttab: 1\n",
)
YAML = (
    b": ", b":\n", b"- ", b"\n  ", b"\n", b"{", b"}", b"[", b"]", b", ", b"'", b'"', b"\\", b"\\x4",
    b"\\U0001F600", b"\\uD800", b"|", b">", b"|9", b">-", b"|2+", b"#", b" #", b"!", b"!!binary ", b"!tuple ",
    b"!atom ", b"&a", b"*a", b"<<", b"? ", b"---\n", b"...\n", b"%YAML", b"\t", b"~", b"0x", b"1e999", b".inf",
    b"-0", b"0o7", b"1:30", b"9" * 400, b"1." + b"0" * 400, b"e99999", b"\xff", b"\xc3", b"\x00",
    b"\xef\xbb\xbf", b"=", b"hostname: ", b"erlang:", b"vm_args:", b"env:", b"node:", b"cookie:",
    b"write_files:", b"@", b"+", b"-boot",
)  # fmt: skip


def _disks() -> Sequence[bytes]:
    """A seed as ``boot --user-data`` makes it, and a small FAT file system with short and long names."""
    path = scratch() / "seed.iso"
    seed.write(path, CONFIG[0], "i-1")
    found = [path.read_bytes()]
    path.unlink()
    from unibeam_nb.image.formats import fat

    whole = b"".join(fat.write({"USER-DAT": CONFIG[0], "META-DAT": b"instance-id: x\n"}, "CIDATA", 1))
    return [*found, whole.rstrip(b"\0") + bytes(2048)]


HTTP = (
    b"HTTP/1.0 200 OK\r\nContent-Length: 13\r\n\r\n#cloud-config",
    b"HTTP/1.1 404 Not Found\r\nX: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length : 2\r\nContent-Length: 99999999999999999999\r\n\r\nok",
)


def _available(found: Sequence[Target]) -> tuple[Target, ...]:
    """These targets where the host has Erlang, else none."""
    return tuple(found) if tools.locate("erlc") and tools.locate("erl") else ()


TARGETS = _available((
    Target("yaml", lambda: (*DOCUMENTS, *CONFIG), judge=_node("yaml"), words=YAML, share=60, longest=1 << 15),
    Target("user-data", lambda: CONFIG, judge=_node("settings"), words=YAML, share=40, longest=1 << 15),
    Target("meta-data", lambda: [b"instance-id: i-1\nlocal-hostname: by.meta\n"], judge=_node("meta"), words=YAML,
           share=20, longest=1 << 14),
    Target("user-data-packed", lambda: [gzip.compress(CONFIG[0], mtime=0), gzip.compress(bytes(1 << 20), mtime=0)],
           judge=_node("gunzip"), words=(b"\x1f\x8b\x08", b"\0\0\0\0", b"\xff\xff\xff\xff"), share=15, longest=1 << 14),
    Target("seed-disk", _disks, judge=_node("disk"), share=3, longest=1 << 18,
           words=(b"CD001", b"\x01CD001", b"\x02CD001", b"%/@", b"NM", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x55\xaa",
                  b"USER-DAT", b"\x0f", b";1")),
    Target("metadata-answer", lambda: HTTP, judge=_node("http"), share=40, longest=1 << 14,
           words=(b"\r\n\r\n", b"\r\n", b":", b"HTTP/1.1 200", b"Content-Length: ", b" ", b"-1", b"9" * 300, b"\xff")),
))  # fmt: skip
