"""Images of a real release: built, taken apart, booted and run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import struct
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import lz4.block
import pytest
import zstandard

from unibeam_nb import process, tools
from unibeam_nb.analysis.inside import search, tree
from unibeam_nb.errors import ImageError, UnibeamError, UsageError
from unibeam_nb.held import remove_tree
from unibeam_nb.image import base as bases
from unibeam_nb.image import build_image, contents
from unibeam_nb.image.formats import cpio
from unibeam_nb.image.kernels import kernel_from_path, stock_kernel
from unibeam_nb.jsonable import dump
from unibeam_nb.model import IMAGE_STATE, MARK_LINE, Image, Launch, Release
from unibeam_nb.release import release_from_cell
from unibeam_nb.store import Store, digest_tree

NONCE = "0123456789abcdef"

HELLO = """
-module(hello).
-export([start/0]).

start() ->
    {ok, Listen} = gen_tcp:listen(list_to_integer(os:getenv("PORT")), [binary, {active, false}, {reuseaddr, true}]),
    ok = file:write_file("written", crypto:hash(sha256, <<"unibeam">>)),
    io:format("hash ~s~n", [binary:encode_hex(element(2, file:read_file("written")))]),
    {ok, Cwd} = file:get_cwd(),
    io:format("cwd ~s~n", [Cwd]),
    case os:getenv("ONCE") of
        false -> spawn(fun() -> accept(Listen) end);
        _ -> spawn(fun() -> timer:sleep(100), halt(7) end)
    end,
    ok.

accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    _ = gen_tcp:recv(Socket, 0, 5000),
    ok = gen_tcp:send(Socket, <<"HTTP/1.0 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nhello\\n">>),
    gen_tcp:close(Socket),
    accept(Listen).
