"""The magic in a real InteractiveShell: help, mistakes, expansion, assignment, configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unibeam_nb.errors import Cancelled, UnibeamError, UsageError
from unibeam_nb.lab import Build, Lab
from unibeam_nb.lab.plans import PlanOptions
from unibeam_nb.model import Image, Launch, Release
from unibeam_nb.notebook.commands import COMMANDS
from unibeam_nb.notebook.magics import unload
from unibeam_nb.notebook.parser import overview


class Recorded:
    """A call of the Lab that was checked against the real Lab's signature and not carried out."""

    def __init__(self, method: str, arguments: dict[str, Any]) -> None:
        self.method, self.arguments = method, arguments


class RecordingLab:
    """Answers every method of the real Lab with what it was called with."""

    def __getattr__(self, method: str) -> Callable[..., Recorded]:
        signature = inspect.signature(getattr(Lab, method))

        def call(*positional: Any, **named: Any) -> Recorded:
            bound = signature.bind(self, *positional, **named)
            bound.apply_defaults()
            options = bound.arguments.pop("options", {})
            assert set(options) <= set(PlanOptions.__annotations__)
            return Recorded(method, bound.arguments | options)

        return call


@pytest.fixture
def recording(shell: Any) -> Any:
    """The shell over a Lab that records."""
    shell.magics_manager.registry["UnibeamMagics"]._lab = RecordingLab()
    return shell


def result(shell: Any, cell: str) -> Any:
    ran = shell.run_cell(cell, store_history=True)
    ran.raise_error()
    return ran.result


def failure(shell: Any, cell: str) -> Any:
    return shell.run_cell(cell, store_history=True).error_in_exec


@pytest.mark.parametrize(("line", "expected"), [
    ("boot hello", {"name": "hello", "arm": "qemu", "mem_mb": 256, "vcpus": 1, "accelerator": "auto", "ports": (),
                    "http": None, "until": None, "deadline": 120.0, "env": (), "machine_name": None}),
    ("boot hello --on oci+slim@podman --mem 64 --vcpus 2 --accel tcg --port 9000:8080,8443 --http / --until http "
     "--deadline 7 --env A=b,c --as web", {
         "arm": "oci+slim@podman", "mem_mb": 64, "vcpus": 2, "accelerator": "tcg", "ports": ("9000:8080", "8443"),
         "http": "/", "until": "http", "deadline": 7.0, "env": ("A=b,c",), "machine_name": "web"}),
    ("bench hello --on linux@qemu --against release@process -n 30 --warmup 0 --seed 0 --experiment e1", {
        "name": "hello", "arms": ("linux@qemu",), "against": ("release@process",), "blocks": 30, "warmup": 0,
        "seed": 0, "experiment": "e1", "mem_mb": 256}),
    ("bench hello", {"blocks": 10, "seed": None, "warmup": 1, "toml": None}),
    ("doctor", {"prove": False}),
])
def test_flags_become_the_labs_arguments(recording: Any, line: str, expected: dict[str, Any]) -> None:
    arguments = result(recording, f"%unibeam {line}").arguments
    assert {key: arguments[key] for key in expected} == expected


def test_configured_defaults_hold_where_nothing_is_said(recording: Any) -> None:
    result(recording, "%config UnibeamMagics.mem = 96\n%config UnibeamMagics.on = 'crun'")
    arguments = result(recording, "%unibeam boot hello").arguments
    assert (arguments["mem_mb"], arguments["arm"]) == (96, "crun")
    assert result(recording, "%unibeam boot hello --mem 32").arguments["mem_mb"] == 32


def test_variables_expand_on_the_line(recording: Any) -> None:
    arguments = result(recording, "memory, name = 100, 'shop'\n%unibeam boot $name --mem {memory + 28}").arguments
    assert (arguments["name"], arguments["mem_mb"]) == ("shop", 128)


def test_variables_expand_on_a_cells_line_and_never_in_its_body(recording: Any) -> None:
    arguments = result(recording, "%%unibeam bench {'he' + 'llo'}\nname = \"$HOME {1 + 1}\"\n").arguments
    assert arguments["name"] == "hello"
    assert arguments["toml"] == "\nname = \"$HOME {1 + 1}\"\n"


def test_a_result_can_be_assigned(recording: Any) -> None:
    assert result(recording, "machine = %unibeam boot hello\nmachine.method") == "boot"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of every call of the Lab's build, which then builds nothing."""
    calls: list[dict[str, Any]] = []
    signature = inspect.signature(Lab.build)

    def build(self: Lab, name: str, **named: Any) -> Build:
        calls.append(dict(signature.bind(self, name, **named).arguments))
        return Build(name, a_release(), images=(an_image(flavour=str(len(calls))),))

    monkeypatch.setattr(Lab, "build", build)
    return calls


def a_release() -> Release:
    return Release("x", "1", Path("/x"), "k", "s", "25", "erts-13", "cell", (), Launch("erts-13"))


def an_image(flavour: str) -> Image:
    return Image("x", "oci", flavour, Path("/x"), "k", "s", "s", 1, 2, (), (), Launch("erts-13"))


def test_each_target_is_built_and_all_images_come_back(shell: Any, builds: list[dict[str, Any]]) -> None:
    result(shell, "b = %unibeam build x --from . --target linux,oci,oci+slim --flag '+S 1:1' --port 80")
    made = [(call["target"], call["flavour"]) for call in builds]
    assert made == [("linux", ""), ("oci", "scratch"), ("oci", "slim")]
    first = builds[0]
    assert (first["flags"], first["ports"], first["path"], first["text"]) == (("+S", "1:1"), (80,), Path(), None)
    assert [image.flavour for image in shell.user_ns["b"].images] == ["1", "2", "3"]


