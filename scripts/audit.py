"""Ask the Python advisory database what it knows of the packages that are installed here (pip-audit): ``make audit``.

It needs a network. Where there is none, that is said and is a failure: what was not checked is not clean. Exit status:
0 nothing known, 1 something known, 2 nothing could be asked.
"""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    done = subprocess.run([sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off",
                           "--timeout", "15", "--format", "json"], capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        said = done.stderr.strip().splitlines()
        print(f"Nothing was checked: the advisory database cannot be asked ({said[-1] if said else 'no answer'}).")
        return 2
    return report(packages)


def report(packages: list[dict[str, object]]) -> int:
    """Print what was found, and return the exit status."""
    asked = [one for one in packages if "skip_reason" not in one]
    unknown = [str(one["name"]) for one in packages if "skip_reason" in one and one["name"] != "unibeam-nb"]
    bad = [one for one in asked if one.get("vulns")]
    for one in bad:
        for advisory in one["vulns"]:  # type: ignore[attr-defined]
            fixed = ", ".join(advisory.get("fix_versions", [])) or "no version yet"
            print(f"{one['name']} {one['version']}: {advisory['id']}, mended in {fixed}")
    if not asked:
        print(f"Nothing was checked: nobody answers for any of {len(unknown)} packages. Is there a network?")
        return 2
    print(f"{len(asked)} packages checked, {len(bad)} with a known hole"
          + (f"; nobody answers for {', '.join(unknown)}." if unknown else "."))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