"""

@pytest.fixture(scope="module")
def release(store: Store) -> Release:
    return release_from_cell(store, "hello", HELLO, ports=(8080,), applications=("crypto",))


@pytest.fixture(scope="module")
def expected_hash() -> str:
    return f"hash {hashlib.sha256(b'unibeam').hexdigest().upper()}"


def moved(release: Release, place: Path) -> Release:
    """The same release in another directory."""
    shutil.copytree(release.path, place, symlinks=True)
    return replace(release, path=place)


def noted(image: Image) -> dict[str, int]:
    """The bytes of each part, by what was noted of its files."""
    found: Counter[str] = Counter()
    for item in contents.read(image):
        found[item.part] += item.bytes
    return {part: count for part, count in found.items() if count}


def sizes(image: Image) -> dict[str, int]:
    return {part.name: part.bytes for part in image.parts}


def unpack_initramfs(image: Image) -> dict[str, cpio.Member]:
    data = image.file("initramfs").read_bytes()
    if data.startswith(b"\x02\x21\x4c\x18"):
        at, plain = 4, b""
        while at < len(data):
            size, = struct.unpack_from("<I", data, at)
            plain += lz4.block.decompress(data[at + 4:at + 4 + size], uncompressed_size=8 << 20)
            at += 4 + size
    elif data.startswith(b"\x28\xb5\x2f\xfd"):
        plain = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    else:
        plain = data
    return {member.name: member for member in cpio.read(plain)}


# ---- the same inputs, the same bytes -------------------------------------------------------------------------

def test_a_linux_image_is_the_same_bytes_from_other_directories(store: Store, fresh_store: Store, release: Release,
                                                                tmp_path: Path) -> None:
    stock = stock_kernel(store)
    assert stock.modules is not None
    shutil.copytree(stock.modules, tmp_path / "lib/modules" / stock.version)
    (tmp_path / "boot").mkdir()
    shutil.copyfile(stock.path, tmp_path / "boot/vmlinuz")
    other = kernel_from_path(tmp_path / "boot/vmlinuz")
    one = build_image(store, release, "linux")
    two = build_image(fresh_store, moved(release, tmp_path / "elsewhere"), "linux", kernel=other)
    assert (one.sha256, one.key, one.path == two.path) == (two.sha256, two.key, False)
    for name in ("kernel", "initramfs"):
        assert one.file(name).read_bytes() == two.file(name).read_bytes()


def test_a_scratch_image_is_the_same_bytes_from_other_directories(store: Store, fresh_store: Store, release: Release,
                                                                  tmp_path: Path) -> None:
    one = build_image(store, release, "oci")
    two = build_image(fresh_store, moved(release, tmp_path / "elsewhere"), "oci", "scratch")
    assert one.sha256 == two.sha256
    assert digest_tree(one.path) == digest_tree(two.path)


@pytest.mark.slow
def test_a_slim_image_is_the_same_bytes_when_its_base_is_made_anew(store: Store, fresh_store: Store,
                                                                   release: Release) -> None:
    one, two = build_image(store, release, "oci", "slim"), build_image(fresh_store, release, "oci", "slim")
    assert bases.base_root(store).layer != bases.base_root(fresh_store).layer
    assert one.sha256 == two.sha256


@pytest.mark.parametrize(("target", "flavour"), [("linux", ""), ("oci", "scratch"), ("oci", "slim"), ("release", "")])
def test_a_second_build_is_a_cache_hit_and_equal(store: Store, release: Release, target: str, flavour: str) -> None:
    first = build_image(store, release, target, flavour)
    second = build_image(store, release, target, flavour)
    assert second.cached
    assert replace(first, cached=True) == second


@pytest.mark.parametrize("change", ["launch", "ports", "kernel", "compression"])
def test_another_input_is_another_image(store: Store, release: Release, tmp_path: Path, change: str) -> None:
    one = build_image(store, release, "linux")
    kernel, compression = None, "lz4"
    if change == "launch":
        release = replace(release, launch=replace(release.launch, emulator_flags=("+S", "1:1")))
    elif change == "ports":
        release = replace(release, ports=(9090,))
    elif change == "compression":
        compression = "none"
    else:
        path = tmp_path / "vmlinuz"
        path.write_bytes(stock_kernel(store).path.read_bytes() + b"\0")
        kernel = kernel_from_path(path, stock_kernel(store).modules)
    assert build_image(store, release, "linux", kernel=kernel, compression=compression).sha256 != one.sha256


# ---- what is in them -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("compression", ["lz4", "zstd", "none"])
def test_an_initramfs_holds_the_release_and_exactly_what_it_needs(store: Store, release: Release,
                                                                  compression: str) -> None:
    image = build_image(store, release, "linux", compression=compression)
    members = unpack_initramfs(image)
    assert members["dev/console"].device == (5, 1)
    assert members["dev/null"].device == (1, 3)
    assert oct(members["var/lib/unibeam"].mode) == "0o40777"
    assert members["etc/unibeam/argv"].data.decode().splitlines() == list(release.launch.argv())
    assert "PORT=8080" in members["etc/unibeam/env"].data.decode().splitlines()
    modules = members["etc/unibeam/modules"].data.decode().split()
    assert {"/" + name for name in members if name.endswith(".ko")} == set(modules)
    libraries = {Path(name).name for name in members if ".so" in name and not name.startswith("opt/")}
    assert {"libc.so.6", "libcrypto.so.3", "ld-linux-x86-64.so.2"} <= libraries
    assert not any(name.startswith(("libssl", "libnss")) for name in libraries)
    for path in release.path.rglob("*"):
        assert f"opt/release/{path.relative_to(release.path)}" in members
    assert sum(len(m.data) for m in members.values()) + image.file("kernel").stat().st_size == image.unpacked_bytes


@pytest.mark.parametrize(("target", "flavour"), [("linux", ""), ("oci", "scratch"), ("oci", "slim"), ("release", "")])
def test_the_parts_of_an_image_add_up(store: Store, release: Release, target: str, flavour: str) -> None:
    image = build_image(store, release, target, flavour)
    assert sum(part.bytes for part in image.parts) == image.unpacked_bytes
    assert 0 < image.shipped_bytes < image.unpacked_bytes
    expected = {"erts", "kernel", "stdlib", "crypto", "hello", "configuration"}
    expected |= {"linux": {"linux kernel", "init", "kernel modules", "libraries"}, "slim": {"base", "libraries"},
                 "scratch": {"libraries"}}.get(flavour or target, set())
    assert expected <= set(sizes(image))
    assert noted(image) == sizes(image)


def test_a_linux_image_ships_its_two_files(store: Store, release: Release) -> None:
    image = build_image(store, release, "linux")
    files = sorted(path.name for path in image.path.iterdir())
    assert files == ["contents.json", "initramfs", "kernel", "manifest.json"]
    assert image.shipped_bytes == sum(image.file(name).stat().st_size for name in ("kernel", "initramfs"))
    assert image.kernel == stock_kernel(store).version


def test_the_manifest_says_what_the_image_was_made_from(store: Store, release: Release) -> None:
    image = build_image(store, release, "linux")
    manifest = json.loads((image.path / "manifest.json").read_text())
    assert manifest["sha256"] == image.sha256
    assert manifest["inputs"]["release"] == release.sha256
    assert manifest["inputs"]["kernel"][:2] == [stock_kernel(store).version, stock_kernel(store).sha256]
    assert dict(image.tools).keys() == {"gcc", "lz4"}
    assert str(store.cache) not in dump(manifest)


def test_a_release_image_is_the_release_itself(store: Store, release: Release) -> None:
    image = build_image(store, release, "release")
    assert image.path == image.file("root") == release.path
    assert image.launch == release.launch


def test_the_root_directory_is_the_layers_laid_one_on_the_other(store: Store, release: Release, tmp_path: Path) -> None:
    for flavour in ("scratch", "slim"):
        image = build_image(store, release, "oci", flavour)
        layout = image.file("layout")
        place = tmp_path / flavour
        place.mkdir()
        for layer in json.loads((layout / "manifest.json").read_text())[0]["Layers"]:
            with tarfile.open(layout / layer) as tar:
                tar.extraction_filter = lambda member, _: member
                tar.extractall(place)
        assert digest_tree(place) == digest_tree(image.file("rootfs"))
        assert (image.file("rootfs") / IMAGE_STATE.lstrip("/")).stat().st_mode & 0o7777 == 0o777
        assert (image.file("rootfs") / "tmp").stat().st_mode & 0o7777 == 0o1777


def test_the_slim_flavour_keeps_the_merged_root_and_brings_only_what_the_base_lacks(store: Store,
                                                                                    release: Release) -> None:
    root = build_image(store, release, "oci", "slim").file("rootfs")
    assert (root / "lib").readlink() == Path("usr/lib")
    assert (root / "usr/lib/x86_64-linux-gnu/libcrypto.so.3").is_file()
    assert "debian" in (root / "etc/os-release").resolve().read_text().lower() or \
        "ubuntu" in (root / "etc/os-release").resolve().read_text().lower()
    base = bases.base_root(store)
    assert "usr/lib/x86_64-linux-gnu/libc.so.6" in base.paths
    assert not any(path.startswith(("usr/share/man/", "usr/share/perl/", "dev/")) for path in base.paths)
    assert base.bytes < 90_000_000


def test_the_full_flavour_is_the_slim_one_with_the_distributions_whole_erlang(store: Store, release: Release) -> None:
    image = build_image(store, release, "oci", "full")
    root = image.file("rootfs")
    assert (root / "usr/bin/erl").exists()
    assert sorted((root / "usr/lib/erlang/lib").glob("mnesia-*"))
    assert (root / "opt/release").is_dir()
    slim, base = bases.base_root(store), bases.base_root(store, bases.erlang_packages(release))
    assert slim.bytes + 30_000_000 < base.bytes < 160_000_000
    parts = {part.name: part.bytes for part in image.parts}
    assert parts["base"] == base.bytes
    assert noted(image) == parts
    found = tree(image.name, contents.read(image), image.shipped_bytes)
    (mnesia,) = [hit.node for hit in search(found, "base mnesia_tm")]
    assert (mnesia.kind, mnesia.bytes) == ("module", next(root.rglob("mnesia_tm.beam")).stat().st_size)
    assert image.shipped_bytes > base.layer_bytes
    assert not any("elixir" in path for path in base.paths)


# ---- they run ------------------------------------------------------------------------------------------------

def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def guest(image: Image, console: Path, port: int, more: str = "") -> Iterator[None]:
    """The image under QEMU's own emulation, its console in a file, its port 8080 at ``port``."""
    with console.open("wb") as stream:
        child = process.spawn(
            [tools.find("qemu-system-x86_64"), "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256", "-nodefaults",
             "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
             "-kernel", image.file("kernel"), "-initrd", image.file("initramfs"),
             "-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{port}-:8080",
             "-device", "virtio-net-pci,netdev=n0,romfile=",
             "-append", f"console=ttyS0 quiet panic=-1 unibeam.nonce={NONCE} unibeam.ip=10.0.2.15/24 {more}"],
            stdout=stream)
        try:
            yield
            if more:
                assert child.wait(timeout=90) == 0
        finally:
            process.stop_group(child)


