"""Files of ours that others may have written, changed or cut: journals, reports, manifests, records, notebooks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import seeds, shapes
from tests.fuzz.target import Target, in_file, scratch, text_of
from unibeam_nb.analysis.reading import boots, read_samples
from unibeam_nb.bench.follow import Follow
from unibeam_nb.bench.journal import load_experiment
from unibeam_nb.bench.planfile import plan_from_toml
from unibeam_nb.image import contents, ebs, kernels, osv_loader
from unibeam_nb.image.entries import load_image
from unibeam_nb.jsonable import to_json
from unibeam_nb.lab.binder import absolute_paths
from unibeam_nb.lab.builds import Build, load_build
from unibeam_nb.machine import registry, snapshot
from unibeam_nb.machine.options import BootOptions
from unibeam_nb.machine.proc import ProcessId
from unibeam_nb.machine.snapshot_facts import Content, Facts, Manifest
from unibeam_nb.model import Application, Finding, Image, Launch, Mark, Part, Probe, Release
from unibeam_nb.release import manifest
from unibeam_nb.store import Store

JSON = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"true",
    b"1e999",
    b"-0",
    b"NaN",
    b"Infinity",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\n",
    b'"record": "sample"',
    b'"record": "note"',
    b'"marks": {}',
    b'"arm": "linux@qemu"',
    b"\x00",
)

LAUNCH = Launch("erts-13.1.5", ("+S", "1:1"), ("-boot", "{root}/start"), (("A", "{state}"),))
RELEASE = Release(
    "hello",
    "0.1.0",
    Path("release"),
    "k" * 32,
    "a" * 64,
    "25.2.3",
    "13.1.5",
    "cell",
    (Application("kernel", "8.5", 90, 800000), Application("hello", "0.1.0", 1, 900)),
    LAUNCH,
    (8080,),
    (Finding("port", "hello", "It opens a port."),),
)
IMAGE = Image(
    "hello",
    "linux",
    "",
    Path(),
    "k" * 32,
    "b" * 64,
    "a" * 64,
    7000000,
    19000000,
    (Part("linux kernel", 4000000), Part("erts", 4200000)),
    (("kernel", "kernel"), ("root", "root")),
    LAUNCH,
    (8080,),
    "tiny",
    (("qemu", "7.2"),),
    False,
    ("tiny",),
)
FACTS = Facts("b" * 64, "7.2", "EPYC", "tcg", ("-M", "microvm", "-m", "64"), "app")
SNAPSHOT = Manifest(FACTS, Content(64, "c" * 64, (1, 2, 3)), Content(0, "d" * 64, (4, 5, 6)))
RECORD = registry.Record(
    "0123abcd",
    "hello-1",
    "linux@qemu",
    ProcessId(4242, 1, "boot"),
    ProcessId(4243, 2),
    "hello",
    "b" * 64,
    "tcg",
    "0" * 16,
    "2026-01-01T00:00:00+00:00",
    ((8081, 8080),),
    "http://127.0.0.1:8081/",
    (Mark("spawn", 0.0), Mark("app", 2.5, 1.9)),
    12000000,
    None,
    True,
    options=BootOptions(probe=Probe(8080)),
)
KERNEL = {
    "name": "tiny",
    "version": "6.12.1",
    "modules": "modules",
    "sha256": "e" * 64,
    "source": "linux-source",
    "platform": "mmio",
    "processors": 1,
    "unpacks": ["lz4"],
    "mounts": ["erofs"],
}


def _experiment(path: Path) -> None:
    """Everything that is asked of an experiment before anything is computed from it."""
    found = load_experiment(path)
    _ = (repr(found), found.plan, found.arms, found.until, found.measured, found.hosts, found.failed, found.provenance)
    found.to_journal()
    for host in found.hosts:
        found.on_host(host)


def _samples(path: Path) -> None:
    boots(read_samples(path))


def _follow(path: Path) -> None:
    followed = Follow(path)
    followed.read()
    _ = followed.taken, followed.complete, followed.left_s()


def _entry(name: str, read: Any) -> Any:
    """A reader of directories of which one file was changed."""
    return in_file(f"entry-{name.replace('.', '-')}/{name}", lambda path: read(path.parent))


def _contents(entry: Path) -> None:
    contents.read(dataclasses.replace(IMAGE, path=entry))


def _snapshot(directory: Path) -> None:
    (directory / "ram").write_bytes(bytes(64))
    (directory / "state").touch()
    snapshot.check(directory, FACTS)


def _osv(entry: Path) -> None:
    (entry / "kernel").touch()
    osv_loader._load(entry)


def _kernel(entry: Path) -> None:
    repr(kernels.load_kernel(entry))


def _machine(directory: Path) -> None:
    found = registry.read(directory)
    if found is not None:
        _ = found.runner, repr(found), found.process is not None and found.process.alive


def _machines(directory: Path) -> None:
    """A list of machines, of which one has a damaged record."""
    registry.records(Store(directory.parents[2] / "c", directory.parents[1]))


def _build(data: bytes) -> None:
    path = scratch() / "hello.json"
    path.write_bytes(data)
    repr(load_build(path))


def _plan(data: bytes) -> None:
    found = plan_from_toml(text_of(data), name="hello", ports=(8080,))
    _ = str(found), repr(found), found.boots, found.arm_names
    if found.boots < 1000:
        _ = [str(case) for case in found.cases], found.names


PLANS = (
    b'source = "hello"\narms = ["linux+tiny@qemu", "oci+scratch@crun", "a=release@process"]\nseed = 7\nblocks = 5\n'
    b'[factors]\nmem_mb = [64, 128]\nflags = ["default", "+sbwt none"]\n'
    b'[stop]\nratio_within = 0.05\nbaseline = "a"\nat_most = 60\n',
    b'name = "x"\nkinds = ["boot", "density", "minimum", "steady"]\ncopies = [1, 4]\nuntil = "http"\ndeadline = 9.5\n'
    b'probe = {port = 8080, scheme = "http", path = "/"}\n[arms]\nours = "linux@qemu"\ntheirs = "oci+slim@podman"\n',
)

CSV = (
    b"row,seconds,ok,warmup,kind\nlinux@qemu,1.5,True,False,boot\nlinux@qemu,,False,False,boot\n"
    b"release@process,0.25,True,True,boot\n"
)
HYPERFINE = seeds.as_json(
    {"results": [{"command": "sleep 1", "mean": 1.0, "times": [1.0, 1.1]}, {"command": "x", "times": []}]}
)
NOTEBOOK = seeds.as_json(
    {
        "cells": [
            {"cell_type": "code", "source": ["open('/home/me/x')\n", "y"]},
            {"cell_type": "markdown", "source": "text"},
        ],
        "nbformat": 4,
    }
)
EBS = b'{"token": "t-1"}\n{"snapshot": "snap-1"}\n{"block": 0}\n{"block": 17}\n{"complete": true}\n{"image": "ami-1"}'
OSV = {"version": "v0.57.0", "form": "elf", "source": "/tmp/loader.elf"}
ITEMS = [["opt/a.beam", "kernel", 100, 50, "0123456789abcdef"], ["bin/x", "erts", 10, 10, "00"]]


def _reports() -> Sequence[bytes]:
    return [seeds.report_of(journal) for journal in seeds.journals()[:3]]


def _report(random: Random, seed: bytes) -> bytes:
    """A report with a changed journal and the digest that belongs to it: the page is whole, what it says is not."""
    return seeds.report_of(shapes.json_lines(random, random.choice(_JOURNALS)))


_JOURNALS = seeds.journals()


def _json(name: str, value: Any, read: Any, share: int = 12) -> Target:
    return Target(
        name,
        lambda: [seeds.as_json(to_json(value))],
        read,
        words=JSON,
        shape=shapes.json_text,
        share=share,
        longest=1 << 17,
    )


TARGETS = (
    Target(
        "plan",
        lambda: PLANS,
        _plan,
        shape=shapes.toml_text,
        share=10,
        longest=1 << 15,
        words=(
            b"[factors]",
            b"[stop]",
            b"[arms]",
            b"probe",
            b"=",
            b'"',
            b"[[",
            b"]]",
            b"{",
            b"}",
            b"\\u0000",
            b"1979-05-27T07:32:00",
            b"inf",
            b"nan",
            b"0x",
            b"'''",
            b"#",
            b"mem_mb",
            b"vcpus",
            b"kernel",
            b"flags",
            b"emulator",
            b"copies",
            b"kinds",
        ),
    ),
    Target(
        "journal",
        seeds.journals,
        in_file("hello.jsonl", _experiment),
        words=JSON,
        shape=shapes.json_lines,
        share=6,
        longest=1 << 17,
    ),
    Target(
        "journal-followed",
        seeds.journals,
        in_file("followed.jsonl", _follow),
        words=JSON,
        shape=shapes.json_lines,
        share=4,
        longest=1 << 17,
    ),
    Target(
        "journal-charted",
        seeds.journals,
        in_file("charted.jsonl", _samples),
        words=JSON,
        shape=shapes.json_lines,
        share=1,
        longest=1 << 17,
    ),
    Target(
        "report",
        _reports,
        in_file("report.html", _experiment),
        shape=_report,
        share=4,
        longest=1 << 17,
        words=(b"<a ", b'data-unibeam-sha256="', b'href="data:application/gzip;base64,', b"=", b'"', b"<", b">"),
    ),
    Target(
        "table-csv",
        lambda: [CSV],
        in_file("a.csv", _samples),
        share=1,
        longest=1 << 14,
        words=(b",", b"\n", b'"', b"seconds", b"row", b"ok", b"True", b"nan", b"1e999", b"\x00", b"\xff", b"\r"),
    ),
    Target(
        "table-hyperfine",
        lambda: [HYPERFINE],
        in_file("a.json", _samples),
        words=JSON,
        shape=shapes.json_text,
        share=4,
        longest=1 << 17,
    ),
    Target(
        "aws-journal",
        lambda: [EBS],
        in_file("ebs.jsonl", ebs.Journal.read),
        words=JSON,
        shape=shapes.json_lines,
        share=12,
        longest=1 << 17,
    ),
    Target(
        "notebook",
        lambda: [NOTEBOOK],
        lambda data: absolute_paths(text_of(data)),
        words=(*JSON, b"/home/", b"~/", b"C:\\\\"),
        shape=shapes.json_text,
        share=30,
        longest=1 << 17,
    ),
    _json("image-manifest", IMAGE, _entry("manifest.json", load_image)),
    _json("image-contents", ITEMS, _entry("contents.json", _contents)),
    _json("release-manifest", RELEASE, in_file("entry-release/manifest.json", lambda p: manifest.read(p.parent, True))),
    _json("snapshot-manifest", SNAPSHOT, in_file("snapshot/manifest.json", lambda p: _snapshot(p.parent))),
    _json("machine-record", RECORD, in_file("machine/machine.json", lambda p: _machine(p.parent))),
    _json("machine-list", RECORD, in_file("s/machines/0123abcd/machine.json", lambda p: _machines(p.parent)), 6),
    _json("build-record", Build("hello", RELEASE, (IMAGE,)), _build),
    _json("kernel-record", KERNEL, _entry("kernel.json", _kernel)),
    _json("osv-record", OSV, _entry("about.json", _osv), 8),
)