@pytest.mark.parametrize(("cell", "line"), [
    ("%%unibeam build x\n-module(x).\n", 2),
    ("\n\n%%unibeam build x\n-module(x).\n", 4),
    ("%%unibeam build x\n\n\n-module(x).\n", 4),
])
def test_the_body_keeps_the_line_numbers_of_the_editor(shell: Any, builds: list[dict[str, Any]], cell: str,
                                                      line: int) -> None:
    result(shell, cell)
    assert builds[0]["text"].split("\n")[line - 1] == "-module(x)."


def test_line_numbers_hold_where_the_front_end_keeps_no_history(shell: Any, builds: list[dict[str, Any]]) -> None:
    shell.run_cell("\n\n\n%%unibeam build y\n-module(y).\n", store_history=True)
    shell.run_cell("%%unibeam build x\n-module(x).\n", store_history=False).raise_error()
    assert builds[1]["text"].split("\n")[1] == "-module(x)."


def test_a_blank_body_beside_from_is_no_source(shell: Any, builds: list[dict[str, Any]]) -> None:
    result(shell, "%%unibeam build x --from .\n\n   \n")
    assert builds[0]["text"] is None


@pytest.mark.parametrize(("cell", "message", "hint"), [
    ("%unibeam biuld hello", "'biuld' is not a command.", "Did you mean build?"),
    ("%%unibeam boot hello\n-module(x).", "boot takes no cell body.",
     "Write it as a line of its own, with one %: %unibeam boot"),
    ("%unibeam boot nobody", "Nothing has been built under the name 'nobody'.",
     "Built so far: nothing yet. Build it with '%%unibeam build nobody'."),
    ("%unibeam chart boot", "There is no experiment yet.", "Run one with '%unibeam bench NAME -n 10'."),
    ("%unibeam build hello", "A build takes either a cell's text or --from PATH.",
     "Write the modules below '%%unibeam build hello', or name a project."),
    ("%unibeam build hello --from . --port 0", "'0' is not a port that a program can serve.",
     "Write a number from 1 to 65535."),
    ("%unibeam build hello -", "A notebook has no standard input to read.",
     "Write the modules below %%unibeam build NAME."),
    ("%unibeam bench nowhere/plan.toml", "nowhere/plan.toml cannot be read: No such file or directory.",
     "Name a plan, a TOML file that says what to measure."),
    ("%%unibeam bench -n 3\nblocks = 4", "--blocks cannot stand beside a plan in TOML.", "Write it into the plan."),
    ("%%unibeam bench plan.toml\nblocks = 4", "There are two plans, a file and the cell's body.",
     "Leave one of them out."),
    ("%unibeam stop", "Say which machine to stop.", "Name one that 'ps' lists, or use --all."),
])
def test_a_mistake_fails_the_cell_with_a_sentence_and_a_hint(shell: Any, capsys: pytest.CaptureFixture[str], cell: str,
                                                           message: str, hint: str) -> None:
    error = failure(shell, cell)
    assert isinstance(error, UnibeamError)
    assert (error.message, error.hint) == (message, hint)
    assert capsys.readouterr().out == f"{type(error).__name__}: {message}\n  Hint: {hint}\n"


def test_an_error_of_ours_keeps_its_traceback(shell: Any, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Lab, "ps", lambda self: 1 / 0)
    assert isinstance(failure(shell, "%unibeam ps"), ZeroDivisionError)
    assert "Traceback (most recent call last)" in capsys.readouterr().out


def test_our_usage_error_is_not_ipythons_which_would_not_fail_the_cell() -> None:
    from IPython.core.error import UsageError as IPythonUsageError

    assert not issubclass(UsageError, IPythonUsageError)


def test_a_stopped_experiment_says_that_its_samples_are_kept(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(self: Lab, *_positional: Any, **_named: Any) -> None:
        raise Cancelled

    monkeypatch.setattr(Lab, "bench", stopped)
    error = failure(shell, "%unibeam bench hello")
    assert str(error) == ("Stopped.\n  Hint: The boots measured so far are kept; --experiment NAME goes on with them.")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_is_shown_as_text_and_not_as_a_quoted_string(shell: Any, name: str) -> None:
    shown = shell.display_formatter.format(result(shell, f"%unibeam {name} -h"))[0]
    assert shown["text/plain"].startswith(f"Usage: %unibeam {name}")


def test_the_question_mark_shows_the_overview(shell: Any) -> None:
    assert shell.object_inspect("%unibeam")["docstring"] == overview("%unibeam")


def test_the_extension_can_be_reloaded_and_unloaded(shell: Any) -> None:
    shell.run_line_magic("reload_ext", "unibeam_nb")
    assert [type(c).__name__ for c in shell.configurables].count("UnibeamMagics") == 1
    assert len(shell.Completer.custom_matchers) == 1
    shell.run_line_magic("unload_ext", "unibeam_nb")
    assert shell.find_line_magic("unibeam") is None
    assert shell.find_cell_magic("unibeam") is None
    assert shell.Completer.custom_matchers == []


def test_a_second_unload_does_nothing(shell: Any) -> None:
    unload(shell)
    unload(shell)