def fetch(url: str, console: Path, deadline: float = 90) -> bytes:
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=3) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"{url} never answered; the console said:\n{console.read_text(errors='replace')}")


def await_text(console: Path, wanted: str, deadline: float = 30) -> None:
    end = time.monotonic() + deadline
    while wanted not in console.read_text(errors="replace"):
        assert time.monotonic() < end, f"{wanted!r} never came:\n{console.read_text(errors='replace')}"
        time.sleep(0.05)


def test_a_linux_image_boots_and_answers_over_the_network(store: Store, release: Release, tmp_path: Path,
                                                          expected_hash: str) -> None:
    port, console = free_port(), tmp_path / "console"
    with guest(build_image(store, release, "linux"), console, port):
        assert fetch(f"http://127.0.0.1:{port}/", console) == b"hello\n"
        # The program serves while it starts, so its first answer may come before the mark that it has started.
        await_text(console, f"@unibeam {NONCE} app ")
    text = console.read_text()
    assert [mark[2] for mark in MARK_LINE.finditer(text)] == ["init", "beam", "app"]
    assert expected_hash in text
    assert "unibeam-init:" not in text


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_every_compression_boots_and_the_exit_status_comes_out(store: Store, release: Release, tmp_path: Path,
                                                               compression: str, expected_hash: str) -> None:
    console = tmp_path / "console"
    with guest(build_image(store, release, "linux", compression=compression), console, free_port(),
               "unibeam.env.ONCE=1"):
        pass
    text = console.read_text()
    assert expected_hash in text
    assert f"cwd {IMAGE_STATE}" in text
    assert [(m[2], m[4]) for m in MARK_LINE.finditer(text)][-1] == ("exit", " code=7")


