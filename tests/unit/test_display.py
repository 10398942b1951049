"""How results look: everything escaped, tables that a screen reader can follow, text for a shell."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.arms import Arm
from unibeam_nb.bench.journal import Experiment
from unibeam_nb.bench.plan import Plan
from unibeam_nb.doctor import Capability, Diagnosis
from unibeam_nb.errors import MachineError
from unibeam_nb.image.bom.model import KINDS, Bom, Component, Package
from unibeam_nb.image.kernels import Kernel
from unibeam_nb.jsonable import to_json
from unibeam_nb.lab import Build, Machines
from unibeam_nb.model import Application, Finding, Image, Launch, Mark, Memory, Part, Release, Sample
from unibeam_nb.notebook.display import SHEETS, WIDGETS, machine_sheet, sheet_of, to_text
from unibeam_nb.notebook.results import Findings, Kernels, Lines, Saved, Text
from unibeam_nb.notebook.sheet import Bar, Bars, Folded, Sheet, Table, as_html, as_text, printable

EVIL = "</td></table><script>alert(1)</script><img src=x onerror=alert(1)>\" onload='x'\x1b[31m&amp;"

ALLOWED = {"div", "table", "thead", "tbody", "tr", "th", "td", "caption", "details", "summary", "pre", "a", "img"}

ATTRIBUTES = {"class", "style", "scope", "href", "target", "rel", "alt", "width", "height", "src"}


PICTURE = re.compile(r'data:image/svg\+xml,<svg xmlns="http://www.w3.org/2000/svg" [a-z0-9#=". /<>-]+</svg>')


class Reader(HTMLParser):
    """Reads HTML as a browser would; keeps tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def is_harmless(html: str) -> Reader:
    """The page read, after it was seen to hold no tag and no attribute but ours."""
    read = Reader(html)
    assert set(read.tags) <= ALLOWED
    assert {name for _, name, _ in read.attributes} <= ATTRIBUTES
    assert all(value.startswith(("http://", "https://", "./")) for _, name, value in read.attributes if name == "href")
    assert all(PICTURE.fullmatch(unquote(value)) for _, name, value in read.attributes if name == "src")
    return read


def a_release(word: str = "hello") -> Release:
    return Release(word, word, Path(word), word, word, word, word, word,
                   (Application(word, word, 3, 2048), Application("kernel", "8.5", 70, 900_000)), Launch(word), (8080,),
                   (Finding(word, word, word),), cached=True)


def an_image(word: str = "hello") -> Image:
    return Image(word, word, word, Path(word), word, word, word, 5_000_000, 12_000_000,
                 (Part(word, 4_000_000), Part("kernel", 8_000_000)), (), Launch(word), (8080,), word, ((word, word),))


@dataclass
class Console:
    text: str

    def tail(self, lines: int) -> list[str]:
        return self.text.splitlines()[-lines:]


@dataclass
class FakeMachine:
    """A machine as its display sees it; real ones are shown in the integration tests."""

    word: str = "hello"
    alive: bool = True
    booting: bool = False
    exit_code: int | None = None
    pid: int = 42
    ports: dict[int, int] = field(default_factory=lambda: {8080: 49152})
    url: str | None = "http://127.0.0.1:49152/"
    address: str = "127.0.0.1"
    broken: bool = False
    data: Path | None = None
    fell_back: bool = False
    restarts: int = 0

    def __post_init__(self) -> None:
        self.id = self.name = self.arm = self.accelerator = self.started = self.word
        self.console = Console(f"{self.word}\nready")
        self.marks = {"spawn": Mark("spawn", 0.0), self.word: Mark(self.word, 1.5), "app": Mark("app", 2.0)}

    def memory(self) -> Memory:
        if self.broken:
            raise MachineError("It ended meanwhile.")
        return Memory(30_000_000, 12_000_000)


