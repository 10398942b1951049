"""``python -m unibeam_nb`` is ``unibeam``."""

from __future__ import annotations

import sys

from unibeam_nb.cli import main

if __name__ == "__main__":
    sys.exit(main())
