"""What strangers send, a journal, a report, an archive, a guest's last words: shown as text, and nowhere obeyed."""

from __future__ import annotations

import ast
import csv
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from unibeam_nb.analysis.export import export
from unibeam_nb.analysis.tables import wide_frame
from unibeam_nb.arms import Arm
from unibeam_nb.bench.journal import Experiment, load_experiment
from unibeam_nb.bench.plan import make_plan
from unibeam_nb.errors import BenchError, BootFailed, UnibeamError
from unibeam_nb.jsonable import to_json
from unibeam_nb.lab import Lab
from unibeam_nb.model import Finding, Image, Launch, Memory, Part, Release, Sample
from unibeam_nb.notebook.display import sheet_of, to_text
from unibeam_nb.notebook.sheet import as_html
from unibeam_nb.store import Store

EVILS = ["<script>document.title='hit'</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)",
         "</title><h1>", "\x1b]0;owned\x07\x1b[31m", "\u202egnp.exe", "nul\x00byte", "$\\frac{$", "=cmd|' /C calc'!A0",
         "\x9b31m", "../../../etc/passwd", "\ud800"]


def samples(evil: str) -> tuple[Sample, ...]:
    found = []
    for block in range(6):
        for arm in ("linux@qemu", "release@process"):
            end = 1.0 + block / 100
            failed = block == 5
            found.append(Sample(
                arm, block, len(found), False, not failed, "", {"spawn": 0.0, "beam": end / 2, "app": end, "http": end},
                Memory(30_000_000, 10_000_000, 19_000_000), accelerator=evil, host="h", parts=(Part(evil, 5),),
                error=evil if failed else ""))
    return tuple(found)


def experiment(evil: str, path: Path) -> Experiment:
    """An experiment that says ``evil`` wherever it may say something."""
    plan = make_plan("hello", (Arm.parse("linux@qemu"), Arm.parse("release@process")), blocks=6, warmup=0, until="http")
    image = {"name": evil, "target": evil, "flavour": evil, "release_sha256": evil, "shipped_bytes": 8, "sha256": evil,
             "unpacked_bytes": 9, "parts": [{"name": evil, "bytes": 5}], "kernel": evil, "tools": [[evil, evil]],
             "erts": evil}
    header = {"format": "unibeam-journal", "version": 2, "name": evil, "plan": to_json(plan) | {"source": evil},
              "date": evil, "host_id": evil, "tools": {evil: evil, "unibeam": evil},
              "images": {"linux@qemu": image, "release@process": image},
              "host": {"cpu": evil, "cores": 2, "ram_bytes": 8 << 30, "kernel": evil, "distribution": evil,
                       "virtualised": evil}}
    return Experiment(evil, path, header, samples(evil), (f"2026: {evil}",))


def journal(evil: str, place: Path) -> Path:
    """The same as a file, as somebody else may send it."""
    path = place / "sent.jsonl"
    path.write_bytes(experiment(evil, path).to_journal())
    return path


def texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for one in pair for text in texts(one)]
    return [text for one in value for text in texts(one)] if isinstance(value, list | tuple) else []


def is_harmless(text: str) -> bool:
    return not any(unicodedata.category(c)[0] == "C" and c not in "\n\t" for c in text)


@pytest.mark.parametrize("evil", EVILS[:-1])
def test_a_journal_from_elsewhere_holds_nothing_that_a_terminal_obeys(evil: str, tmp_path: Path) -> None:
    found = load_experiment(journal(evil, tmp_path))
    everything = [*texts(found.header), *texts(to_json(found.samples)), *found.notes, repr(found)]
    assert len(everything) > 100
    assert all(map(is_harmless, everything))
    frame = wide_frame(found)
    assert is_harmless(frame.to_string())


# Long names are cut off, so a formula comes alone.
@pytest.mark.parametrize("evil", ["".join(EVILS[:-1]), "$\\frac{$", "../../../etc/passwd", "=cmd|' /C calc'!A0"])
def test_charts_and_reports_of_it_are_drawn_and_written_where_they_belong(evil: str, tmp_path: Path,
                                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "a" / "b" / "c"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    found = load_experiment(journal(evil, tmp_path))
    report = Lab(Store(tmp_path / "cache", tmp_path / "state")).report(found)
    table = export(found, "csv")
    assert [path.resolve().parent for path in (report, table)] == [place, place]
    assert is_harmless(report.read_text(encoding="utf-8"))
    assert load_experiment(report).samples[0].marks == found.samples[0].marks
    with table.open(newline="", encoding="utf-8") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert not [cell for cell in cells if cell[:1] in "=+-@\t\r" and cell and not _number(cell)]


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_a_journal_of_ours_is_read_as_it_stands(tmp_path: Path) -> None:
    told = "line one\n\ttabbed, grüß 😀 \\frac"
    found = experiment(told, tmp_path / "x")
    (tmp_path / "own.jsonl").write_bytes(found.to_journal())
    assert load_experiment(tmp_path / "own.jsonl").samples[-1].error == told


@pytest.mark.parametrize("evil", EVILS)
def test_what_is_quoted_in_an_error_steers_no_terminal(evil: str) -> None:
    error = BootFailed(f"{evil} did not start.", f"Look at {evil}.", [evil])
    assert is_harmless(str(error))
    assert is_harmless("".join(error._render_traceback_()))
    from unibeam_nb.cli import _shown

    assert is_harmless(_shown(error))
    assert str(UnibeamError("A line.\n\tAnother.")) == "A line.\n\tAnother."


def nouns(evil: str) -> list[Any]:
    launch = Launch(evil, (evil,))
    image = Image(evil, evil, evil, Path(evil.replace("\0", "")), evil, evil, evil, 5, 5, (Part(evil, 5),), (), launch,
                  (), evil, ((evil, evil),), options=(evil,))
    release = Release(evil, evil, Path("x"), evil, evil, evil, evil, evil, (), launch,
                      findings=(Finding("port", evil, evil),))
    return [image, release]


@pytest.mark.parametrize("evil", EVILS)
def test_what_a_noun_is_called_stays_text_in_its_face(evil: str) -> None:
    for noun in nouns(evil):
        sheet = sheet_of(noun)
        assert sheet is not None
        html, text = as_html(sheet), to_text(noun) + to_text([noun])
        assert is_harmless(html)
        assert is_harmless(text)
        for bad in ("<script", "<img src", "</title>", 'href="javascript'):
            assert bad not in html


def test_nothing_that_is_read_is_ever_run() -> None:
    """Pickles, marshalled code, ``eval`` and shells: none is in the package, so none can be fed."""
    import unibeam_nb

    forbidden = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"}
    for path in Path(unibeam_nb.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name.split(".")[0] for alias in node.names} if isinstance(node, ast.Import) else \
                    {(node.module or "").split(".")[0]}
                assert not names & forbidden, path
            if isinstance(node, ast.Call):
                called = node.func.id if isinstance(node.func, ast.Name) else ""
                assert called not in ("eval", "exec", "compile", "__import__"), path
                popen = isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) \
                    and node.func.value.id == "subprocess"
                assert not (popen and any(word.arg == "shell" for word in node.keywords)), path
                read = isinstance(node.func, ast.Attribute) and node.func.attr in ("read_pickle", "load_module")
                assert not read, path


@pytest.mark.parametrize("line", [b"\x80\x04c__builtin__\neval\n.", b"!!python/object", b"<html>",
                                  b'{"format": "unibeam-journal", "version": 99}'])
def test_what_is_no_journal_is_refused(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(line)
    with pytest.raises(BenchError):
        load_experiment(tmp_path / "x.jsonl")