def an_experiment(word: str = "hello") -> Experiment:
    plan = Plan("hello", "hello", (Arm("linux", (), "qemu"), Arm("release", (), "process")), blocks=2, until="app")
    samples = [Sample(str(arm), block, block, block == 0, True, "", {"app": at + block}, Memory(20_000_000, 1_000_000),
                      5_000_000) for arm, at in zip(plan.arms, (3.0, 0.5), strict=True) for block in range(3)]
    samples.append(Sample("linux@qemu", 1, 9, False, False, "", error=word))
    header = {"plan": to_json(plan), "date": word, "host": {"cpu": word, "distribution": word}}
    return Experiment(word, Path(word), header, tuple(samples), (f"{word}: {word}",))


def a_bill(word: str) -> Bom:
    package = Package(word, word, word, licence=word)
    return Bom(word, word, word, tuple(Component(word, kind, word, word, word, 1, 1, package, f"pkg:{word}", word, word,
                                                 (word,), (("origin", word),)) for kind in KINDS), word)


def nouns(word: str) -> list[Any]:
    return [a_release(word), an_image(word), a_bill(word), Build(word, a_release(word), (an_image(word),)),
            Machines((FakeMachine(word),)),  # type: ignore[arg-type]
            an_experiment(word), Diagnosis((Capability(word, "missing", word, word),)),
            Findings(word, (Finding(word, word, word),)),
            Kernels((Kernel(word, word, Path(__file__), None, word, word),)),
            Lines((word, word)), Lines((word,)), Saved(Path(word))]


@pytest.mark.parametrize("index", range(len(nouns("x"))))
def test_no_field_of_a_noun_becomes_markup(index: int) -> None:
    noun = nouns(EVIL)[index]
    sheet = sheet_of(noun)
    assert sheet is not None
    assert "<script>alert(1)</script>" in is_harmless(as_html(sheet)).text
    assert "\x1b" not in to_text(noun)


def test_what_a_guest_printed_stays_text() -> None:
    sheet = machine_sheet(FakeMachine(EVIL, url="javascript:alert(1)"))  # type: ignore[arg-type]
    assert "<script>alert(1)</script>" in is_harmless(as_html(sheet)).text
    assert "\x1b" not in as_text(sheet)


@given(st.text(), st.text(), st.lists(st.tuples(st.text(), st.floats(0, 1e9), st.floats(0, 1e9)), max_size=4))
def test_any_text_in_any_place_of_a_sheet_stays_text(one: str, other: str,
                                                    bars: list[tuple[str, float, float]]) -> None:
    sheet = Sheet(one, ((one, other),), (Table((one, other), ((other, one),), one), Folded(other, one),
                                         Bars(one, tuple(Bar(t, min(a, b), max(a, b), other) for t, a, b in bars))),
                  (one, f"https://{other}"))
    is_harmless(as_html(sheet))
    assert all(printable(line) == line for line in as_text(sheet).split("\n"))


def test_a_sheet_has_headings_that_a_screen_reader_can_tell() -> None:
    read = is_harmless(as_html(Sheet("t", (("key", "value"),), (Table(("a", "b"), (("1", "2"),)), Bars("c", (
        Bar("x", 0, 1, "one"),))))))
    assert [value for _, name, value in read.attributes if name == "scope"] == ["row", "col", "col", "row"]


def test_bars_stay_inside_their_track() -> None:
    html = as_html(Sheet("", (), (Bars("", (Bar("a", 0, 0, ""), Bar("b", 9.999, 10, ""), Bar("c", 0, 10, ""))),)))
    pictures = [unquote(value) for _, name, value in Reader(html).attributes if name == "src"]
    assert len(pictures) == 3
    for picture in pictures:
        found = re.search(r'x="([\d.]+)" width="([\d.]+)"', picture)
        assert found is not None
        left, width = float(found[1]), float(found[2])
        assert width > 1
        assert left + width <= 240.01


def test_colours_come_from_the_theme() -> None:
    html = as_html(Sheet("t", (("k", "v"),), (Table(("a",), (("1",),)), Folded("f", "x"),
                                              Bars("b", (Bar("x", 0, 1, ""),)))))
    assert "#fff" not in html
    assert "#000" not in html
    assert "--jp-" in html
    assert "currentColor" in html