CONTAINERS_CONF = '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'


def in_container_host(words: list[str | Path]) -> process.Completed:
    """Run a container tool, out of sight of a hybrid host's second cgroup tree, which crun refuses to use."""
    hybrid = Path("/sys/fs/cgroup/unified/cgroup.controllers")
    cover = ["unshare", "-m", "--propagation", "private", "sh", "-c", 'umount /sys/fs/cgroup/unified; exec "$@"', "sh"]
    return process.run([*(cover if hybrid.exists() else []), *words], check=False, timeout=120)


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str | Path]]:
    """podman with storage of its own. Its run directory must have a short path, which pytest's are not."""
    short = Path(tempfile.mkdtemp(prefix="unibeam-"))
    (short / "containers.conf").write_text(CONTAINERS_CONF)
    monkeypatch.setenv("CONTAINERS_CONF", str(short / "containers.conf"))
    yield [tools.find("podman"), "--root", short / "root", "--runroot", short / "run", "--log-level", "error"]
    remove_tree(short)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="running containers by hand here needs root")


@needs_root
@pytest.mark.parametrize("flavour", ["scratch", "slim"])
def test_podman_runs_the_layout_as_it_is(store: Store, release: Release, tmp_path: Path, flavour: str,
                                         expected_hash: str, podman: list[str | Path]) -> None:
    image = build_image(store, release, "oci", flavour)
    # podman names what it pulls after the directory, and a name takes lower-case letters only.
    layout = tmp_path / "layout"
    layout.symlink_to(image.file("layout"))
    done = in_container_host([*podman, "run", "--rm", "--network", "none", "-e", "ONCE=1",
                              "-e", f"UNIBEAM_NONCE={NONCE}", f"oci:{layout}"])
    console = done.stderr + done.stdout
    assert (done.code, expected_hash in console) == (7, True), console
    assert f"cwd {IMAGE_STATE}" in console
    assert [mark[2] for mark in MARK_LINE.finditer(console)] == ["beam", "app"]


@needs_root
def test_an_archive_of_the_layout_loads_as_dockers_format(store: Store, release: Release, tmp_path: Path,
                                                          podman: list[str | Path]) -> None:
    image = build_image(store, release, "oci")
    archive = tmp_path / "image.tar"
    process.run(["tar", "-C", image.file("layout"), "-cf", archive, "."])
    done = process.run([*podman, "pull", "--quiet", f"docker-archive:{archive}"])
    config = json.loads((image.file("layout") / "manifest.json").read_text())[0]["Config"]
    assert done.stdout.split()[-1] == config.rsplit("/", 1)[1]
    names = process.run([*podman, "images", "--format", "{{.Names}}"]).stdout
    assert f"unibeam/hello:scratch-{image.sha256[:12]}" in names


