"""OSv images, as far as they go without an OSv kernel, which cannot be shipped: the disk, the library that stands in
for a second process, and the errors. Where ``UNIBEAM_OSV_KERNEL`` names a kernel of your own, machines are booted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unibeam_nb import process, tools
from unibeam_nb.errors import BootFailed, ImageError
from unibeam_nb.image import osv, osv_loader
from unibeam_nb.image.formats import mbr, rofs
from unibeam_nb.image.osv_command import LINKER, SHIM, emulator_words
from unibeam_nb.lab import Lab
from unibeam_nb.release.portability import BECOMES, FAILS
from unibeam_nb.store import Store

KERNEL = os.environ.get("UNIBEAM_OSV_KERNEL")
"""A real OSv kernel, for those who have one."""

CALLS = """
-module(osv_calls).
-export([start/0]).
start() ->
    told("port", catch open_port({spawn, "true"}, [])),
    told("os-cmd", catch os:cmd("true")),
    told("lookup", inet:gethostbyname("localhost")),
    told("disk", file:write_file("written", <<"x">>)),
    {ok, Listen} = gen_tcp:listen(8080, [binary, {packet, http_bin}, {active, false}, {reuseaddr, true}]),
    spawn(fun() -> loop(Listen) end).
told(What, {'EXIT', {Reason, _}}) -> io:format("told ~s fails ~p~n", [What, Reason]);
told(What, {error, Reason}) -> io:format("told ~s fails ~p~n", [What, Reason]);
told(What, _) -> io:format("told ~s works~n", [What]).
loop(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    {ok, _} = gen_tcp:recv(Socket, 0),
    ok = gen_tcp:send(Socket, "HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok"),
    ok = gen_tcp:close(Socket),
    loop(Listen).
"""

EXPECTED = {"told port fails enosys", "told os-cmd fails badarg", "told lookup works", "told disk works"}


@pytest.fixture
def kernel(store: Store, stand_in_for_osv: Path) -> None:
    osv_loader.add_osv(store, KERNEL or str(stand_in_for_osv))


@pytest.mark.usefixtures("kernel")
def test_the_disk_holds_the_release_and_what_it_needs(lab: Lab, fresh_store: Store) -> None:
    build = lab.build("osv-calls", text=CALLS, ports=(8080,), target="osv")
    disk = build.images[0].file("disk").read_bytes()
    at, size = mbr.root_of(disk)
    found = {node.path: node for node in rofs.read(disk[at:at + size])}
    assert at == 512
    beam = f"{build.release.launch.erts}/bin/beam.smp"
    for path in (LINKER, SHIM, "/etc/fstab", "/etc/erl_inetrc", f"/opt/release/{beam}"):
        assert found[path.lstrip("/")].kind == "file", path
    assert found[f"opt/release/{beam}"].data == (build.release.path / beam).read_bytes()
    assert not any(path.endswith("erl_child_setup") for path in found)
    inside = build.explore()
    assert inside.root.bytes == build.images[0].unpacked_bytes
    assert inside.at("osv kernel").kind == "part"
    again = osv.build_osv(fresh_store, build.release, osv_loader.osv_kernel(lab.store))
    assert again.sha256 == build.images[0].sha256


def test_the_emulator_lives_on_where_nothing_can_be_started(lab: Lab, tmp_path: Path) -> None:
    """The library does the same on Linux as on OSv: there is one process, ports fail, look-ups and files work."""
    build = lab.build("osv-calls", text=CALLS, ports=(8080,), target="release")
    release = build.release
    words = [LINKER, "--preload", osv.compiled_shim(lab.store),
             *emulator_words(release.launch, ("+S", "1:1"), str(release.path), str(tmp_path))]
    assert words[-3:] == ["-s", "unibeam_agent", "ready"]
    words[-2:] = ["init", "stop"]
    (tmp_path / "inetrc").write_text(osv.INETRC)
    variables = release.launch.env(str(release.path), str(tmp_path)) | {"ERL_INETRC": str(tmp_path / "inetrc")}
    done = process.run([tools.find("unshare"), "--user", "--map-root-user", "--uts", "--net", "sh", "-c",
                        'hostname beam.unibeam && exec "$@"', "sh", *words], env=variables, cwd=tmp_path, timeout=60)
    assert set(done.stdout.splitlines()) & EXPECTED == EXPECTED


@pytest.mark.usefixtures("kernel")
def test_a_static_emulator_is_refused_and_a_lost_disk_is_told(lab: Lab, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    build = lab.build("osv-calls", text=CALLS, ports=(8080,), target="osv")
    cut.write_bytes(build.images[0].file("disk").read_bytes()[:100_000])
    with pytest.raises(ImageError) as caught:
        osv_loader.read_loader(cut)
    assert caught.value.message.startswith("The boot sector of the OSv loader reads past its end.")


@pytest.mark.skipif(KERNEL is not None, reason="a real OSv tells nothing of its disk")
@pytest.mark.parametrize("started", ["by QEMU", "by its disk"])
def test_a_kernel_meets_the_command_line_and_every_file_as_they_were_meant(
        store: Store, fresh_store: Store, stand_in_for_osv: Path, stand_in_for_osv_on_a_disk: Path,
        started: str) -> None:
    """A ``loader.img`` is started by the BIOS from a disk of the machine's own, which also holds its command line."""
    lab = Lab(Store(store.cache, fresh_store.state))
    osv_loader.add_osv(lab.store, str(stand_in_for_osv if started == "by QEMU" else stand_in_for_osv_on_a_disk))
    build = lab.build("osv-calls", text=CALLS, ports=(8080,), target="osv")
    words = emulator_words(build.release.launch)
    hard = 'a "quoted" b\\c;d'
    machine = lab.boot("osv-calls", arm="osv@qemu", until="app", deadline=60, mem_mb=64, env=(f"HARD={hard}",))
    told = machine.console.lines()
    machine.stop()
    assert list(machine.marks) == ["spawn", "vmm", "kernel", "beam", "app"]
    options = [line.removeprefix("stand-in option ") for line in told if line.startswith("stand-in option ")]
    assert f"--env=HARD={hard}" in options
    assert {"--rootfs=rofs", "--console=serial", "--ip=eth0,10.0.2.15,255.255.255.0"} <= set(options)
    met = [line.removeprefix("stand-in word ") for line in told if line.startswith("stand-in word ")]
    assert met[:3] == [LINKER, "--preload", SHIM]
    assert met[3] == words[0]
    assert met[met.index("-root"):] == list(words[words.index("-root"):])
    disk = build.images[0].file("disk").read_bytes()
    at, size = mbr.root_of(disk)
    there = {f"file {fnv1a(node.data):x} {len(node.data)} /{node.path}" if node.kind == "file"
             else f"link {node.data.decode()} /{node.path}" if node.kind == "link" else f"directory /{node.path}"
             for node in rofs.read(disk[at:at + size])}
    kinds = ("file ", "link ", "directory ")
    assert {line[9:] for line in told if line.startswith("stand-in ") and line[9:].startswith(kinds)} == there


@pytest.mark.skipif(KERNEL is not None, reason="a real OSv does not fail when asked to")
@pytest.mark.usefixtures("kernel")
def test_a_kernel_that_gives_up_is_told_at_once_and_in_its_own_words(lab: Lab) -> None:
    lab.build("osv-calls", text=CALLS, ports=(8080,), target="osv")
    with pytest.raises(BootFailed) as caught:
        lab.boot("osv-calls", arm="osv@qemu", until="app", deadline=600, mem_mb=64, env=("STAND_IN=fail",))
    assert caught.value.message == ("OSv gave up while osv-calls started: Assertion failed: it was asked to fail "
                                    "(stand_in: main: 1).")


def fnv1a(data: bytes) -> int:
    """The 32-bit hash that the stand-in tells; libraries with it exist, but it is two operations."""
    value = 2166136261
    for byte in data:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


@pytest.mark.skipif(KERNEL is None, reason="UNIBEAM_OSV_KERNEL names no OSv kernel")
@pytest.mark.usefixtures("kernel")
def test_osv_does_what_check_says(lab: Lab) -> None:
    lab.build("osv-calls", text=CALLS, ports=(8080,), target="osv")
    machine = lab.boot("osv-calls", arm="osv@qemu", http="/", deadline=90, mem_mb=64)
    told = {line for line in machine.console.lines() if line.startswith("told ")}
    machine.stop()
    assert told == EXPECTED
    fails = {line.split()[1] for line in told if " fails " in line}
    assert fails == {kind for kind in ("port", "os-cmd", "lookup", "disk") if BECOMES["osv"][kind][0] == FAILS}
