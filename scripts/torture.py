"""Holds under fire: `make torture`, or one section of it. RELIABILITY.md has the figures of the last whole run.

    scripts/torture.py [SECTION ...] [--seed N] [--count N] [--only K]
"""

from __future__ import annotations

import argparse
import sys
import time

from tortures import SECTIONS, SEED, Options, section


def main() -> int:
    """Run the sections that were asked for, all unless told otherwise; 1 where one did not hold."""
    about = "\n".join(f"  {name:<14}{text}" for name, text in SECTIONS.items())
    parser = argparse.ArgumentParser(description="Sections:\n" + about,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of what is random (default: {SEED})")
    parser.add_argument("--count", type=int, help="how many cases of each section (default: as RELIABILITY.md has it)")
    parser.add_argument("--only", type=int, nargs="+", metavar="K", default=[],
                        help="repeat these cases of the one section named")
    given = parser.parse_args()
    if unknown := [name for name in given.sections if name not in SECTIONS]:
        parser.error(f"there is no section {unknown[0]}")
    if given.only and len(given.sections) != 1:
        parser.error("--only repeats a case of one section: name it")
    failed = []
    for name in given.sections or SECTIONS:
        print(f"==> {name}: {SECTIONS[name]} (seed {given.seed})", flush=True)
        began = time.monotonic()
        if not section(name).run(Options(given.seed, given.count, tuple(given.only))):
            failed.append(name)
        print(f"    {time.monotonic() - began:.0f} s", flush=True)
    print(f"Did not hold: {', '.join(failed)}." if failed else "Everything held.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
