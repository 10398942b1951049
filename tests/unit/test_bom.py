"""Bills of materials: lock files, packages, and CycloneDX text that follows from the image alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.errors import ImageError, UsageError
from unibeam_nb.image.bom import debian
from unibeam_nb.image.bom.cyclonedx import written
from unibeam_nb.image.bom.model import Bom, Component, Package, listing
from unibeam_nb.image.bom.purl import deb, locked_purl, of_package
from unibeam_nb.model import Image, Launch, Locked
from unibeam_nb.notebook.display import to_text
from unibeam_nb.release.locks import locked, mix_lock, rebar_lock

SUM, INNER = "c5eb0cab91f094599f94d55bc63409236a8ec69a21a67814529e8d5f6cc90b3b", "ab" * 32

MIX_LOCK = f'''%{{
  "jason": {{:hex, :jason, "1.4.4", "{INNER}", [:mix], [{{:decimal, "~> 1.0", [hex: :decimal, repo: "hexpm", \
optional: true]}}], "hexpm", "{SUM}"}},
  "old": {{:hex, :old_name, "0.1.0", "{INNER}", [:mix], []}},
  "tool": {{:git, "https://github.com/someone/tool.git", "0123456789abcdef0123456789abcdef01234567", [tag: "v1"]}},
}}
'''

REBAR_LOCK = f'''{{"1.2.0",
[{{<<"cowboy">>,{{pkg,<<"cowboy">>,<<"2.9.0">>}},0}},
 {{<<"mine">>,{{git,"git@git.example.org:a/mine.git",{{ref,"fedcba"}}}},0}}]}}.
[
{{pkg_hash,[{{<<"cowboy">>, <<"{INNER.upper()}">>}}]}},
{{pkg_hash_ext,[{{<<"cowboy">>, <<"{SUM.upper()}">>}}]}}
].
'''

IMAGE = Image("web", "linux", "", Path(), "k", "ab" * 32, "cd" * 32, 1, 1, (), (), Launch("erts-13"),
              tools=(("gcc", "12"),))
LIBC = Package("libc6", "2.36-9+deb12u14", "amd64", "debian", "debian-12", "GPL-2+ or whatever")
COMPONENTS = (
    Component("kernel", "kernel", "linux", "6.1.1", "12" * 32, 100, 1, licence="GPL-2.0-only WITH Linux-syscall-note"),
    of_package(Component("library/libc.so.6", "library", "libc.so.6", sha256="34" * 32, bytes=5, files=1), LIBC),
    Component("application/web", "application", "web", "0.1", "56" * 32, 9, 3, needs=("library/libc.so.6",)))


def test_a_mix_lock_is_read_without_being_run() -> None:
    assert list(mix_lock(MIX_LOCK)) == [
        Locked("jason", "hex", "jason", "1.4.4", SUM), Locked("old", "hex", "old_name", "0.1.0"),
        Locked("tool", "git", "https://github.com/someone/tool.git", "0123456789abcdef0123456789abcdef01234567")]


def test_a_rebar_lock_of_any_version_is_read() -> None:
    assert list(rebar_lock(REBAR_LOCK)) == [Locked("cowboy", "hex", "cowboy", "2.9.0", SUM),
                                            Locked("mine", "git", "git@git.example.org:a/mine.git", "fedcba")]
    assert list(rebar_lock('[{<<"a">>,{pkg,<<"b">>,<<"1">>},0}].')) == [Locked("a", "hex", "b", "1")]
    assert list(rebar_lock("[].")) == []


@given(st.text())
def test_a_lock_file_that_is_none_names_nothing_and_breaks_nothing(text: str) -> None:
    assert all(isinstance(one, Locked) for one in (*mix_lock(text), *rebar_lock(text)))


def test_the_lock_file_of_a_project_is_found(tmp_path: Path) -> None:
    assert locked(tmp_path) == ()
    (tmp_path / "rebar.lock").write_text(REBAR_LOCK)
    assert [one.name for one in locked(tmp_path)] == ["cowboy", "mine"]


def test_package_urls() -> None:
    assert deb(LIBC) == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12"
    jason, _, tool = mix_lock(MIX_LOCK)
    assert locked_purl(jason) == f"pkg:hex/jason@1.4.4?checksum=sha256:{SUM}"
    assert locked_purl(tool) == "pkg:github/someone/tool@0123456789abcdef0123456789abcdef01234567"
    assert locked_purl(Locked("m", "git", "https://git.example.org/m.git", "fed")) == \
        "pkg:generic/m@fed?vcs_url=git%2Bhttps://git.example.org/m.git%40fed"


def test_packages_of_a_root_and_their_licences(tmp_path: Path) -> None:
    status = ("Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2-3\nDescription: x\n y: z\n\n"
              "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n")
    assert [(one.name, one.version, one.architecture) for one in debian.in_status(status)] == [("a", "1:2-3", "all")]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "copyright").write_text(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\n"
        "Copyright: 1999 Somebody\n 2000 Else\nLicense: Zlib\n\nFiles: contrib/*\nLicense: MIT\n")
    assert debian.licence_of("a", tmp_path) == "Zlib"
    assert debian.licence_of("b", tmp_path) == ""
    (tmp_path / "release").write_text('ID=debian\nVERSION_ID="12"\n')
    assert debian.vendor(tmp_path / "release") == ("debian", "debian-12")


def test_what_is_written_follows_from_the_image_alone() -> None:
    text = written(IMAGE, COMPONENTS)
    assert written(IMAGE, COMPONENTS[::-1]) == text
    told = json.loads(text)
    assert told["specVersion"] == "1.6"
    assert told["serialNumber"] != json.loads(written(replace(IMAGE, sha256="ee" * 32), COMPONENTS))["serialNumber"]
    needs = {each["ref"]: each.get("dependsOn", []) for each in told["dependencies"]}
    assert needs["application/web"] == ["library/libc.so.6"]
    assert needs["image"] == ["application/web", "kernel"]
    licences = {each["bom-ref"]: each["licenses"][0] for each in told["components"] if "licenses" in each}
    assert licences["kernel"] == {"expression": "GPL-2.0-only WITH Linux-syscall-note"}
    assert licences["library/libc.so.6"] == {"license": {"name": "GPL-2+ or whatever"}}


def test_neither_hash_seed_nor_time_zone_changes_it() -> None:
    code = "from tests.unit.test_bom import *; import sys; sys.stdout.write(written(IMAGE, COMPONENTS))"
    texts = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120,
                            cwd=Path(__file__).parents[2], env={"PYTHONHASHSEED": seed, "TZ": zone,
                                                                "PYTHONPATH": str(Path(__file__).parents[2])}).stdout
             for seed, zone in (("1", "UTC"), ("4242", "Pacific/Kiritimati"))}
    assert texts == {written(IMAGE, COMPONENTS)}


def test_what_the_schema_refuses_is_not_written() -> None:
    with pytest.raises(ImageError) as refused:
        written(IMAGE, (replace(COMPONENTS[0], sha256="not a sha256"),))
    assert refused.value.message == "The bill of materials of web is not what CycloneDX prescribes."
    assert "not a sha256" in refused.value.details[0]


def test_a_bill_is_a_noun(tmp_path: Path) -> None:
    bom = Bom("web", "linux", "ab" * 32, COMPONENTS, written(IMAGE, COMPONENTS))
    assert repr(bom) == "<Bom web linux: 3 components, 1 of known origin>"
    assert json.loads(bom.save(tmp_path / "web.cdx.json").read_text())["bomFormat"] == "CycloneDX"
    with pytest.raises(UsageError) as refused:
        bom.save(tmp_path / "web.xml")
    assert (refused.value.message, refused.value.hint) == (
        "web.xml does not end in .json.", "A bill of materials is CycloneDX JSON: -o web.cdx.json")
    frame = bom.to_frame()
    assert list(frame["name"]) == ["linux", "libc.so.6", "web"]
    text = to_text(bom)
    assert "3: 1 kernel, 1 application, 1 library" in text
    assert "libc6 2.36-9+deb12u14" in text


def test_a_list_of_files_is_as_sha256sum_prints_it(tmp_path: Path) -> None:
    import hashlib

    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    printed = subprocess.run(["sha256sum", "a", "b"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert listing({name: hashlib.sha256(name.encode()).hexdigest() for name in "ba"}) == printed
