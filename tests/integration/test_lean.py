"""The lean emulator: compiled from the distribution's source, booted in every way, refused where it cannot work."""

from __future__ import annotations

import threading

import pytest

from unibeam_nb.errors import Cancelled, ImageError, UsageError
from unibeam_nb.lab import Lab
from unibeam_nb.machine import Machine
from unibeam_nb.musl import c_library
from unibeam_nb.notebook.display import to_text
from unibeam_nb.notebook.execute import execute
from unibeam_nb.notebook.parser import parse
from unibeam_nb.progress import StepEvent, listening
from unibeam_nb.release.erts import lean
from unibeam_nb.release.erts.lean import build_lean, known_lean
from unibeam_nb.release.erts.runtime import Erts, host_erts, is_static
from unibeam_nb.release.erts.source import erlang_source
from unibeam_nb.release.otp import host_otp
from unibeam_nb.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

HELLO = r"""
-module(hello).
-export([start/0]).

start() ->
    Port = list_to_integer(os:getenv("PORT", "8080")),
    {ok, Listen} = gen_tcp:listen(Port, [binary, {active, false}, {reuseaddr, true}]),
    spawn(fun() -> accept(Listen) end).

accept(Listen) ->
    {ok, Socket} = gen_tcp:accept(Listen),
    {ok, _} = gen_tcp:recv(Socket, 0, 5000),
    {ok, {127, 0, 0, 1}} = inet:getaddr("localhost", inet),
    Body = atom_to_list(erlang:system_info(emu_flavor)) ++ " " ++ erlang:system_info(otp_release),
    gen_tcp:send(Socket, ["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ",
                          integer_to_list(length(Body)), "\r\n\r\n", Body]),
    gen_tcp:close(Socket),
    accept(Listen).
"""

HASHES = "-module(hashes).\n-export([start/0]).\nstart() -> crypto:hash(sha256, <<>>).\n"


@pytest.fixture(scope="module")
def erts(store: Store) -> Erts:
    return build_lean(store, host_otp().version)


@pytest.fixture
def place(store: Store, fresh_store: Store) -> Lab:
    """A lab with names and machines of its own, and the cache that all tests share."""
    return Lab(Store(store.cache, fresh_store.state))


def body(machine: Machine) -> str:
    import urllib.request

    assert machine.url is not None
    with urllib.request.urlopen(machine.url, timeout=30) as answer:
        return str(answer.read().decode())


def test_another_c_library_makes_another_emulator() -> None:
    """The wrapper of musl names the library of the compiler that it wraps."""
    assert "musl" in c_library().parent.name


def test_the_lean_emulator_is_static_small_and_of_the_hosts_version(store: Store, erts: Erts) -> None:
    host = host_erts()
    assert (erts.otp, erts.version, erts.static) == (host.otp, host.version, True)
    assert all(is_static(program) for program in (erts.path / "bin").iterdir())
    assert erts in known_lean(store)
    assert build_lean(store, erts.otp) == erts


@pytest.mark.parametrize("arm", ["release+lean@process", "oci+scratch+lean@crun", "oci+slim+lean@crun",
                                 "linux+lean@qemu"])
def test_hello_answers_from_the_lean_emulator(place: Lab, erts: Erts, arm: str) -> None:
    built = place.build("hello", text=HELLO, target="release", ports=(8080,))
    machine = place.boot("hello", arm=arm, http="/", until="http", deadline=240)
    try:
        assert machine.arm == arm
        assert body(machine) == f"emu {host_otp().release}"
    finally:
        machine.stop()
    assert built.release.origin == ""


def test_an_image_with_it_holds_no_libraries_and_is_smaller(place: Lab, erts: Erts) -> None:
    build = place.build("hello", text=HELLO, target="oci", ports=(8080,))
    host, made = build.images[0], place._image(build, "oci", "scratch", ("lean",))
    assert "libraries" in {part.name for part in host.parts}
    assert "libraries" not in {part.name for part in made.parts}
    assert (made.kind, made.origin) == ("oci+scratch+lean", build.release.sha256)
    assert made.shipped_bytes < host.shipped_bytes
    again = place._image(build, "oci", "scratch", ("lean",))
    assert (again.sha256, again.cached) == (made.sha256, True)


