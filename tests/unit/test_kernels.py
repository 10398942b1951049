"""Kernels: read from files, and fetched with an apt that records what it was asked."""

from __future__ import annotations

import json
import stat
import struct
from pathlib import Path

import pytest

from unibeam_nb.errors import ImageError
from unibeam_nb.image import kernels
from unibeam_nb.store import Store, digest_file


def bzimage(path: Path, version: str = "6.1.0-9-cloud-amd64") -> Path:
    data = bytearray(0x1000)
    data[0x1FE:0x200] = b"\x55\xaa"
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x20E, 0x400)
    text = f"{version} (builder@host) #1 SMP\0".encode()
    data[0x600:0x600 + len(text)] = text
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def stored(store: Store, version: str, source: str) -> None:
    place = store.cache / "kernels" / version
    kernel = bzimage(place / "kernel", version)
    (place / "kernel.json").write_text(json.dumps({"name": version, "version": version, "sha256": digest_file(kernel),
                                                   "source": source, "modules": None}))


def test_a_kernel_tells_its_version(tmp_path: Path) -> None:
    assert kernels.bzimage_version(bzimage(tmp_path / "vmlinuz")) == "6.1.0-9-cloud-amd64"


@pytest.mark.parametrize("data", [b"", b"\x7fELF" + bytes(4000), bytes(0x1FE) + b"\x55\xaa" + bytes(2000)])
def test_a_file_that_is_no_bzimage_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        kernels.kernel_from_path(path)
    assert caught.value.message == f"{path} is not a Linux kernel for x86 (bzImage)."
    assert caught.value.hint == "Use a file like /boot/vmlinuz-VERSION, not a vmlinux or a package."


def test_a_kernel_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        kernels.kernel_from_path(tmp_path / "nothing")
    assert caught.value.message == f"The kernel {tmp_path / 'nothing'} cannot be read (No such file or directory)."


def test_the_modules_beside_a_kernel_are_found(tmp_path: Path) -> None:
    path = bzimage(tmp_path / "boot" / "vmlinuz")
    assert kernels.kernel_from_path(path).modules is None
    (tmp_path / "lib/modules/6.1.0-9-cloud-amd64/kernel").mkdir(parents=True)
    found = kernels.kernel_from_path(path)
    assert found.modules == tmp_path / "lib/modules/6.1.0-9-cloud-amd64"
    assert (found.sha256, found.source) == (digest_file(path), str(path))


def test_a_directory_without_modules_is_refused(tmp_path: Path) -> None:
    path = bzimage(tmp_path / "vmlinuz")
    with pytest.raises(ImageError) as caught:
        kernels.kernel_from_path(path, tmp_path)
    assert caught.value.message == f"{tmp_path} is not a directory of kernel modules."
    assert caught.value.hint == "Give the directory lib/modules/6.1.0-9-cloud-amd64 of the kernel's package."


def test_known_kernels_are_in_the_order_of_their_versions(fresh_store: Store) -> None:
    assert kernels.known_kernels(fresh_store) == []
    for version in ("6.10.2", "6.9.1", "6.1.0-9"):
        stored(fresh_store, version, "x")
    assert [k.version for k in kernels.known_kernels(fresh_store)] == ["6.1.0-9", "6.9.1", "6.10.2"]


@pytest.mark.parametrize(("text", "package"), [
    ('ID=debian\nVERSION_ID="12"\n', "linux-image-cloud-amd64"), ("ID=ubuntu\nID_LIKE=debian\n", "linux-image-virtual"),
    ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "linux-image-virtual")])
def test_the_kernel_package_follows_the_distribution(tmp_path: Path, text: str, package: str) -> None:
    (tmp_path / "os-release").write_text(text)
    assert kernels.stock_package(tmp_path / "os-release", "x86_64") == package


