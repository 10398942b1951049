"""Which package of the distribution a file came from, and what a root made of packages has in it.

A host's packages change after an image was built. So nothing is said of a file of an image but where the host's file
still has the same sha256.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import ToolMissing
from unibeam_nb.image.bom.model import Package

STATUS = "var/lib/dpkg/status"

_LICENCE = re.compile(r"^Files: \*\n(?:.+\n)*?License: *(\S.*)$", re.MULTILINE)


def vendor(release: Path = Path("/etc/os-release")) -> tuple[str, str]:
    """This host's distribution and its release: ``debian``, ``debian-12``. Empty where neither is told."""
    text = release.read_text(encoding="utf-8") if release.is_file() else ""
    told = {key: value.strip('"') for key, _, value in (line.partition("=") for line in text.splitlines())}
    name = told.get("ID", "")
    return name, "-".join(filter(None, (name, told.get("VERSION_ID", ""))))


def owners(paths: Iterable[Path]) -> dict[Path, Package]:
    """The packages of files of this host; a file of no package is left out, as are all where there is no dpkg."""
    asked = {spelling: path for path in paths for spelling in _spellings(path)}
    try:
        program = tools.find("dpkg-query")
    except ToolMissing:
        return {}
    if not asked:
        return {}
    found = process.run([program, "-S", *asked], check=False).stdout
    named = {}
    for line in found.splitlines():
        name, _, path = line.partition(": ")
        if path in asked and "," not in name:
            named[asked[path]] = name
    known = installed(sorted(set(named.values())))
    return {path: known[name] for path, name in named.items() if name in known}


def installed(names: Iterable[str]) -> dict[str, Package]:
    """The installed packages of these names."""
    wanted = list(names)
    if not wanted:
        return {}
    whose, distribution = vendor()
    shown = process.run([tools.find("dpkg-query"), "-W", "-f", "${binary:Package}\\t${Package}\\t${Version}\\t"
                         "${Architecture}\\n", *wanted], check=False).stdout
    rows = (line.split("\t") for line in shown.splitlines())
    return {full: Package(name, version, architecture, whose, distribution, licence_of(name))
            for full, name, version, architecture in rows}


def _spellings(path: Path) -> tuple[str, ...]:
    """How a package may call a file: with ``/usr`` merged, dpkg knows it as it was packed."""
    text = str(path)
    return (text, text.removeprefix("/usr")) if text.startswith("/usr/lib") else (text, f"/usr{text}")


def licence_of(package: str, documents: Path = Path("/usr/share/doc")) -> str:
    """What the package's copyright file (Debian's machine-readable format 1.0) says of all its files."""
    path = documents / package / "copyright"
    try:
        found = _LICENCE.search(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return found[1].strip() if found else ""


def in_layer(layer: Path) -> tuple[Package, ...]:
    """The packages of a root that is packed as a tar archive, in the order of their names."""
    with tarfile.open(layer) as tar:
        stream = tar.extractfile(STATUS)
        text = stream.read().decode("utf-8", "replace") if stream is not None else ""
    return tuple(sorted(in_status(text), key=lambda package: package.name))


def in_status(text: str) -> Iterator[Package]:
    """The installed packages of a dpkg status file."""
    whose, distribution = vendor()
    for stanza in text.split("\n\n"):
        told: Mapping[str, str] = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", stanza, re.MULTILINE))
        if "Package" in told and told.get("Status", "").endswith(" installed"):
            yield Package(told["Package"], told.get("Version", ""), told.get("Architecture", ""), whose, distribution)
