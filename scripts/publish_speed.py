"""How fast a disk goes to AWS's EBS interface, against moto on loopback: MB of non-zero blocks per second.

    python scripts/publish_speed.py [MEGABYTES]

The server is a process of its own and keeps what it gets in memory. Told are both times: on the wall, which the server
shares, and of the processor for our half alone. Needs the extra ``test``.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from unibeam_nb.image import ami
from unibeam_nb.image.ebs import BLOCK, Journal, upload

REGION = "eu-central-1"


def answers(port: int) -> bool:
    """Whether somebody listens at this port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main(megabytes: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "x",
                   "AWS_SECRET_ACCESS_KEY": "x"}
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stderr=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL)
    try:
        while not answers(port):
            time.sleep(0.1)
        with tempfile.TemporaryDirectory() as directory:
            disk = Path(directory) / "disk"
            with disk.open("wb") as stream:
                for _ in range(megabytes * 1_000_000 // BLOCK):
                    stream.write(os.urandom(BLOCK))
                stream.truncate(4 << 30)
            began, ours = time.perf_counter(), time.process_time()
            sent = upload(ami.client("ebs", REGION), disk, Journal(Path(directory) / "journal"), REGION,
                          {"unibeam:name": "speed"})
            took, ours = time.perf_counter() - began, time.process_time() - ours
        print(f"{sent} blocks, {sent * BLOCK / 1e6:.0f} MB in {took:.2f} s: {sent * BLOCK / 1e6 / took:.0f} MB/s "
              f"({sent * BLOCK / 1e6 / ours:.0f} MB per processor second of ours; load {os.getloadavg()[0]:.1f})")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
