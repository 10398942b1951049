"""``check --target`` held against what happens: a program that makes every call in question, in each kind of image."""

from __future__ import annotations

import re

import pytest

from tests.integration.conftest import write
from unibeam_nb import process, tools
from unibeam_nb.lab import Lab
from unibeam_nb.release.findings import KINDS
from unibeam_nb.release.portability import FAILS, WORKS
from unibeam_nb.store import Store

CALLS = """
    -module(calls_app).
    -behaviour(application).
    -export([start/2, stop/1]).

    start(_, _) ->
        told("port", fun() -> run({spawn, "true"}) end),
        told("os-cmd", fun() -> "hello\\n" = os:cmd("echo hello"), ok end),
        told("executable", fun() -> run({spawn_executable, filename:join(code:priv_dir(calls), "own")}) end),
        told("nif", fun() -> <<_:32/bytes>> = crypto:hash(sha256, <<>>), ok end),
        told("lookup", fun() -> {ok, _} = inet:gethostbyname("localhost"), ok end),
        told("disk", fun() -> ok = file:write_file("written", <<"x">>) end),
        told("distribution", fun() -> {ok, _} = net_kernel:start(['calls@127.0.0.1']), ok end),
        {ok, spawn_link(fun() -> receive stop -> ok end end)}.

    stop(_) -> ok.

    run(What) ->
        Port = open_port(What, [exit_status]),
        receive {Port, {exit_status, Status}} -> 0 = Status, ok
        after 20000 -> error(silent)
        end.

    told(What, Call) ->
        try Call() of ok -> io:format("told ~s works~n", [What])
        catch _:Reason -> io:format("told ~s fails ~0p~n", [What, Reason])
        end.
"""

APPLICATION = """
    {application, calls, [{vsn, "1"}, {modules, [calls_app]}, {registered, []},
                          {applications, [kernel, stdlib, crypto]}, {mod, {calls_app, []}}]}.
"""

OWN = {"executable", "nif", "lookup", "disk"}
"""What works wherever there is a Linux: a program of the release's own, native code, names, files."""

ALL = {*OWN, "port", "os-cmd"}

PLACES = {"linux": ("linux@qemu", OWN), "oci": ("oci+scratch@crun", OWN), "oci+slim": ("oci+slim@crun", ALL),
          "release": ("release@process", ALL)}
"""Each place that every host has: the arm that is one, and the calls that work there. ``xen`` is a linux image, and OSv
needs a kernel of the user's (test_osv.py)."""


@pytest.fixture(scope="module")
def calls(store: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    project = tmp_path_factory.mktemp("calls") / "calls"
    write(project / "src" / "calls_app.erl", CALLS)
    write(project / "src" / "calls.app.src", APPLICATION)
    write(project / "rebar.config", "{erl_opts, []}.\n")
    write(project / "own.c", "int main(void) { return 0; }\n")
    (project / "priv").mkdir()
    process.run([tools.find("gcc"), "-static", project / "own.c", "-o", project / "priv" / "own"])
    return Lab(store).build("portability-calls", path=project, target="release").name


@pytest.mark.parametrize("place", PLACES)
def test_what_check_says_is_what_happens(lab: Lab, calls: str, place: str) -> None:
    outcomes = {verdict.finding.kind: verdict.outcome for verdict in lab.verdicts(calls, place)}
    assert set(outcomes) == set(KINDS) - {"note"}
    arm, works = PLACES[place]
    machine = lab.boot(calls, arm=arm, until="app", deadline=180)
    told = dict(re.findall(r"^told (\S+) (works|fails)", machine.console.text(), re.MULTILINE))
    machine.stop()
    assert {kind for kind in told if told[kind] == "works"} - {"distribution"} == works, machine.console.text()
    if "os-cmd" not in works:  # As the table says: it answers with nothing.
        assert "told os-cmd fails {badmatch,[]}\n" in machine.console.text()
    for kind, outcome in outcomes.items():
        if outcome in (WORKS, FAILS):  # What is to be used with care can do either.
            assert told[kind] == outcome, machine.console.text()