def test_a_distribution_without_apt_is_sent_to_the_kernel_flag(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text('ID=fedora\nPRETTY_NAME="Fedora Linux 41"\n')
    with pytest.raises(ImageError) as caught:
        kernels.stock_package(tmp_path / "os-release", "x86_64")
    assert str(caught.value) == ("There is no stock kernel for Fedora Linux 41.\n"
                                 "  Hint: Give a kernel of your own: --kernel PATH_TO_BZIMAGE.")


class FakeApt:
    """apt-get, apt-cache and dpkg-deb on PATH that know one kernel and write down what they were asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.log = folder, folder / "log"
        self.bin = folder / "bin"
        self.bin.mkdir()
        (folder / "depends").write_text("linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-9-cloud-amd64\n")
        (folder / "show").write_text("Package: x\nVersion: 6.1.9-1\n")
        bzimage(folder / "vmlinuz")
        self.program("apt-cache", f"""
case "$*" in *depends*) cat {folder}/depends;; *show*linux-image-6*) cat {folder}/show;; *) exit 100;; esac""")
        self.program("apt-get", f"""
case "$*" in
*" update")
  cat {folder}/update.says 2>/dev/null
  test -f {folder}/update.fails && exit 100
  if test -f {folder}/new; then cp {folder}/new {folder}/depends; fi;;
*" download "*)
  if test -f {folder}/download.fails; then rm {folder}/download.fails; echo 'E: 404  Not Found'; exit 100; fi
  touch x.deb;;
esac""")
        self.program("dpkg-deb", f"""
mkdir -p "$3/boot"; cp {folder}/vmlinuz "$3/boot/vmlinuz-6.1.0-9-cloud-amd64" """)
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        monkeypatch.setattr(kernels, "stock_package", lambda: "linux-image-cloud-amd64")

    def program(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n{body}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def asked(self, word: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if f" {word}" in line]


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApt:
    folder = tmp_path / "fake"
    folder.mkdir()
    return FakeApt(folder, monkeypatch)


def test_the_kernel_is_downloaded_and_unpacked_but_never_installed(apt: FakeApt, fresh_store: Store) -> None:
    kernel = kernels.stock_kernel(fresh_store)
    assert kernel.version == "6.1.0-9-cloud-amd64"
    assert kernel.source == "linux-image-cloud-amd64 (linux-image-6.1.0-9-cloud-amd64=6.1.9-1)"
    assert kernel.path.read_bytes() == (apt.folder / "vmlinuz").read_bytes()
    assert apt.asked("download")[0].endswith(" download linux-image-6.1.0-9-cloud-amd64=6.1.9-1")
    assert not apt.asked("install")
    assert f"Dir::Cache={fresh_store.cache / 'apt' / 'cache'}" in apt.asked("download")[0]


def test_a_kernel_in_a_package_of_its_own_beside_its_modules_is_found(apt: FakeApt, fresh_store: Store) -> None:
    apt.program("apt-cache", f"""
case "$*" in
*depends*) cat {apt.folder}/depends;;
*show*linux-image-6*|*show*linux-binary-6*|*show*linux-modules-6*) cat {apt.folder}/show;;
*) exit 100;;
esac""")
    apt.program("dpkg-deb", f"""
