"""Boot scripts, vm.args, installed systems, and what a path is."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.errors import SourceError
from unibeam_nb.release import bootscript, vmargs
from unibeam_nb.release.bootscript import BootScriptError, make_atom, make_list, make_string, make_tuple
from unibeam_nb.release.otp import app_dirs, closure, version_key
from unibeam_nb.release.sources import kind_of, release_from_path
from unibeam_nb.release.systems import RABBITMQ, installed_apps, known_system
from unibeam_nb.store import Store


def progress(name: str) -> bytes:
    return make_tuple(make_atom("progress"), make_atom(name))


def boot(*steps: bytes) -> bytes:
    name = make_tuple(make_string("r"), make_string("1"))
    return b"\x83" + make_tuple(make_atom("script"), name, make_list(steps))


PATHS = make_tuple(make_atom("path"), make_list([make_string("$ROOT/lib/kernel-1/ebin"), make_string("$OTHER/x")]))
LOAD = make_tuple(make_atom("primLoad"), make_list([make_atom("code"), make_atom("erl_eval")]))
PROVIDER = bootscript.apply("Elixir.Config.Provider", "boot")
SCRIPT = boot(progress("preloaded"), PATHS, LOAD, PROVIDER, progress("started"))


def test_the_agent_comes_right_after_the_preloaded_modules_and_nothing_else_changes() -> None:
    edited = bootscript.instructions(bootscript.with_agent(SCRIPT, "$ROOT/lib/a/ebin"))[2]
    original = bootscript.instructions(SCRIPT)[2]
    assert edited[0] == original[0]
    assert edited[3] == bootscript.apply("unibeam_agent", "beam")
    assert [edited[4], *edited[6:]] == [original[1], *original[3:]]
    assert make_string("$ROOT/lib/a/ebin") in edited[1]
    assert make_atom("erl_eval") not in edited[5]


def test_a_restarting_provider_is_framed() -> None:
    edited = bootscript.instructions(bootscript.with_agent(SCRIPT, "$ROOT/lib/a/ebin", restarts=True))[2]
    at = edited.index(PROVIDER)
    assert edited[at - 1:at + 2] == [bootscript.apply("unibeam_agent", "expose"), PROVIDER,
                                     bootscript.apply("unibeam_agent", "hide")]


def test_variables_and_compressed_scripts_are_read() -> None:
    packed = b"\x83P" + struct.pack(">I", len(SCRIPT) - 1) + zlib.compress(SCRIPT[1:])
    assert bootscript.instructions(packed) == bootscript.instructions(SCRIPT)
    assert bootscript.variables(SCRIPT) == {"OTHER"}


@pytest.mark.parametrize("data", [b"", b"\x83", SCRIPT[:-5], b"\x83" + make_atom("script"), boot(progress("started"))])
def test_a_damaged_script_is_one_sentence(data: bytes) -> None:
    with pytest.raises(BootScriptError) as caught:
        bootscript.with_agent(data, "$ROOT/x")
    assert caught.value.message.startswith("The release's boot script is damaged: ")


@given(st.integers(0, len(SCRIPT)), st.binary(max_size=20))
def test_garbage_is_refused_and_never_crashes(at: int, noise: bytes) -> None:
    data = SCRIPT[:at] + noise + SCRIPT[at + len(noise):]
    with contextlib.suppress(BootScriptError):
        assert bootscript.with_agent(data, "$ROOT/x", restarts=True)


def test_vm_args_are_words_with_comments_and_quotes() -> None:
    text = ("# -no\n-setcookie 'a b' # why\n+P 4096\n-kernel x \"\\\"q\\\"\"\n"
            "-heart\n-mode embedded\n-extra one two\n")
    found = vmargs.parse(text)
    assert found.words[:5] == ("-setcookie", "a b", "+P", "4096", "-kernel")
    assert '"q"' in found.words
    assert "embedded" not in found.words
    assert found.extra == ("one", "two")
    assert found.heart
    assert not found.distributed
    assert vmargs.parse("-sname a").distributed


def test_defaults_are_filled_in_and_their_absence_is_explained() -> None:
    assert vmargs.fill_in("+P ${LIMIT:-10}\n# ${NOT}") == "+P 10\n# ${NOT}"
    with pytest.raises(SourceError) as caught:
        vmargs.fill_in("-sname ${NODE}")
    assert caught.value.message == "vm.args wants the environment variable NODE, which has no default."
    assert caught.value.hint == "Write ${NODE:-default} in vm.args.src."


@given(st.text(max_size=200))
def test_any_vm_args_can_be_read(text: str) -> None:
    vmargs.parse(text)


def application(lib: Path, name: str, version: str, needs: str = "") -> None:
    ebin = lib / f"{name}-{version}" / "ebin"
    ebin.mkdir(parents=True)
    (ebin / f"{name}.app").write_text(
        f'{{application,{name},[{{vsn,"{version}"}},{{modules,[]}},{{applications,[{needs}]}}]}}.')


def test_the_newest_version_wins_and_dependencies_come_first(tmp_path: Path) -> None:
    for name, version, needs in (("kernel", "8.9", ""), ("kernel", "8.10", ""), ("stdlib", "4", "kernel"),
                                 ("a", "1", "b,kernel"), ("b", "1", "stdlib")):
        application(tmp_path, name, version, needs)
    where = app_dirs(tmp_path)
    assert where["kernel"].name == "kernel-8.10"
    assert [app.name for app in closure(["a"], where)] == ["kernel", "stdlib", "b", "a"]
    assert version_key("10.2") > version_key("9.11.3")


def test_a_missing_dependency_names_who_needs_it(tmp_path: Path) -> None:
    for name, needs in (("kernel", ""), ("stdlib", ""), ("a", "os_mon")):
        application(tmp_path, name, "1", needs)
    with pytest.raises(SourceError) as caught:
        closure(["a"], app_dirs(tmp_path))
    assert caught.value.message == "The application os_mon, which a needs, is not on this host."
    assert (caught.value.hint or "").endswith("apt-get install erlang-os-mon")


def test_an_installed_rabbitmq_is_recognised(tmp_path: Path) -> None:
    application(tmp_path / "lib" / "rabbitmq_server-3" / "plugins", "rabbit", "3")
    assert known_system(installed_apps(tmp_path)) is RABBITMQ
    assert known_system(installed_apps(tmp_path / "lib" / "rabbitmq_server-3")) is RABBITMQ
    assert kind_of(tmp_path) == "system"


def test_what_a_path_is_is_seen(tmp_path: Path) -> None:
    for name in ("a.erl", "b.ex", "c.tar.gz", "d.tgz"):
        (tmp_path / name).touch()
    assert [kind_of(tmp_path / n) for n in ("a.erl", "b.ex", "c.tar.gz", "d.tgz")] == [
        "module", "module", "archive", "archive"]
    for name, marker in (("m", "mix.exs"), ("r", "rebar.config")):
        (tmp_path / name).mkdir()
        (tmp_path / name / marker).touch()
    assert [kind_of(tmp_path / n) for n in ("m", "r")] == ["mix", "rebar3"]


def test_wrong_paths_are_one_sentence_each(tmp_path: Path, fresh_store: Store) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x.txt").touch()
    for name, sentence in (("gone", f"{tmp_path}/gone does not exist."), ("empty", f"{tmp_path}/empty is empty."),
                           ("full", f"{tmp_path}/full is neither a project nor a release."),
                           ("full/x.txt", "x.txt is no kind of file that can become a release.")):
        with pytest.raises(SourceError) as caught:
            release_from_path(fresh_store, "x", tmp_path / name)
        assert caught.value.message == sentence
        assert "rebar3 or mix project" in (caught.value.hint or "")
    assert not fresh_store.cache.exists()
