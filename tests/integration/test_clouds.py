"""One built image as other platforms take it: qemu-img reads every format back to the same disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unibeam_nb import process, tools
from unibeam_nb.arms import Arm
from unibeam_nb.cli import main
from unibeam_nb.errors import ImageError, UsageError
from unibeam_nb.lab import Build, Lab

HELLO = "-module(cloud_hello).\n-export([start/0]).\nstart() -> ok.\n"


@pytest.fixture
def build(lab: Lab) -> Iterator[Build]:
    yield lab.build("cloud-hello", text=HELLO, ports=(8080,), target="disk")
    lab.clean()


def test_every_format_holds_the_same_disk_and_is_the_same_again(lab: Lab, build: Build, tmp_path: Path) -> None:
    disk = build.images[0].file("disk")
    for kind, driver in (("raw", "raw"), ("qcow2", "qcow2"), ("vmdk", "vmdk"), ("vhd", "vpc")):
        first, second = (lab.emit("cloud-hello", kind, tmp_path / f"{turn}.{kind}").path for turn in "ab")
        assert first is not None
        assert second is not None
        assert first.read_bytes() == second.read_bytes(), kind
        told = json.loads(process.run([tools.find("qemu-img"), "info", "--output=json", "-f", driver, first]).stdout)
        assert told["virtual-size"] == disk.stat().st_size
        process.run([tools.find("qemu-img"), "compare", "-f", "raw", "-F", driver, disk, first])
    size = (tmp_path / "a.vhd").stat().st_size
    assert (size - 512) % (1 << 20) == 0, "Azure wants whole MiB and a footer"
    assert sorted(path.suffix for path in tmp_path.glob("[!.]*.*")) == sorted(2 * [".raw", ".qcow2", ".vmdk", ".vhd"])
    with pytest.raises(ImageError) as caught:
        lab.emit("cloud-hello", "raw", tmp_path / "not" / "there.raw")
    assert str(caught.value.message) == f"{tmp_path}/not/there.raw cannot be written: No such file or directory."


def test_texts_name_files_that_are_there(lab: Lab, build: Build, tmp_path: Path) -> None:
    loaded = json.loads(lab.emit("cloud-hello", "firecracker", mem_mb=128).text)
    assert Path(loaded["boot-source"]["kernel_image_path"]).read_bytes().startswith(b"\x7fELF")
    assert Path(loaded["boot-source"]["initrd_path"]).is_file()
    assert loaded["machine-config"]["mem_size_mib"] == 128
    assert str(build.images[0].file("disk")) in lab.emit("cloud-hello", "libvirt").text
    assert lab.emit("cloud-hello", "xl", tmp_path / "x.cfg").text == (tmp_path / "x.cfg").read_text()
    with pytest.raises(UsageError) as caught:
        lab.emit("cloud-hello", "vdi")
    assert caught.value.message == "'vdi' is nothing that an image can be emitted as."


@pytest.mark.parametrize("arm", ["disk@qemu", "linux@qemu"])
def test_libvirt_takes_what_is_written_for_it(lab: Lab, build: Build, debian_package: Callable[..., Path],
                                              tmp_path: Path, arm: str) -> None:
    """Held against the description of its format that libvirt comes with."""
    schema = next(debian_package("libvirt0").rglob("domain.rng"))
    lab.emit("cloud-hello", "libvirt", tmp_path / "domain.xml", arm=arm, vcpus=2)
    process.run(["xmllint", "--noout", "--relaxng", schema, tmp_path / "domain.xml"])


def test_a_build_leaves_a_configuration_next_to_each_image(lab: Lab, build: Build, monkeypatch: pytest.MonkeyPatch,
                                                           tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``build --emit``: for the images of the build that a platform takes, right for each of them."""
    source = tmp_path / "beside_hello.erl"
    source.write_text(HELLO.replace("cloud_hello", "beside_hello"))
    monkeypatch.setattr("unibeam_nb.store.Store.default", lambda: lab.store)
    words = ["build", "beside-hello", "--from", str(source), "--port", "8080"]
    assert main([*words, "--emit", "xl,libvirt,firecracker"]) == 0
    image, = lab.named("beside-hello").images
    said = capsys.readouterr().err
    for ending in ("cfg", "xml", "json"):
        assert f"Wrote {image.path / f'beside-hello.{ending}'}." in said
    domain = (image.path / "beside-hello.cfg").read_text()
    assert f'kernel = "{image.file("kernel")}"\nramdisk = "{image.file("initramfs")}"\n' in domain
    assert 'type = "pvh"' in domain
    assert (image.path / "beside-hello.xml").read_text() == lab.emit("beside-hello", "libvirt").text
    machine = json.loads((image.path / "beside-hello.json").read_text())
    assert Path(machine["boot-source"]["kernel_image_path"]).read_bytes().startswith(b"\x7fELF")
    disk, = build.images
    written = lab.beside(build, ("xl", "libvirt"))
    assert written == (disk.path / "cloud-hello.cfg", disk.path / "cloud-hello.xml")
    assert 'type = "hvm"' in (disk.path / "cloud-hello.cfg").read_text()
    assert str(disk.file("disk")) in (disk.path / "cloud-hello.xml").read_text()