mkdir -p "$3/usr/lib/modules/6.1.0-9-cloud-amd64"
cp {apt.folder}/vmlinuz "$3/usr/lib/modules/6.1.0-9-cloud-amd64/vmlinuz" """)
    kernel = kernels.stock_kernel(fresh_store)
    assert kernel.version == "6.1.0-9-cloud-amd64"
    assert kernel.path.read_bytes() == (apt.folder / "vmlinuz").read_bytes()
    assert apt.asked("download")[0].endswith(
        " download linux-image-6.1.0-9-cloud-amd64=6.1.9-1 linux-binary-6.1.0-9-cloud-amd64=6.1.9-1 "
        "linux-modules-6.1.0-9-cloud-amd64=6.1.9-1")


def test_a_kernel_in_the_store_is_taken_without_asking_apt(apt: FakeApt, fresh_store: Store) -> None:
    first = kernels.stock_kernel(fresh_store)
    apt.log.unlink()
    assert kernels.stock_kernel(fresh_store) == first
    assert not apt.log.exists()


def test_a_refresh_asks_apt_again(apt: FakeApt, fresh_store: Store) -> None:
    kernels.stock_kernel(fresh_store)
    apt.log.unlink()
    kernels.stock_kernel(fresh_store, refresh=True)
    assert apt.asked("depends")


def test_empty_lists_are_updated_in_a_state_of_our_own(apt: FakeApt, fresh_store: Store) -> None:
    (apt.folder / "depends").rename(apt.folder / "new")
    assert kernels.stock_kernel(fresh_store).version == "6.1.0-9-cloud-amd64"
    assert f"Dir::State={fresh_store.cache / 'apt' / 'state'}" in apt.asked("update")[0]


def test_old_lists_that_name_files_which_are_gone_are_updated(apt: FakeApt, fresh_store: Store) -> None:
    (apt.folder / "download.fails").touch()
    assert kernels.stock_kernel(fresh_store).version == "6.1.0-9-cloud-amd64"
    assert len(apt.asked("download")) == 2
    assert len(apt.asked("update")) == 1


def test_without_network_the_reason_is_apts_own(apt: FakeApt, fresh_store: Store) -> None:
    (apt.folder / "depends").write_text("")
    (apt.folder / "update.fails").touch()
    (apt.folder / "update.says").write_text("W: Failed to fetch mirror.example  Could not resolve\nE: Some failed\n")
    with pytest.raises(ImageError) as caught:
        kernels.stock_kernel(fresh_store)
    assert str(caught.value) == (
        "The distribution's kernel cannot be fetched: Failed to fetch mirror.example  Could not resolve.\n"
        "  Hint: See to it that apt-get update works, then try again. Give a kernel of your own: "
        "--kernel PATH_TO_BZIMAGE.")
    assert kernels.known_kernels(fresh_store) == []


def test_without_apt_the_hint_is_the_kernel_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 fresh_store: Store) -> None:
    monkeypatch.setattr(kernels, "stock_package", lambda: "linux-image-cloud-amd64")
    monkeypatch.setattr("unibeam_nb.tools.locate", lambda _command: None)
    with pytest.raises(ImageError) as caught:
        kernels.stock_kernel(fresh_store)
    assert str(caught.value) == ("The distribution's kernel cannot be fetched, because apt-get is not on this host.\n"
                                 "  Hint: Give a kernel of your own: --kernel PATH_TO_BZIMAGE.")


def test_a_kernel_from_before_a_module_was_wanted_is_fetched_anew(apt: FakeApt, fresh_store: Store) -> None:
    stored(fresh_store, "6.1.0-9-cloud-amd64", "linux-image-cloud-amd64 (an older list)")
    before = kernels.known_kernels(fresh_store)
    assert kernels.stock_kernel(fresh_store) not in before
    assert len(apt.asked("download")) == 1


def test_a_kernel_from_before_goes_on_where_no_other_can_be_had(monkeypatch: pytest.MonkeyPatch,
                                                                fresh_store: Store) -> None:
    monkeypatch.setattr(kernels, "stock_package", lambda: "linux-image-cloud-amd64")
    monkeypatch.setattr("unibeam_nb.tools.locate", lambda _command: None)
    stored(fresh_store, "6.1.0-9-cloud-amd64", "linux-image-cloud-amd64 (an older list)")
    assert [kernels.stock_kernel(fresh_store)] == kernels.known_kernels(fresh_store)


def test_a_package_without_a_kernel_leaves_no_entry(apt: FakeApt, fresh_store: Store) -> None:
    apt.program("dpkg-deb", 'mkdir -p "$3"')
    with pytest.raises(ImageError) as caught:
        kernels.stock_kernel(fresh_store)
    assert caught.value.message == "The package linux-image-6.1.0-9-cloud-amd64 holds no kernel."
    assert list((fresh_store.cache / "tmp").iterdir()) == []
    assert kernels.known_kernels(fresh_store) == []