@pytest.mark.parametrize("key", sorted(SHEETS))
def test_every_noun_with_a_sheet_exists_where_it_is_said_to(key: tuple[str, str]) -> None:
    module, name = key
    kind = getattr(importlib.import_module(module), name)
    assert (kind.__module__, kind.__qualname__) == key


def test_whatever_is_live_has_text_and_html_beside_it_for_front_ends_without_widgets() -> None:
    assert set(WIDGETS) <= set(SHEETS)
    for made in WIDGETS.values():
        module, _, name = made.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_a_machine_shows_where_it_answers_and_how_it_booted() -> None:
    text = as_text(machine_sheet(FakeMachine()))  # type: ignore[arg-type]
    assert "http://127.0.0.1:49152/" in text
    assert "127.0.0.1:49152 to 8080" in text
    assert "42.0 MB: 30.0 MB of the program's own, 12.0 MB to run it" in text
    assert "app    2.00 s" in text
    assert "spawn" not in text


def test_a_machine_that_ended_offers_no_link_and_reads_no_memory() -> None:
    sheet = machine_sheet(FakeMachine(alive=False, exit_code=3, broken=True))  # type: ignore[arg-type]
    assert sheet.links == ()
    assert ("state", "ended with exit status 3") in sheet.facts


def test_a_machine_that_ends_while_it_is_shown_is_shown_all_the_same() -> None:
    assert "memory" not in dict(machine_sheet(FakeMachine(broken=True)).facts)  # type: ignore[arg-type]


def test_an_experiment_shows_medians_without_warm_ups_and_counts_failures() -> None:
    text = to_text(an_experiment())
    row = next(line for line in text.splitlines() if line.startswith("linux@qemu"))
    assert row.split() == ["linux@qemu", "2", "4.50", "s", "4.00", "s", "5.00", "s", "21.0", "MB", "5.0", "MB", "1"]
    assert "linux@qemu, block 1: hello" in text


def test_nothing_running_is_said_in_a_sentence() -> None:
    assert to_text(Machines(())) == "Nothing is running."


def test_a_table_in_text_is_aligned() -> None:
    table = Table(("name", "bytes"), (("a", "1 kB"), ("longer", "100 kB")), numeric=frozenset((1,)))
    assert as_text(Sheet("", (), (table,))).split("\n") == ["name     bytes", "a         1 kB", "longer  100 kB"]


def test_other_values_are_printed_as_they_are() -> None:
    assert to_text(3) == "3"
    assert to_text(Text("a\n\x1b[31mb")) == "a\n�[31mb"


def test_the_shell_shows_html_and_text_of_a_noun(shell: Any) -> None:
    shown, _ = shell.display_formatter.format(Build("hello", a_release(), (an_image(),)))
    assert shown["text/plain"].startswith("Built hello\n")
    assert is_harmless(shown["text/html"])


def test_inside_a_list_a_noun_is_short(shell: Any) -> None:
    shown, _ = shell.display_formatter.format([a_release()])
    assert shown["text/plain"].startswith("[<Release hello")


def test_after_unload_nouns_look_as_they_did(shell: Any) -> None:
    shell.display_formatter.format(a_release())
    shell.run_line_magic("unload_ext", "unibeam_nb")
    shown, _ = shell.display_formatter.format(a_release())
    assert set(shown) == {"text/plain"}
    assert shown["text/plain"].startswith("<Release hello")


def test_a_file_beside_the_notebook_is_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    Path("out/a b.html").write_text("hello")
    saved = Saved(Path("out/a b.html"))
    sheet = sheet_of(saved)
    assert sheet is not None
    assert 'href="./out/a%20b.html"' in as_html(sheet)
    assert to_text(saved) == "Wrote out/a b.html (5 B)."
    assert Path(saved).read_text() == "hello"
    Path("out/a b.html").unlink()
    assert to_text(saved) == "out/a b.html is no longer there."
