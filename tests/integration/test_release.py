"""Sources become releases, and the releases start for real as bare processes."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from unibeam_nb import process, tools
from unibeam_nb.errors import CompileError, SourceError, ToolMissing, UnibeamError
from unibeam_nb.model import MARK_LINE, Release
from unibeam_nb.progress import StepEvent, listening
from unibeam_nb.release import release_from_cell, release_from_path, samepath
from unibeam_nb.release.beamfile import read_beam
from unibeam_nb.store import Store, digest_tree

FIXTURES = Path(__file__).parent.parent / "fixtures"

HELLO = """\
-module(hello).
-export([start/0]).

start() ->
    Port = list_to_integer(os:getenv("PORT", "8080")),
    {ok, Listener} = gen_tcp:listen(Port, [binary, {packet, http_bin}, {active, false}, {reuseaddr, true}]),
    spawn_link(fun() -> serve(Listener) end),
    ok.

serve(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    {ok, _} = gen_tcp:recv(Socket, 0),
    ok = gen_tcp:send(Socket, <<"HTTP/1.1 200 OK\\r\\nconnection: close\\r\\ncontent-length: 5\\r\\n\\r\\nhello">>),
    gen_tcp:close(Socket),
    serve(Listener).
"""

ELIXIR_HELLO = """\
defmodule Hello do
  require Logger

  def start do
    port = String.to_integer(System.get_env("PORT", "8080"))
    {:ok, listener} = :gen_tcp.listen(port, [:binary, packet: :http_bin, active: false, reuseaddr: true])
    Logger.info("listening")
    {:ok, spawn_link(fn -> Hello.Loop.serve(listener) end)}
  end
end

defmodule Hello.Loop do
  def serve(listener) do
    {:ok, socket} = :gen_tcp.accept(listener)
    {:ok, _} = :gen_tcp.recv(socket, 0)
    body = Enum.join(["hello", "elixir"], " ")
    head = "HTTP/1.1 200 OK\\r\\nconnection: close\\r\\ncontent-length: #{byte_size(body)}\\r\\n\\r\\n"
    :gen_tcp.send(socket, head <> body)
    :gen_tcp.close(socket)
    serve(listener)
  end
end
"""


@dataclass
class Running:
    """A release that runs as a bare process: its console, and marks name -> (ns, pairs)."""

    child: subprocess.Popen[bytes]
    console: Path
    nonce: str
    port: int
    state: Path

    def text(self) -> str:
        return self.console.read_text(errors="replace")

    def marks(self) -> dict[str, tuple[int, str]]:
        return {m[2]: (int(m[3]), m[4]) for m in MARK_LINE.finditer(self.text()) if m[1] == self.nonce}

    def wait_for(self, wanted: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not wanted():
            assert self.child.poll() is None, f"ended with {self.child.returncode}:\n{self.text()}"
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(release: Release, state: Path, env: dict[str, str] | None = None) -> Iterator[Running]:
    state.mkdir(exist_ok=True)
    nonce, port = secrets.token_hex(8), free_port()
    console = state.parent / f"{state.name}.log"
    whole = release.launch.env(str(release.path), str(state)) | {"UNIBEAM_NONCE": nonce, "PORT": str(port)}
    whole |= env or {}
    with console.open("ab") as stream:
        child = process.spawn(release.launch.argv(str(release.path), str(state)), stdout=stream, cwd=state, env=whole,
                              clean_env=True)
    try:
        yield Running(child, console, nonce, port, state)
    finally:
        process.stop_group(child)


def ended(release: Release, state: Path, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit status and console of a release that ends by itself."""
    with running(release, state, env) as run:
        return run.child.wait(timeout=60), run.text()


def get(port: int, scheme: str = "http") -> str:
    context = ssl._create_unverified_context() if scheme == "https" else None
    with urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/", timeout=10, context=context) as answer:
        return str(answer.read().decode())


@pytest.fixture(scope="module")
def hello(store: Store) -> Release:
    return release_from_cell(store, "hello", HELLO, ports=(8080,))


@pytest.mark.skipif(tools.locate("erlc") is None, reason="erlc is not on this host")
class TestErlangCells:
    def test_both_marks_carry_the_nonce_and_http_answers(self, hello: Release, tmp_path: Path) -> None:
        with running(hello, tmp_path / "state") as run:
            run.wait_for(lambda: "app" in run.marks())
            marks = run.marks()
            assert 0 < marks["beam"][0] < marks["app"][0] < time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            assert int(marks["app"][1].split("memory=")[1]) > 1_000_000
            assert get(run.port) == "hello"
            assert list(run.state.iterdir()) == []

    def test_without_a_nonce_nothing_is_marked(self, hello: Release, tmp_path: Path) -> None:
        state = tmp_path / "state"
        state.mkdir()
        env = hello.launch.env(str(hello.path), str(state)) | {"PORT": str(free_port())}
        with (tmp_path / "log").open("wb") as stream:
            child = process.spawn(hello.launch.argv(str(hello.path), str(state)), stdout=stream, env=env,
                                  clean_env=True)
        time.sleep(1.5)
        alive = child.poll() is None
        process.stop_group(child)
        assert alive
        assert "@unibeam" not in (tmp_path / "log").read_text()

    def test_the_program_does_not_see_the_nonce(self, store: Store, tmp_path: Path) -> None:
        text = '-module(nosy).\n-export([start/0]).\nstart() -> io:format("saw ~p~n", [os:getenv("UNIBEAM_NONCE")]).\n'
        with running(release_from_cell(store, "nosy", text), tmp_path / "state") as run:
            run.wait_for(lambda: "app" in run.marks() and "saw" in run.text())
            assert "saw false" in run.text()

    def test_the_tree_holds_only_what_a_node_needs(self, hello: Release) -> None:
        erts = sorted(p.name for p in (hello.path / hello.launch.erts / "bin").iterdir())
        assert erts == ["beam.smp", "erl_child_setup", "erlexec", "inet_gethost"]
        assert {a.name for a in hello.applications} == {"kernel", "stdlib", "hello", "unibeam_agent"}
        beam = (hello.path / "lib" / "hello-1" / "ebin" / "hello.beam").read_bytes()
        assert beam[:4] == b"FOR1"
        assert not {"Dbgi", "CInf", "Docs"} & {name for name, _ in read_beam(beam).chunks}
        assert json.loads((hello.path.parent / "manifest.json").read_text())["sha256"] == hello.sha256

    def test_two_builds_in_different_stores_are_the_same_bytes(self, hello: Release, fresh_store: Store) -> None:
        again = release_from_cell(fresh_store, "hello", HELLO, ports=(8080,))
        assert not again.cached
        assert again.sha256 == hello.sha256 == digest_tree(again.path)

    def test_a_second_build_is_a_cache_hit(self, hello: Release, store: Store) -> None:
        again = release_from_cell(store, "hello", HELLO, ports=(8080,))
        assert again.cached
        assert again.key == hello.key

    def test_applications_are_found_by_what_the_module_calls(self, store: Store) -> None:
        text = "-module(secure).\n-export([start/0]).\nstart() -> ssl:versions(), ok.\n"
        names = {a.name for a in release_from_cell(store, "secure", text).applications}
        assert {"ssl", "crypto", "public_key", "asn1"} <= names
        assert "inets" not in names
        more = release_from_cell(store, "secure", text, applications=("inets",))
        assert "inets" in {a.name for a in more.applications}

    def test_an_application_callback_is_used_as_it_is(self, store: Store, tmp_path: Path) -> None:
        text = ("-module(boss).\n-behaviour(application).\n-behaviour(supervisor).\n"
                "-export([start/2, stop/1, init/1]).\n"
                'start(_, []) -> io:format("boss of ~p~n", [application:get_application()]),\n'
                "    supervisor:start_link(?MODULE, []).\nstop(_) -> ok.\ninit([]) -> {ok, {#{}, []}}.\n")
        with running(release_from_cell(store, "firm", text), tmp_path / "state") as run:
            run.wait_for(lambda: "app" in run.marks() and "boss of" in run.text())
            assert "boss of {ok,firm}" in run.text()

    def test_the_users_flags_win(self, store: Store, tmp_path: Path) -> None:
        text = ('-module(limits).\n-export([start/0]).\n'
                'start() -> io:format("limit ~p~n", [erlang:system_info(process_limit)]).\n')
        with running(release_from_cell(store, "limits", text, flags=("+P", "2048")), tmp_path / "state") as run:
            run.wait_for(lambda: "limit " in run.text())
            assert "limit 2048" in run.text()

    def test_a_compile_error_has_the_cells_own_line_numbers(self, fresh_store: Store) -> None:
        text = ("\n-module(one).\n-export([start/0]).\nstart() -> two:go().\n\n"
                "-module(two).\n-export([go/0]).\ngo() -> X.\n")
        with pytest.raises(CompileError) as caught:
            release_from_cell(fresh_store, "pair", text)
        assert caught.value.message == "pair.erl does not compile."
        assert any(line.startswith("two.erl:8:") and "'X' is unbound" in line for line in caught.value.details)
        assert str(fresh_store.cache) not in str(caught.value)
        assert not list((fresh_store.cache / "release").glob("[0-9a-f]*"))
        assert not list((fresh_store.cache / "tmp").iterdir())

    def test_a_warning_becomes_a_note(self, fresh_store: Store) -> None:
        events: list[StepEvent] = []
        text = "-module(sloppy).\n-export([start/0]).\nstart() -> Unused = 1, ok.\n"
        with listening(events.append):
            release_from_cell(fresh_store, "sloppy", text)
        assert any(e.kind == "note" and e.title.startswith("sloppy.erl:3:") and "Unused" in e.title for e in events)
        assert "Compiling sloppy.erl" in {e.title for e in events if e.kind == "begin"}

    def test_a_module_of_otp_is_not_replaced(self, fresh_store: Store) -> None:
        with pytest.raises(SourceError) as caught:
            release_from_cell(fresh_store, "x", "-module(lists).\n-export([start/0]).\nstart() -> ok.\n")
        assert caught.value.message == "The module lists is already a part of stdlib."

    def test_an_unknown_application_is_named(self, fresh_store: Store) -> None:
        with pytest.raises(SourceError) as caught:
            release_from_cell(fresh_store, "hello", HELLO, applications=("nothere",))
        assert caught.value.message == "The application nothere is not on this host."


FAILURES = {
    "raises": ("start() -> error(no_luck).", "unibeam: failing:start/0 failed:", "no_luck"),
    "returns an error": ("start() -> {error, eaddrinuse}.", "unibeam: failing:start/0 returned", "{error,eaddrinuse}"),
    "dies later": ("start() -> spawn_link(fun() -> timer:sleep(300), exit(worn_out) end), ok.", "worn_out", "failing"),
    "its pid dies": ("start() -> {ok, spawn(fun() -> timer:sleep(300), exit(worn_out) end)}.", "worn_out", "failing"),
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_program_that_fails_ends_the_node_with_a_readable_reason(how: str, store: Store, tmp_path: Path) -> None:
    body, *telling = FAILURES[how]
    release = release_from_cell(store, "failing", f"-module(failing).\n-export([start/0]).\n{body}\n")
    code, text = ended(release, tmp_path / "state")
    assert code != 0
    for words in telling:
        assert words in text
    assert not (tmp_path / "state" / "erl_crash.dump").exists()


@pytest.fixture
def another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, temporary files lie elsewhere, as those of another user do."""
    if not samepath.possible():
        pytest.skip("this host allows no mount namespace here")
    return lambda: monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.skipif(tools.locate("elixirc") is None, reason="elixirc is not on this host")
class TestElixirCells:
    def test_http_answers(self, store: Store, tmp_path: Path) -> None:
        release = release_from_cell(store, "ex hello", ELIXIR_HELLO)
        assert {"elixir", "logger", "ex_hello"} <= {a.name for a in release.applications}
        with running(release, tmp_path / "state") as run:
            run.wait_for(lambda: "app" in run.marks())
            assert get(run.port) == "hello elixir"

    def test_an_application_is_used_as_it_is(self, store: Store, tmp_path: Path) -> None:
        text = ("defmodule Firm do\n  use Application\n  def start(_type, []) do\n    IO.puts(\"firm starts\")\n"
                "    Supervisor.start_link([], strategy: :one_for_one)\n  end\nend\n")
        with running(release_from_cell(store, "exfirm", text), tmp_path / "state") as run:
            run.wait_for(lambda: "app" in run.marks() and "firm starts" in run.text())

    def test_a_compile_error_has_the_cells_own_line_numbers(self, fresh_store: Store) -> None:
        with pytest.raises(CompileError) as caught:
            release_from_cell(fresh_store, "bad", "defmodule Bad do\n  def start do\n    nope()\n  end\nend\n")
        assert caught.value.message == "bad.ex does not compile."
        said = "\n".join(caught.value.details)  # On one line, and since Elixir 1.16 on several.
        assert "bad.ex:3" in said
        assert "nope/0" in said

    def test_an_exception_is_shown_as_elixir_shows_it(self, store: Store, tmp_path: Path) -> None:
        text = "defmodule Sad do\n  def start, do: raise(\"no luck\")\nend\n"
        code, shown = ended(release_from_cell(store, "sad", text), tmp_path / "state")
        assert code != 0
        assert "unibeam: Sad:start/0 failed: ** (RuntimeError) no luck" in shown

    def test_two_builds_are_the_same_bytes(self, store: Store, fresh_store: Store) -> None:
        first, second = (release_from_cell(s, "exsame", ELIXIR_HELLO) for s in (store, fresh_store))
        assert first.sha256 == second.sha256

    def test_what_asks_for_its_path_is_the_same_bytes_for_another_user(
            self, store: Store, fresh_store: Store, another_user: Callable[[], None]) -> None:
        text = "defmodule Asking do\n  def start, do: IO.puts(__ENV__.file)\nend\n"
        first = release_from_cell(store, "asking", text)
        another_user()
        assert release_from_cell(fresh_store, "asking", text).sha256 == first.sha256


def generate(tool: str, arguments: list[str], where: Path) -> None:
    process.run([tools.find(tool), *arguments], cwd=where, timeout=120)


@pytest.mark.skipif(tools.locate("rebar3") is None, reason="rebar3 is not on this host")
class TestRebar3:
    def test_a_generated_release_with_tls_answers_https(self, store: Store, tmp_path: Path) -> None:
        generate("rebar3", ["new", "release", "shop"], tmp_path)
        project = tmp_path / "shop"
        source = project / "apps" / "shop" / "src"
        shutil.copy(FIXTURES / "tls_server.erl", source)
        edit(source / "shop.app.src", "stdlib", "stdlib, crypto, public_key, ssl")
        edit(source / "shop_sup.erl", "ChildSpecs = []",
             "ChildSpecs = [#{id => tls, start => {tls_server, start_link, []}}]")
        before = digest_tree(project)
        release = release_from_path(store, "shop", project, ports=(8443,))
        assert digest_tree(project) == before
        assert release.version == "0.1.0"
        assert ("-sname", "shop") in list(zip(release.launch.arguments, release.launch.arguments[1:], strict=False))
        assert any(f.kind == "distribution" for f in release.findings)
        with running(release, tmp_path / "state") as run:
            run.wait_for(lambda: "app" in run.marks())
            assert len(get(run.port, "https")) == 64
        assert release_from_path(store, "shop", project, ports=(8443,)).cached

    def test_a_generated_application_without_relx_starts(self, store: Store, tmp_path: Path) -> None:
        generate("rebar3", ["new", "app", "tool"], tmp_path)
        release = release_from_path(store, "tool", tmp_path / "tool")
        assert release.source == "rebar3"
        with running(release, tmp_path / "state") as run:
            run.wait_for(lambda: "app" in run.marks())

    def test_two_builds_by_different_users_are_the_same_bytes(self, store: Store, fresh_store: Store, tmp_path: Path,
                                                              another_user: Callable[[], None]) -> None:
        generate("rebar3", ["new", "release", "same"], tmp_path)
        edit(tmp_path / "same" / "apps" / "same" / "src" / "same_app.erl", "    same_sup:start_link().",
             "    io:put_chars(?FILE),\n    same_sup:start_link().")
        (tmp_path / "elsewhere").mkdir()
        shutil.copytree(tmp_path / "same", tmp_path / "elsewhere" / "same")
        first = release_from_path(store, "same", tmp_path / "same")
        another_user()
        second = release_from_path(fresh_store, "same", tmp_path / "elsewhere" / "same")
        assert first.sha256 == second.sha256

    def test_a_sys_config_template_is_filled_in_at_start(self, store: Store, tmp_path: Path) -> None:
        generate("rebar3", ["new", "release", "conf"], tmp_path)
        project = tmp_path / "conf"
        (project / "config" / "sys.config").unlink()
        (project / "config" / "sys.config.src").write_text(
            '[{conf, [{word, "${WORD:-nothing}"}, {home, "${HOME}"}]}].\n')
        (project / "config" / "vm.args").unlink()
        (project / "config" / "vm.args.src").write_text("+P ${LIMIT:-4096}\n")
        config = (project / "rebar.config").read_text().replace('{sys_config, "./config/sys.config"},', "").replace(
            '{vm_args, "./config/vm.args"}',
            '{sys_config_src, "./config/sys.config.src"}, {vm_args_src, "./config/vm.args.src"}')
        (project / "rebar.config").write_text(config)
        edit(project / "apps" / "conf" / "src" / "conf_app.erl", "conf_sup:start_link()",
             'io:format("conf ~p ~p~n", [application:get_all_env(conf), erlang:system_info(process_limit)]),\n'
             "    conf_sup:start_link()")
        with running(release_from_path(store, "conf", project), tmp_path / "state", {"WORD": "filled"}) as run:
            run.wait_for(lambda: "app" in run.marks() and "conf [" in run.text())
            assert '{word,"filled"}' in run.text()
            assert f'{{home,"{run.state}"}}' in run.text()
            assert "4096" in run.text()

    def test_a_syntax_error_is_a_compile_error(self, fresh_store: Store, tmp_path: Path) -> None:
        generate("rebar3", ["new", "app", "broken"], tmp_path)
        (tmp_path / "broken" / "src" / "broken_app.erl").write_text("-module(broken_app).\nfoo( -> ok.\n")
        with pytest.raises(CompileError) as caught:
            release_from_path(fresh_store, "broken", tmp_path / "broken")
        assert caught.value.message == "broken does not compile."
        assert any("broken_app.erl" in line for line in caught.value.details)
        assert not list((fresh_store.cache / "release").glob("[0-9a-f]*"))

    def test_a_library_says_what_it_lacks(self, fresh_store: Store, tmp_path: Path) -> None:
        generate("rebar3", ["new", "lib", "shelf"], tmp_path)
        with pytest.raises(SourceError) as caught:
            release_from_path(fresh_store, "shelf", tmp_path / "shelf")
        assert caught.value.message == "shelf holds no application that starts anything."


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, text
    path.write_text(text.replace(old, new))


@pytest.mark.skipif(tools.locate("mix") is None, reason="mix is not on this host")
class TestMix:
    def test_a_generated_project_with_tls_answers_https(self, store: Store, tmp_path: Path) -> None:
        generate("mix", ["new", "--sup", "web"], tmp_path)
        project = tmp_path / "web"
        shutil.copy(FIXTURES / "tls_server.ex", project / "lib")
        edit(project / "mix.exs", "[:logger]", "[:logger, :crypto, :public_key, :ssl]")
        edit(project / "lib" / "web" / "application.ex", "children = [", "children = [TlsServer\n")
        before = digest_tree(project)
        release = release_from_path(store, "web", project, ports=(8443,))
        assert digest_tree(project) == before
        with running(release, tmp_path / "state") as run:
            run.wait_for(lambda: "app" in run.marks())
            assert len(get(run.port, "https")) == 64
        assert release_from_path(store, "web", project, ports=(8443,)).cached

    @pytest.mark.parametrize("reboot", [False, True])
    def test_runtime_configuration_is_read_at_start(self, reboot: bool, store: Store, tmp_path: Path) -> None:
        name = f"conf{int(reboot)}"
        generate("mix", ["new", "--sup", name], tmp_path)
        project = tmp_path / name
        (project / "config").mkdir()
        (project / "config" / "config.exs").write_text(f'import Config\nconfig :{name}, word: "built"\n')
        (project / "config" / "runtime.exs").write_text(
            f'import Config\nconfig :{name}, word: System.get_env("WORD", "none")\n')
        if reboot:
            edit(project / "mix.exs", "deps: deps()",
                 f"deps: deps(), releases: [{name}: [reboot_system_after_config: true]]")
        edit(project / "lib" / name / "application.ex", "children = [",
             f'IO.puts("word #{{Application.get_env(:{name}, :word)}} '
             'consolidated #{Protocol.consolidated?(String.Chars)}")\n    children = [')
        release = release_from_path(store, name, project)
        with running(release, tmp_path / "state", {"WORD": "runtime"}) as run:
            run.wait_for(lambda: "app" in run.marks() and "word " in run.text())
            assert "word runtime consolidated true" in run.text()
            assert len(re.findall(rf"@unibeam {run.nonce} beam", run.text())) == 1

    def test_two_builds_by_different_users_are_the_same_bytes(self, store: Store, fresh_store: Store, tmp_path: Path,
                                                              another_user: Callable[[], None]) -> None:
        generate("mix", ["new", "--sup", "twin"], tmp_path)
        edit(tmp_path / "twin" / "lib" / "twin.ex", "    :world", "    __ENV__.file")
        (tmp_path / "elsewhere").mkdir()
        shutil.copytree(tmp_path / "twin", tmp_path / "elsewhere" / "twin")
        first = release_from_path(store, "twin", tmp_path / "twin")
        another_user()
        second = release_from_path(fresh_store, "twin", tmp_path / "elsewhere" / "twin")
        assert first.sha256 == second.sha256

    def test_dependencies_that_are_not_fetched_are_explained(self, fresh_store: Store, tmp_path: Path) -> None:
        generate("mix", ["new", "--sup", "needy"], tmp_path)
        edit(tmp_path / "needy" / "mix.exs", "# {:dep_from_hexpm, \"~> 0.3.0\"},",
             '{:absent, git: "file:///nowhere/absent.git"}')
        with pytest.raises(SourceError) as caught:
            release_from_path(fresh_store, "needy", tmp_path / "needy")
        assert caught.value.message == "needy has dependencies that are not fetched."
        assert caught.value.hint == "Run 'mix deps.get' in the project first."


class TestReleasesAndFiles:
    @pytest.fixture
    def made(self, hello: Release, tmp_path: Path) -> Path:
        """A release directory as a build tool leaves it: with its own boot script, without our agent."""
        root = tmp_path / "made"
        shutil.copytree(hello.path, root)
        shutil.rmtree(root / "lib" / "unibeam_agent-1")
        generate_boot(root)
        return root

    def test_a_release_directory_runs(self, store: Store, made: Path, tmp_path: Path) -> None:
        (made / "releases" / "1" / "vm.args").write_text("## limits\n+P 4096 # few\n-heart\n-setcookie 'a b'\n")
        (made / "share").mkdir()
        (made / "share" / "page.html").write_text("overlay")
        release = release_from_path(store, "adopted", made)
        assert (release.path / "share" / "page.html").read_text() == "overlay"
        assert "a b" in release.launch.arguments
        assert any("-heart is left out" in f.message for f in release.findings)

    def test_an_archive_runs(self, store: Store, made: Path, tmp_path: Path) -> None:
        archive = tmp_path / "hello.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            for part in sorted(made.iterdir()):
                tar.add(part, part.name)
        release = release_from_path(store, "packed", archive)
        assert release.source == "archive"
        with running_with_cell(release, tmp_path) as run:
            assert get(run.port) == "hello"

    def test_a_release_without_a_runtime_gets_the_hosts(self, store: Store, made: Path, hello: Release,
                                                       tmp_path: Path) -> None:
        shutil.rmtree(made / hello.launch.erts)
        shutil.rmtree(next((made / "lib").glob("stdlib-*")))
        with running_with_cell(release_from_path(store, "bare", made), tmp_path) as run:
            assert get(run.port) == "hello"

    def test_a_release_of_ours_can_be_a_source_again(self, store: Store, hello: Release, tmp_path: Path) -> None:
        shutil.copytree(hello.path, tmp_path / "copy")
        with running_with_cell(release_from_path(store, "again", tmp_path / "copy"), tmp_path) as run:
            assert get(run.port) == "hello"

    def test_a_release_of_another_otp_without_a_runtime_is_refused(self, fresh_store: Store, made: Path,
                                                                  hello: Release) -> None:
        shutil.rmtree(made / hello.launch.erts)
        rel = made / "releases" / "1" / "hello.rel"
        rel.write_text(rel.read_text().replace(hello.erts, "9.3"))
        with pytest.raises(SourceError) as caught:
            release_from_path(fresh_store, "old", made)
        assert caught.value.message == (f"The release brings no Erlang runtime and wants erts-9.3, but this host has "
                                        f"{hello.erts}.")
        assert not list((fresh_store.cache / "release").glob("[0-9a-f]*"))

    def test_a_module_file_runs(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "hello.erl").write_text(HELLO)
        release = release_from_path(store, "filed", tmp_path / "hello.erl")
        assert release.source == "file"
        with running(release, tmp_path / "state") as run:
            run.wait_for(lambda: "app" in run.marks())
            assert get(run.port) == "hello"

    def test_a_missing_tool_is_named_with_its_install_command(self, fresh_store: Store, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "p").mkdir()
        (tmp_path / "p" / "rebar.config").write_text("{deps, []}.\n")
        monkeypatch.setattr(tools, "locate", lambda command: None if command == "rebar3" else
                            Path(shutil.which(command) or command))
        with pytest.raises(ToolMissing) as caught:
            release_from_path(fresh_store, "p", tmp_path / "p")
        assert caught.value.message == "rebar3 is not on this host, which is needed for releases from rebar3 projects."
        assert "apt-get install --no-install-recommends rebar3 git" in (caught.value.hint or "")


def generate_boot(root: Path) -> None:
    """Replace our boot script by the one systools makes."""
    directory = root / "releases" / "1"
    (directory / "unibeam.boot").unlink()
    code = (f'{{ok,_,_}} = systools:make_script("{directory}/hello", '
            f'[no_warn_sasl, silent, {{path, ["{root}/lib/*/ebin"]}}, {{outdir, "{directory}"}}]), halt().')
    process.run([tools.find("erl"), "-noshell", "-pa", *sorted((root / "lib").glob("*/ebin")), "-eval", code])
    # The cell's own application callback lives in our agent, which every release of ours holds.
    assert (directory / "hello.boot").is_file()


@contextlib.contextmanager
def running_with_cell(release: Release, tmp_path: Path) -> Iterator[Running]:
    with running(release, tmp_path / "state") as run:
        run.wait_for(lambda: "app" in run.marks())
        yield run


@pytest.fixture(scope="session")
def rabbitmq(store: Store) -> Path:
    """Debian's RabbitMQ: the installed one, or its package unpacked (its service must not start here)."""
    installed = Path("/usr/lib/rabbitmq")
    if (installed / "lib").is_dir():
        return installed

    def fetch(entry: Path) -> None:
        process.run([tools.find("apt-get"), "download", "rabbitmq-server"], cwd=entry, timeout=300)
        process.run([tools.find("dpkg-deb"), "-x", next(entry.glob("*.deb")), entry / "root"])

    try:
        entry, _ = store.build("test-package", "rabbitmq-server", fetch)
    except UnibeamError as error:
        pytest.skip(f"rabbitmq-server cannot be downloaded: {error.message}")
    return entry / "root" / "usr" / "lib" / "rabbitmq"


def test_rabbitmq_takes_and_gives_back_a_thousand_messages(store: Store, rabbitmq: Path, tmp_path: Path) -> None:
    import pika

    release = release_from_path(store, "rabbitmq", rabbitmq)
    assert release.ports == (5672,)
    with running(release, tmp_path / "state") as run:
        run.wait_for(lambda: "app" in run.marks(), 120)
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", run.port))
        channel = connection.channel()
        channel.queue_declare("work", durable=True)
        channel.confirm_delivery()
        for number in range(1000):
            channel.basic_publish("", "work", str(number).encode(), pika.BasicProperties(delivery_mode=2))
        got = []
        for method, _properties, body in channel.consume("work", inactivity_timeout=10):
            assert method is not None, f"only {len(got)} came back"
            got.append(int(body))
            channel.basic_ack(method.delivery_tag)
            if len(got) == 1000:
                break
        connection.close()
        assert got == list(range(1000))
        assert "epmd" not in process.run(["ps", "-o", "comm=", "-g", str(run.child.pid)], check=False).stdout
