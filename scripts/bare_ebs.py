"""Amazon's EBS direct APIs with nothing behind them: every request is read to its end and answered as AWS would.

    scripts/bare_ebs.py PORT

Against it the speed of the sending side alone can be measured. Nothing is kept.
"""

from __future__ import annotations

import socketserver
import sys

STARTED = b'{"SnapshotId":"snap-0123456789abcdef0","BlockSize":524288,"Status":"pending"}'
COMPLETED, TAKEN = b'{"Status":"completed"}', b"{}"


class Connection(socketserver.StreamRequestHandler):
    """One connection with any number of requests."""

    def handle(self) -> None:
        room = memoryview(bytearray(1 << 20))
        while request := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline()).strip():
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            while length:
                length -= self.rfile.readinto(room[:min(length, len(room))])
            answer = TAKEN if request.startswith(b"PUT") else \
                COMPLETED if b"/completion/" in request else STARTED
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                             b"Content-Length: %d\r\n\r\n%b" % (len(answer), answer))


class Server(socketserver.ThreadingTCPServer):
    """A thread for each connection."""

    daemon_threads = True
    allow_reuse_address = True


if __name__ == "__main__":
    with Server(("127.0.0.1", int(sys.argv[1])), Connection) as server:
        server.serve_forever()
