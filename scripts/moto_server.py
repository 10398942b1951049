"""moto on loopback, as its own command starts it, but that it looks up once which modules it consists of.

    scripts/moto_server.py PORT

By itself it lists its directory, some 180 files, at every request, which takes a third of the time that it has for one.
"""

from __future__ import annotations

import sys

from moto import backends
from moto.server import main

if __name__ == "__main__":
    known = list(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: iter(known)
    main(["-p", sys.argv[1]])
