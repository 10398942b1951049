"""Holds under fire: `make torture`, or one section of it. RELIABILITY.md has the figures of the last whole run.

    scripts/torture.py [SECTION ...] [--seed N] [--count N] [--only K] [--seconds N] [--releases NAMES]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tortures import SECTIONS, SEED, STAGES, Options, section

from unibeam_nb.errors import UnibeamError


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
    parser.add_argument("--seconds", type=float, help="of processor time for each case of a section that goes by time")
    parser.add_argument("--releases", metavar="NAME,...", default="", help="of Debian, for the section hosts")
    given = parser.parse_args()
    if unknown := [name for name in given.sections if name not in SECTIONS]:
        parser.error(f"there is no section {unknown[0]}")
    if given.only and len(given.sections) != 1:
        parser.error("--only repeats a case of one section: name it")
    wanted, failed = given.sections or list(SECTIONS), []
    options = Options(given.seed, given.count, tuple(given.only), given.seconds,
                      tuple(filter(None, given.releases.split(","))))
    if len(wanted) == 1:
        failed = [name for name in wanted if not played(name, options)]
    else:
        words = ["--seed", str(given.seed), *(["--count", str(given.count)] if given.count else []),
                 *(["--seconds", str(given.seconds)] if given.seconds else []),
                 *(["--releases", given.releases] if given.releases else [])]
        for stage in STAGES:
            lines = [[name for name in line if name in wanted] for line in stage]
            with ThreadPoolExecutor(len(lines)) as pool:
                failed += [name for bad in pool.map(lambda line: in_line(line, words), lines) for name in bad]
    print(f"Did not hold: {', '.join(failed)}." if failed else "Everything held.")
    return 1 if failed else 0


def played(name: str, options: Options) -> bool:
    """Run one section here; whether it held."""
    print(f"==> {name}: {SECTIONS[name]} (seed {options.seed})", flush=True)
    began = time.monotonic()
    try:
        held = section(name).run(options)
    except UnibeamError as error:
        print(error, flush=True)
        held = False
    print(f"    {time.monotonic() - began:.0f} s", flush=True)
    return held


def in_line(names: Sequence[str], words: Sequence[str]) -> list[str]:
    """Run sections one after another, each in a process of its own that cannot take others with it; those that did not
    hold."""
    failed = []
    for name in names:
        with subprocess.Popen([sys.executable, "-u", __file__, name, *words], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as child:
            assert child.stdout is not None
            for line in child.stdout:
                print(f"{name:<14}{line}", end="", flush=True)
        if child.returncode:
            failed.append(name)
    return failed


if __name__ == "__main__":
    sys.exit(main())
