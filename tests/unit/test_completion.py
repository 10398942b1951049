"""Tab, in a real InteractiveShell."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter

from unibeam_nb.analysis.chart import CHARTS
from unibeam_nb.arms import RUNNERS_OF, Arm
from unibeam_nb.lab import Lab
from unibeam_nb.notebook.commands import COMMANDS, Completes
from unibeam_nb.notebook.completion import ARMS, LabNames, candidates
from unibeam_nb.store import Store


class Names:
    """A world with a few names in it."""

    def of(self, what: Completes) -> Iterable[str]:
        return {"names": ("hello", "shop"), "machines": ("hello", "web1"), "experiments": ("run-1",),
                "kernels": ("stock", "tiny")}.get(what, ())


def offered(text: str) -> list[str]:
    found = candidates(text, Names())
    assert found is not None
    return found[1]


def completed(shell: Any, text: str) -> list[str]:
    """The whole text after each completion that the shell offers."""
    with provisionalcompleter():
        return [text[:c.start] + c.text + text[c.end:] for c in shell.Completer.completions(text, len(text))]


@pytest.mark.parametrize("line", ["%unibeam ", "%%unibeam ", "x = %unibeam ", "  a, b = %unibeam ", "%unibeam help "])
def test_every_command_is_offered(line: str) -> None:
    assert set(offered(line)) - {"-h"} == set(COMMANDS)


@pytest.mark.parametrize("line", ["unibeam ", "%unibeamx ", "%unibeam", "print('%unibeam ", "# %unibeam ",
                                  "x == %unibeam "])
def test_other_lines_are_left_alone(line: str) -> None:
    assert candidates(line, Names()) is None


@pytest.mark.parametrize(("line", "expected"), [
    ("%unibeam bo", ["boot"]),
    ("%unibeam boot ", ["hello", "shop"]),
    ("%unibeam boot --mem 128 h", ["hello"]),
    ("%unibeam boot hello --ac", ["--accel"]),
    ("%unibeam boot hello --accel ", ["auto", "kvm", "tcg", "icount"]),
    ("%unibeam boot hello --accel=k", ["--accel=kvm"]),
    ("%unibeam chart ", list(CHARTS)),
    ("%unibeam chart memory ", ["run-1"]),
    ("%unibeam logs w", ["web1"]),
    ("%unibeam stop --all ", ["hello", "web1"]),
    ("%unibeam build x --kernel t", ["tiny"]),
    ("%unibeam build x --target oci+", ["oci+scratch", "oci+slim"]),
    ("%unibeam bench hello --on linux@qemu,rel", ["linux@qemu,release@process"]),
    ("%unibeam nonsense ", []),
])
def test_what_fits_is_offered(line: str, expected: list[str]) -> None:
    assert offered(line) == expected


def test_an_arm_that_is_in_the_list_already_is_not_offered_again() -> None:
    offers = offered("%unibeam bench hello --against linux@qemu,")
    assert "linux@qemu,linux@qemu" not in offers
    assert "linux@qemu,oci+slim@podman" in offers


def test_every_offered_arm_is_one() -> None:
    assert {str(Arm.parse(arm)) for arm in ARMS if "@" in arm} == {arm for arm in ARMS if "@" in arm}


def test_files_are_offered_after_from(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shelf.erl").touch()
    (tmp_path / ".secret").touch()
    assert offered(f"%unibeam build x --from {tmp_path}/sh") == [f"{tmp_path}/shelf.erl", f"{tmp_path}/shop/"]
    assert offered(f"%unibeam build x --from {tmp_path}/") == [f"{tmp_path}/shelf.erl", f"{tmp_path}/shop/"]
    assert offered(f"%unibeam build x --from {tmp_path}/none/") == []


@pytest.mark.parametrize(("text", "expected"), [
    ("%unibeam bo", ["%unibeam boot"]),
    ("x = %unibeam bo", ["x = %unibeam boot"]),
    ("a = 1\nx = %unibeam chart sta", ["a = 1\nx = %unibeam chart stages"]),
    ("%unibeam boot hello --vc", ["%unibeam boot hello --vcpus"]),
    ("%%unibeam boot hello --on oci+sl", [f"%%unibeam boot hello --on oci+slim@{runner}"
                                         for runner in RUNNERS_OF["oci"]]),
    ("%unibeam bench x --on linux@qemu,rel", ["%unibeam bench x --on linux@qemu,release@process"]),
    ("%unibeam build x --target=oci+sc", ["%unibeam build x --target=oci+scratch"]),
    ("%unibeam report -", ["%unibeam report -o", "%unibeam report --output", "%unibeam report -h"]),
])
def test_the_shell_completes_to_whole_words(shell: Any, text: str, expected: list[str]) -> None:
    assert completed(shell, text) == expected


def test_the_older_interface_of_the_completer_works_too(shell: Any) -> None:
    text = "x = %unibeam ch"
    with pytest.warns(PendingDeprecationWarning):
        found = shell.complete("", line=text, cursor_pos=len(text))
    assert found == ("ch", ["check", "chart"])


def test_names_on_disk_are_completed(shell: Any) -> None:
    names = shell.magics_manager.registry["UnibeamMagics"].lab.store.directory("names")
    (names / "greeter.json").write_text("{}")
    assert completed(shell, "%unibeam boot gr") == ["%unibeam boot greeter"]


@pytest.mark.parametrize("what", ["names", "experiments", "machines", "kernels"])
def test_a_broken_state_directory_offers_nothing(tmp_path: Path, what: Completes) -> None:
    (tmp_path / "state").write_text("a file where a directory should be")
    (tmp_path / "cache").write_text("likewise")
    offers = set(LabNames(Lab(Store(tmp_path / "cache", tmp_path / "state"))).of(what))
    assert offers <= {"stock", "tiny", "tiny-size"}


def test_the_payload_of_a_cell_is_left_alone(shell: Any) -> None:
    text = "%%unibeam build hello\n%unibeam boo"
    assert "%%unibeam build hello\n%unibeam boot" not in completed(shell, text)


def test_python_lines_complete_as_ever(shell: Any) -> None:
    shell.run_cell("zebra_crossing = 1")
    assert completed(shell, "zebra_cr") == ["zebra_crossing"]


def test_nothing_is_offered_after_unload(shell: Any) -> None:
    shell.run_line_magic("unload_ext", "unibeam_nb")
    assert "%unibeam boot" not in completed(shell, "%unibeam bo")


def test_factors_are_offered_for_vary() -> None:
    found = candidates("%unibeam bench hello --vary m", Nothing())
    assert found == ("m", ["mem_mb="])


class Nothing:
    """Nothing has a name."""

    def of(self, what: str) -> tuple[str, ...]:
        return ()
