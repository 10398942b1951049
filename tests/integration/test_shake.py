"""Shaken releases: what worked before works still, on real emulators and machines."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.integration.test_real_input import booted, https
from unibeam_nb import process, tools
from unibeam_nb.errors import BootFailed, UsageError
from unibeam_nb.lab import Lab
from unibeam_nb.notebook.display import to_text
from unibeam_nb.notebook.execute import execute
from unibeam_nb.notebook.parser import parse
from unibeam_nb.release.beamfile import read_beam
from unibeam_nb.release.otp import host_otp
from unibeam_nb.release.shake.reach import Module, reach
from unibeam_nb.release.shake.trim import trimmed

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
    Body = lists:flatten(io_lib:format("~p ~ts", [length(erlang:loaded()), calendar:system_time_to_rfc3339(0)])),
    gen_tcp:send(Socket, ["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ",
                          integer_to_list(length(Body)), "\r\n\r\n", Body]),
    gen_tcp:close(Socket),
    accept(Listen).
"""

SECRETIVE = r"""
-module(secretive).
-export([start/0]).

start() ->
    case os:getenv("SECRET") of
        false -> ok;
        Name -> (list_to_atom(Name)):new()
    end.
"""


def test_a_shaken_hello_answers_from_the_tiny_kernel_with_a_smaller_image(lab: Lab) -> None:
    import urllib.request

    build = lab.build("hello-shaken", text=HELLO, target="release", ports=(8080,))
    with booted(lab, "hello-shaken", arm="linux+tiny+shake@qemu", http="/", deadline=240) as machine:
        assert machine.url is not None
        with urllib.request.urlopen(machine.url, timeout=30) as answer:
            loaded, time = answer.read().decode().split()
    assert time.startswith("19")  # The first second of 1970, or the last of 1969: calendar was loaded on demand.
    shaken = lab.shaken(build.release)
    assert shaken.origin == build.release.sha256
    assert lab.shaken(shaken) == shaken
    assert int(loaded) < 110
    assert sum(a.bytes for a in shaken.applications) < 0.85 * sum(a.bytes for a in build.release.applications)
    left = {item.name: item for item in shaken.left_out or ()}
    assert left["shell"].kind == "module"
    assert left["lists"].kind == "functions"
    assert "global" not in process_loaded(lab, shaken.path)
    shown = to_text(execute(lab, parse(["check", "hello-shaken", "--shake"])))
    assert "nothing that can run refers to it" in shown


def process_loaded(lab: Lab, root: Path) -> str:
    return (root / "releases" / "1" / "unibeam.boot").read_bytes().decode("latin-1").partition("kernel_load")[0]


def test_every_module_of_otp_loads_whatever_functions_stay(tmp_path: Path) -> None:
    """Each module of stdlib, kernel and ssl, trimmed to what some of its functions need, is taken by the emulator."""
    apps, place = host_otp().apps(), tmp_path / "trimmed"
    place.mkdir()
    files = [path for name in ("stdlib", "kernel", "ssl") for path in sorted((apps[name] / "ebin").glob("*.beam"))]
    for number, path in enumerate(files):
        module = Module(path.stem, "", read_beam(path.read_bytes()))
        roots = [function for i, function in enumerate(module.beam.exports) if i % 3 == number % 3]
        found = reach({module.name: module}, roots, [], {})[module.name] if roots else set(range(len(module.bodies)))
        assert found is not None
        (place / path.name).write_bytes(trimmed(module, found))
    check = ("Bad = [{F, R} || F <- filelib:wildcard(\"trimmed/*.beam\"), {ok, B} <- [file:read_file(F)], "
             "R <- [erlang:prepare_loading(list_to_atom(filename:basename(F, \".beam\")), B)], is_tuple(R)], "
             "io:format(\"~p ~p\", [length(filelib:wildcard(\"trimmed/*.beam\")), Bad]), halt().")
    done = process.run([tools.find("erl"), "-noshell", "-eval", check], cwd=tmp_path)
    assert done.stdout == f"{len(files)} []"


def test_a_name_made_at_run_time_is_told_and_can_be_kept(lab: Lab) -> None:
    lab.build("secretive", text=SECRETIVE, target="release", shake=True)
    shown = to_text(execute(lab, parse(["check", "secretive", "--shake"])))
    assert "erlang:list_to_atom/1" in shown
    with pytest.raises(BootFailed) as caught:
        lab.boot("secretive", arm="release@process", env=("SECRET=array",))
    assert (caught.value.message, caught.value.hint) == (
        "secretive calls array:new, which was left out by --shake.", "Build with --keep array.")
    lab.build("secretive", text=SECRETIVE, target="release", shake=True, keep=("array",))
    with booted(lab, "secretive", arm="release@process", env=("SECRET=array",)) as machine:
        assert machine.alive
    with pytest.raises(UsageError) as refused:
        lab.build("secretive", text=SECRETIVE, target="release", shake=True, keep=("no_such",))
    assert refused.value.message == "--keep names no_such, which is neither a module nor an application of secretive."


@pytest.mark.parametrize("language", ["rebar3", "mix"])
def test_a_shaken_project_serves_https(lab: Lab, language: str, request: pytest.FixtureRequest) -> None:
    project = request.getfixturevalue({"rebar3": "rebar3_release", "mix": "mix_project"}[language])
    build = lab.build("web-shaken", path=project, target="release", ports=(8443,))
    shaken = lab.shaken(build.release)
    with booted(lab, "web-shaken", arm="release+shake@process", http="https:8443/") as machine:
        assert https(machine) == hashlib.sha256(b"unibeam").hexdigest().upper()
    assert sum(a.bytes for a in shaken.applications) < sum(a.bytes for a in build.release.applications)


@pytest.mark.slow
def test_a_shaken_rabbitmq_starts_without_the_applications_it_never_names(lab: Lab, rabbitmq: Path) -> None:
    build = lab.build("rabbitmq-shaken", path=rabbitmq, target="release", ports=(5672,))
    left = lab.shaken(build.release).left_out or ()
    assert {item.kind for item in left} <= {"application", "library"}
    with booted(lab, "rabbitmq-shaken", arm="release+shake@process", http="tcp:5672", deadline=180.0) as machine:
        assert machine.alive