def test_what_a_platform_does_not_take_is_said_at_build_time(
        lab: Lab, build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "beside_hello.erl"
    source.write_text(HELLO.replace("cloud_hello", "beside_hello"))
    monkeypatch.setattr("unibeam_nb.store.Store.default", lambda: lab.store)
    assert main(["build", "beside-oci", "--from", str(source), "--target", "oci", "--emit", "xl"]) != 0
    assert ("xl takes none of the images of beside-oci.\n  Hint: Build one that it does: --target linux."
            in capsys.readouterr().err)
    with pytest.raises(UsageError) as caught:
        lab.beside(build, ("firecracker",))
    assert (caught.value.message, caught.value.hint) == ("firecracker takes none of the images of cloud-hello.",
                                                         "Build one that it does: --target linux.")


def test_a_kernel_whose_drivers_do_not_fit_is_refused_at_build_time(lab: Lab) -> None:
    """The tiny kernel has the cards of a microvm and nothing of Xen's."""
    build = lab.build("foreign-hello", text=HELLO, ports=(8080,), kernel="tiny")
    with pytest.raises(ImageError) as caught:
        lab.beside(build, ("xl",))
    assert (caught.value.message, caught.value.hint) == (
        "The kernel tiny has no network driver for xl (xen_netfront).",
        "Build with the distribution's kernel (--kernel stock), or without --emit xl.")
    assert not list(build.images[0].path.glob("*.cfg"))
    with pytest.raises(ImageError) as caught:
        lab.image(build, Arm.parse("linux@xen"))
    assert (caught.value.message, caught.value.hint) == (
        "The kernel tiny has no network driver for xen (xen_netfront).",
        "Build with the distribution's kernel: --kernel stock.")
    with pytest.raises(UsageError) as told:
        lab.beside(build, ("gce",))
    assert (told.value.message, told.value.hint) == (
        "'gce' is no configuration that is written next to an image.",
        "It can be xl, libvirt, firecracker; for others there is 'emit'.")


def test_the_shell_emits_too(lab: Lab, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                             capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("unibeam_nb.store.Store.default", lambda: lab.store)
    monkeypatch.chdir(tmp_path)
    assert main(["emit", "cloud-hello", "--as", "qcow2"]) == 0
    assert capsys.readouterr().out.startswith("Wrote cloud-hello.qcow2 (")
    assert main(["emit", "cloud-hello", "--as", "gce"]) == 0
    assert capsys.readouterr().out.startswith("#!/bin/sh\n# cloud-hello (disk, Linux ")
    assert main(["emit", "cloud-hello"]) == 2