def test_a_build_can_choose_its_emulator(place: Lab, erts: Erts) -> None:
    made = place.build("hello", text=HELLO, target="release", ports=(8080,), erts="lean")
    same = place.build("twin", text=HELLO, target="release", ports=(8080,), erts=str(erts.path))
    assert is_static(made.release.path / made.release.launch.erts / "bin" / "beam.smp")
    assert made.images[0].kind == "release"
    assert (same.release.path / same.release.launch.erts / "bin" / "beam.smp").read_bytes() == \
        (made.release.path / made.release.launch.erts / "bin" / "beam.smp").read_bytes()
    host = place.build("hello", text=HELLO, target="release", ports=(8080,), erts="host")
    assert host.release.sha256 == made.release.origin


def test_a_release_with_crypto_is_refused_before_anything_is_built(fresh_store: Store) -> None:
    lab = Lab(fresh_store)
    lab.build("hashes", text=HASHES, target="release")
    with pytest.raises(ImageError) as caught:
        lab.boot("hashes", arm="release+lean@process")
    assert (caught.value.message, caught.value.hint) == (
        "crypto needs a NIF that a static emulator cannot load.",
        "Leave lean out: the release runs on the emulator it comes with.")
    assert not (fresh_store.cache / "erts").exists()


def test_an_otp_that_the_distribution_lacks_is_refused(fresh_store: Store) -> None:
    with pytest.raises(ImageError) as caught:
        erlang_source(fresh_store, "17.0")
    assert caught.value.message.startswith("The distribution has no source of Erlang/OTP 17.0; it has ")
    assert caught.value.hint == "Build the release with the distribution's own Erlang, or leave lean out."


def test_a_build_that_fails_says_why_and_keeps_nothing(fresh_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "FLAGS", lean.FLAGS | {"CFLAGS": "-O2 -include no_such_header.h"})
    with pytest.raises(ImageError) as caught:
        build_lean(fresh_store, host_otp().version)
    assert caught.value.message == "The lean emulator does not compile on this host."
    assert any("error" in line for line in caught.value.details)
    assert known_lean(fresh_store) == []
    assert not list((fresh_store.cache / "tmp").iterdir())


def test_a_build_can_be_stopped_and_keeps_nothing(fresh_store: Store) -> None:
    stop = threading.Event()

    def at_configure(event: StepEvent) -> None:
        if (event.kind, event.title) == ("begin", "Configuring the emulator"):
            threading.Timer(2.0, stop.set).start()

    with listening(at_configure, cancelled=stop), pytest.raises(Cancelled):
        build_lean(fresh_store, host_otp().version)
    assert known_lean(fresh_store) == []
    assert not list((fresh_store.cache / "tmp").iterdir())


def test_the_commands_list_and_build_it(store: Store, erts: Erts) -> None:
    lab = Lab(store)
    listed = to_text(execute(lab, parse(["erts", "list"])))
    assert "host" in listed
    assert f"erlang {erts.source.split()[1]}" in listed
    assert "static" in to_text(execute(lab, parse(["erts", "build", "lean"])))
    with pytest.raises(UsageError) as caught:
        execute(lab, parse(["erts", "build"]))
    assert (caught.value.message, caught.value.hint) == ("Say which emulator to build.", "Write 'erts build lean'.")


@pytest.mark.serial
def test_it_compares_with_the_hosts_own_in_one_experiment(place: Lab, erts: Erts) -> None:
    place.build("hello", text=HELLO, target="release", ports=(8080,))
    exp = place.bench("hello", arms=("release@process",), against=("release+lean@process",), blocks=2, http="/")
    assert {sample.arm for sample in exp.samples if sample.ok} == {"release@process", "release+lean@process"}
    shipped = {sample.arm: sample.shipped_bytes for sample in exp.samples}
    assert shipped["release+lean@process"] < shipped["release@process"]
