"""The same inputs, the same bytes: for another user, at another time, elsewhere, in another order; and bills of
materials of what was made."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from unibeam_nb import process, tools
from unibeam_nb.image import contents
from unibeam_nb.image.bom.model import Bom
from unibeam_nb.image.formats.erofs_links import with_links
from unibeam_nb.lab import Lab
from unibeam_nb.notebook.display import to_text
from unibeam_nb.store import Store

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

PRODUCTS = ("linux", "oci+scratch", "osv", "cloud-init seed", "rebar3 project")

# It names the project's own application, so that nothing has to be fetched.
REBAR_LOCK = '{"1.2.0",\n[{<<"web">>,{pkg,<<"web_pkg">>,<<"0.9.9">>},0}]}.\n[].\n'


@pytest.fixture
def reproducible(torture: Callable[[str], ModuleType]) -> ModuleType:
    return torture("reproducible")


def test_two_worlds_with_nothing_in_common_make_the_same_bytes(reproducible: ModuleType, store: Store) -> None:
    """`scripts/torture.py reproducible` does this with everything that unibeam writes."""
    from unibeam_nb.image.kernels import stock_kernel

    stock_kernel(store)
    outcomes = reproducible.compare(store, PRODUCTS, given=("kernels", "apt"))
    assert {made.product for made in outcomes} == set(PRODUCTS)
    assert [row for row in reproducible.rows(outcomes) if row[3] != "the same"] == []


def test_a_difference_is_found_and_told(reproducible: ModuleType, tmp_path: Path) -> None:
    for name, byte in (("a", b"x"), ("b", b"y")):
        (tmp_path / name).write_bytes(bytes(70000) + byte + bytes(10))
    told = [{"root": {"path": str(tmp_path / name), "sha256": name}} for name in "ab"]
    apart = reproducible.difference(*told)
    assert (apart.file, apart.offset) == ("root", 70000)
    outcome = reproducible.Outcome("linux", 1, "c" * 64, apart, ("clock",))
    assert list(reproducible.rows([outcome])) == [
        ("linux", "1", f"`{'c' * 16}`", "**differs**: `root`, byte 70000; because of clock alone")]


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/fuse").exists() or shutil.which("disorderfs") is None,
                    reason="a file system that tells no kinds of files needs root, FUSE and disorderfs")
def test_a_root_does_not_tell_on_what_file_system_it_was_made(tmp_path: Path) -> None:
    tree, seen = tmp_path / "tree", tmp_path / "seen"
    for path in ("a/b/c", "a/d", "e"):
        (tree / path).mkdir(parents=True)
    for number in range(400):  # More than one block of entries.
        (tree / "e" / f"directory-with-a-name-{number}").mkdir()
        (tree / "a" / f"file-{number}").write_text(str(number))
    seen.mkdir()
    process.run(["disorderfs", "-q", "--sort-dirents=yes", "--reverse-dirents=yes", tree, seen])
    images = []
    try:
        for place in (tree, seen):
            path = tmp_path / f"{place.name}.erofs"
            process.run([tools.find("mkfs.erofs"), "-T0", "-x-1", "--all-root", "--quiet",
                         "-U00000000-0000-0000-0000-000000000000", path, place])
            images.append(bytearray(path.read_bytes()))
    finally:
        process.run(["umount", seen], check=False)
    plain = bytes(images[0])
    for image in images:
        with_links(image)
    assert images[0] == images[1]
    assert bytes(images[0]) == plain  # mkfs.erofs counts as we do where it can.


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rebar3 project with a lock file."""
    sys.path.insert(0, str(SCRIPTS / "tortures"))
    try:
        files = importlib.import_module("artefacts").REBAR3
    finally:
        sys.path.remove(str(SCRIPTS / "tortures"))
    place = tmp_path_factory.mktemp("bill") / "web"
    for path, text in {**files, "rebar.lock": REBAR_LOCK}.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(text)
    return place


@pytest.fixture(scope="module")
def bills(store: Store, project: Path) -> dict[str, Bom]:
    lab = Lab(store)
    lab.build("bill", path=project, target="release")
    return {on: lab.sbom("bill", on=on) for on in ("linux", "oci+scratch", "oci+slim", "disk", "release")}


def test_a_bill_counts_every_file_once_and_names_its_package(lab: Lab, bills: dict[str, Bom]) -> None:
    for on, bom in bills.items():
        told = json.loads(bom.text)
        image = lab._image_called(lab.named("bill"), on, "")
        items = contents.read(image)
        assert sum(each.bytes for each in bom.components) == sum(item.bytes for item in items), on
        assert sum(each.files for each in bom.components) == len({item.path for item in items}), on
        refs = [each["bom-ref"] for each in told["components"]]
        assert len(refs) == len(set(refs))
        reached, waiting = set(), ["image"]
        needs = {each["ref"]: each.get("dependsOn", []) for each in told["dependencies"]}
        while waiting:
            ref = waiting.pop()
            waiting += [other for other in needs[ref] if other not in reached]
            reached |= set(needs[ref])
        assert reached == set(refs), on
    assert lab.sbom("bill", on="linux").text == bills["linux"].text
    one = {each.name: each for each in bills["linux"].components}
    listed = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "libc6"], capture_output=True, text=True,
                            check=True).stdout
    assert one["libc.so.6"].package is not None
    assert (one["libc.so.6"].package.name, one["libc.so.6"].version) == ("libc6", listed)
    assert "library/lib/x86_64-linux-gnu/libcrypto.so.3" in one["crypto"].needs
    assert {"application/kernel", "application/stdlib", "application/crypto"} <= set(one["web"].needs)
    assert one["linux"].purl.startswith("pkg:deb/debian/linux-image-")
    assert {"libc6", "dpkg"} <= {each.name for each in bills["oci+slim"].components}
    assert "musl-dev" in to_text(bills["linux"])


def test_what_a_bill_says_can_be_checked_by_hand(lab: Lab, bills: dict[str, Bom]) -> None:
    """The sha256 of an application is what `sha256sum` says of its files, in the order of their paths."""
    rootfs = lab._image_called(lab.named("bill"), "oci+scratch", "").file("rootfs")
    crypto = next(each for each in bills["oci+scratch"].components if each.name == "crypto")
    printed = subprocess.run("find opt/release/lib/crypto-* -type f | LC_ALL=C sort | xargs sha256sum | sha256sum",
                             shell=True, cwd=rootfs, capture_output=True, text=True, check=True).stdout
    assert printed.split()[0] == crypto.sha256
    beam = next(each for each in bills["oci+scratch"].components if each.kind == "library")
    path = rootfs / beam.ref.removeprefix("library/")
    assert subprocess.run(["sha256sum", path], capture_output=True, text=True,
                          check=True).stdout.split()[0] == beam.sha256


def test_a_locked_package_is_named_and_the_shell_writes_the_file(lab: Lab, project: Path, tmp_path: Path) -> None:
    from unibeam_nb.notebook.execute import execute
    from unibeam_nb.notebook.parser import parse

    lab.build("bill", path=project, target="release")  # The second time, so it comes from the cache.
    bom = execute(lab, parse(["sbom", "bill", "-o", f"{tmp_path}/bill.cdx.json"]))
    told = json.loads((tmp_path / "bill.cdx.json").read_text())
    assert (tmp_path / "bill.cdx.json").read_text() == bom.text
    purls = {each["name"]: each.get("purl", "") for each in told["components"]}
    assert purls["web"] == "pkg:hex/web_pkg@0.9.9"
    assert purls["kernel"].startswith("pkg:deb/debian/erlang-base@")
