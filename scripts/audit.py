"""Ask what is known of the Python packages that are installed here: ``make audit``.

    scripts/audit.py                        the Python advisory database, over the network (pip-audit)
    scripts/audit.py --advisories all.zip   a copy of OSV's records for PyPI that was carried here: no network

What was not checked is not clean, so a database that cannot be asked is a failure. Exit status: 0 nothing known,
1 something known, 2 nothing could be asked.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

OURS = "unibeam-nb"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--advisories", type=Path, metavar="ZIP", help="OSV's records for the ecosystem PyPI (all.zip)")
    given = parser.parse_args(words)
    return from_archive(given.advisories) if given.advisories else from_network()


def from_network() -> int:
    """What pip-audit is told."""
    done = subprocess.run([sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off",
                           "--timeout", "15", "--format", "json"], capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        said = done.stderr.strip().splitlines()
        print(f"Nothing was checked: the advisory database cannot be asked ({said[-1] if said else 'no answer'}).")
        return 2
    return report(packages)


def from_archive(path: Path) -> int:
    """What the records in an archive say, which is as old as its newest record."""
    try:
        records = list(read(path))
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        print(f"Nothing was checked: {path} cannot be read as OSV's records ({error}).")
        return 2
    if not records:
        print(f"Nothing was checked: {path} holds no record.")
        return 2
    print(f"{len(records)} advisories, the newest of {max(record.get('modified', '') for record in records)[:10]}.")
    here = {canonicalize_name(each.name): each.version for each in distributions()}
    return report(judged(here, records))


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Every record of the archive that was not withdrawn (https://ossf.github.io/osv-schema/)."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".json"):
                record = json.loads(archive.read(name))
                if not isinstance(record, dict) or "id" not in record:
                    raise ValueError(f"{name} is no advisory")
                if "withdrawn" not in record:
                    yield record


def judged(here: dict[Any, str], records: Iterable[dict[str, Any]]) -> list[dict[str, object]]:
    """Each installed package with the advisories that its version is affected by, as pip-audit tells them."""
    found: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for record in records:
        for affected in record.get("affected", ()):
            package = affected.get("package", {})
            name = canonicalize_name(package.get("name", ""))
            if package.get("ecosystem") == "PyPI" and name in here and affects(affected, here[name]):
                found[name][record["id"]] = fixes(affected, here[name])
    return [{"name": name, "version": version,
             "vulns": [{"id": key, "fix_versions": mended} for key, mended in sorted(found[name].items())]}
            for name, version in sorted(here.items()) if name != OURS]


def affects(affected: dict[str, Any], version: str) -> bool:
    """Whether a version is among those listed, or within one of the ranges: the evaluation that OSV's schema gives."""
    if version in affected.get("versions", ()):
        return True
    return any(_within(known["events"], _number(version)) for known in affected.get("ranges", ())
               if known.get("type") == "ECOSYSTEM")


def _within(events: Iterable[dict[str, str]], version: Version) -> bool:
    order = {"introduced": 0, "fixed": 1, "last_affected": 2}
    sorted_events = sorted(((_number(number), order[kind]) for event in events for kind, number in event.items()
                            if kind in order))
    inside = False
    for number, kind in sorted_events:
        if kind == 0 and version >= number:
            inside = True
        elif (kind == 1 and version >= number) or (kind == 2 and version > number):
            inside = False
    return inside


def fixes(affected: dict[str, Any], version: str) -> list[str]:
    """The versions after this one in which it was mended, in order."""
    after = {event["fixed"] for known in affected.get("ranges", ()) if known.get("type") == "ECOSYSTEM"
             for event in known["events"] if "fixed" in event and _number(event["fixed"]) > _number(version)}
    return sorted(after, key=_number)


def _number(text: str) -> Version:
    """A version to compare with. What is no version of Python's (old records have some) comes before all others."""
    try:
        return Version("0.dev0" if text == "0" else text)
    except InvalidVersion:
        return Version("0.dev0")


def report(packages: list[dict[str, object]]) -> int:
    """Print what was found, and return the exit status."""
    asked = [one for one in packages if "skip_reason" not in one]
    unknown = [str(one["name"]) for one in packages if "skip_reason" in one and one["name"] != OURS]
    bad = [one for one in asked if one.get("vulns")]
    for one in bad:
        for advisory in one["vulns"]:  # type: ignore[attr-defined]
            fixed = ", ".join(advisory.get("fix_versions", [])) or "no version yet"
            print(f"{one['name']} {one['version']}: {advisory['id']}, mended in {fixed}")
    if not asked:
        print(f"Nothing was checked: nobody answers for any of {len(unknown)} packages. Is there a network? "
              "Without one: make audit ARGS=\"--advisories all.zip\".")
        return 2
    print(f"{len(asked)} packages checked, {len(bad)} with a known hole"
          + (f"; nobody answers for {', '.join(unknown)}." if unknown else "."))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