@needs_root
@pytest.mark.parametrize("flavour", ["scratch", "slim"])
def test_crun_runs_the_root_directory(store: Store, release: Release, tmp_path: Path, flavour: str,
                                      expected_hash: str) -> None:
    image = build_image(store, release, "oci", flavour)
    shutil.copytree(image.file("rootfs"), tmp_path / "rootfs", symlinks=True)
    process.run([tools.find("crun"), "spec"], cwd=tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": list(image.launch.argv()), "cwd": IMAGE_STATE}
    config["process"]["env"] = [f"{key}={value}" for key, value in
                                (image.launch.env() | {"ONCE": "1", "PORT": "8080"}).items()]
    del config["process"]["rlimits"]
    config["root"]["readonly"] = False
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = in_container_host([tools.find("crun"), "--root", tmp_path / "state", "run", "--bundle", tmp_path,
                              f"unibeam-test-{os.getpid()}-{flavour}"])
    assert (done.code, expected_hash in done.stdout) == (7, True), done.stderr + done.stdout


# ---- what cannot be made -------------------------------------------------------------------------------------

@pytest.mark.parametrize(("target", "options", "message", "hint"), [
    ("floppy", {}, "'floppy' is not a target.", "The targets are linux, disk, osv, oci, release."),
    ("linux", {"flavour": "slim"}, "The target linux has no flavours.",
     "Leave the flavour out, or build an oci image."),
    ("oci", {"flavour": "fat"}, "'fat' is not a flavour of oci images.", "Choose one of scratch, slim, full."),
    ("linux", {"compression": "rar"}, "'rar' is not a compression of linux images.",
     "Choose one of lz4, zstd, xz, none.")])
def test_what_a_target_does_not_take_is_told(store: Store, release: Release, target: str, options: dict[str, str],
                                             message: str, hint: str) -> None:
    with pytest.raises((UsageError, ImageError)) as caught:
        build_image(store, release, target, **options)  # type: ignore[arg-type]
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_kernel_for_another_target_is_refused(store: Store, release: Release) -> None:
    with pytest.raises(UsageError) as caught:
        build_image(store, release, "oci", kernel=stock_kernel(store))
    assert caught.value.message == "The target oci takes no kernel."


def bare_release(root: Path, launch: Launch = Launch("erts-1")) -> Release:
    return Release("bare", "1", root, "k", digest_tree(root), "25", "1", "test", (), launch)


def test_a_release_for_another_architecture_is_refused_and_leaves_nothing(fresh_store: Store, release: Release,
                                                                          tmp_path: Path) -> None:
    beam = bytearray((release.path / release.launch.erts / "bin/beam.smp").read_bytes())
    beam[18:20] = struct.pack("<H", 183)
    (tmp_path / "r/erts-1/bin").mkdir(parents=True)
    (tmp_path / "r/erts-1/bin/beam.smp").write_bytes(beam)
    with pytest.raises(ImageError) as caught:
        build_image(fresh_store, bare_release(tmp_path / "r"), "oci")
    assert caught.value.message == "erts-1/bin/beam.smp is a program for AArch64, and images are made for x86-64."
    assert not (fresh_store.cache / "images").exists()


def test_a_release_without_an_emulator_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "r/lib/app-1/ebin").mkdir(parents=True)
    with pytest.raises(ImageError) as caught:
        build_image(store, bare_release(tmp_path / "r"), "oci")
    assert str(caught.value) == ("The release bare has no emulator.\n  Hint: Build it with ERTS included "
                                 "(include_erts), so that it can stand on its own.")


def test_an_argument_with_a_line_end_cannot_go_into_a_linux_image(store: Store, release: Release) -> None:
    odd = replace(release, launch=replace(release.launch, arguments=("-eval", "ok,\nok")))
    with pytest.raises(ImageError) as caught:
        build_image(store, odd, "linux")
    assert caught.value.message == ("The argument 'ok,\\nok' of this release has a line end in it, "
                                    "which a linux image cannot hold.")


def test_a_damaged_entry_is_told_with_its_place(fresh_store: Store, release: Release) -> None:
    image = build_image(fresh_store, release, "oci")
    (image.path / "manifest.json").write_text("{")
    with pytest.raises(UnibeamError) as caught:
        build_image(fresh_store, release, "oci")
    assert caught.value.message.startswith(f"The image in {image.path} is damaged (")
    assert caught.value.hint == f"Remove {image.path} and build again."


@pytest.mark.skipif(os.geteuid() != 0, reason="making a small disk needs root")
def test_a_full_disk_is_told_and_leaves_no_half_image(release: Release, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    process.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk])
    try:
        with pytest.raises(UnibeamError) as caught:
            build_image(Store(disk / "cache", disk / "state"), release, "oci")
        left = [path for path in (disk / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
    finally:
        process.run(["umount", disk])
    assert caught.value.message == f"The disk under {disk / 'cache'} is full."
    assert left == []
