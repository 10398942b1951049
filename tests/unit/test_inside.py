"""What is in an image: the tree, the difference of two, search, and how it all looks."""

from __future__ import annotations

import csv
import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.analysis.inside import Exploration, Node, difference, folded, signed, tree, walk
from unibeam_nb.errors import ImageError, UsageError
from unibeam_nb.image import contents
from unibeam_nb.image.contents import Item
from unibeam_nb.image.tree import directory, file, link
from unibeam_nb.image.tree import tree as file_tree
from unibeam_nb.model import Image, Launch
from unibeam_nb.notebook.display import to_text
from unibeam_nb.notebook.inside import exploration_sheet
from unibeam_nb.notebook.sheet import as_html
from unibeam_nb.notebook.widgets.explorer import plain

LIB = "opt/release/lib"


def items(**changed: int) -> list[Item]:
    """A small image; ``changed`` sets the bytes of a module of stdlib, 0 leaves it out."""
    modules = {"lists": 4000, "maps": 2000} | changed
    return [
        Item("kernel", "linux kernel", 10_000, 9_000, "k"), Item("init", "init", 500, 300, "i"),
        Item("lib/x86_64-linux-gnu/libc.so.6", "libraries", 3000, 1500, "c"),
        Item("opt/release/erts-13.1/bin/beam.smp", "erts", 6000, 3000, "b"),
        Item("etc/hosts", "configuration", 20, 20, "h"),
        Item("opt/release/releases/1/start.boot", "configuration", 80, 60, "s"),
        Item(f"{LIB}/hello-1/ebin/Elixir.Hello.beam", "hello", 700, 400, "e"),
        Item(f"{LIB}/hello-1/priv/static/logo.svg", "hello", 100, 50, "l"),
        *(Item(f"{LIB}/stdlib-4.2/ebin/{name}.beam", "stdlib", size, size // 2, f"{name}{size}")
          for name, size in modules.items() if size)]


def explored(**changed: int) -> Exploration:
    return Exploration("hello, linux", folded(tree("hello", items(**changed), 20_000)))


def test_everything_is_where_people_look_for_it() -> None:
    found = {hit.path: hit.node for hit in walk(explored().root)}
    assert list(found)[:3] == ["linux kernel", "applications", "applications/stdlib"]
    assert found["applications/stdlib/lists"].kind == "module"
    assert found["applications/stdlib"].version == "4.2"
    assert found["applications/hello/Hello"].kind == "module"
    assert found["applications/hello/priv/static/logo.svg"].kind == "file"
    assert found["erts"].version == "13.1"
    assert found["erts/bin/beam.smp"].bytes == 6000
    assert found["libraries/libc.so.6"].kind == "file"
    assert found["configuration/opt/release/releases/1/start.boot"].bytes == 80


def test_what_travels_is_told_apart_exactly_for_the_kernel_and_by_packing_for_the_rest() -> None:
    root = explored().root
    shares = {child.name: child.shipped for child in root.children}
    assert shares["linux kernel"] == 10_000
    assert sum(shares.values()) == pytest.approx(20_000)
    assert shares["erts"] / shares["libraries"] == pytest.approx(2)


def test_two_files_of_one_name_both_stay() -> None:
    both = [Item(f"{LIB}/a-1/ebin/Foo.beam", "a", 5, 5, "1"), Item(f"{LIB}/a-1/ebin/Elixir.Foo.beam", "a", 7, 7, "2")]
    (application,) = tree("x", both, 10).children[0].children
    assert application.bytes == 12
    assert {child.name for child in application.children} == {item.path for item in both}


def test_a_difference_names_what_came_went_and_changed() -> None:
    whole = difference(explored().root, explored(lists=0, maps=2500, sets=50).root)
    found = {hit.path: hit.node for hit in walk(whole)}
    assert {path: (n.state, n.delta) for path, n in found.items() if path.startswith("applications/stdlib/")} == {
        "applications/stdlib/lists": ("gone", -4000), "applications/stdlib/maps": ("changed", 500),
        "applications/stdlib/sets": ("new", 50)}
    assert found["applications/stdlib"].delta == -3450
    assert found["erts"].state == "same"
    assert next(iter(found)) == "applications"


def test_equal_bytes_with_another_content_are_a_change() -> None:
    one, two = (tree("x", [Item("etc/a", "configuration", 5, 5, digest)], 5) for digest in "ab")
    assert difference(one, two).state == "changed"
    assert difference(one, one).state == "same"


SOME = st.lists(st.builds(lambda name, size: Item(f"{LIB}/a-1/ebin/{name}.beam", "a", size, size, str(size)),
                          st.sampled_from("abcdefgh"), st.integers(1, 9)), unique_by=lambda item: item.path)


@given(SOME, SOME)
def test_a_difference_adds_up(old: list[Item], new: list[Item]) -> None:
    found = difference(tree("x", old, 100), tree("x", new, 100))
    assert found.before == sum(item.bytes for item in old)
    assert found.bytes == sum(item.bytes for item in new)
    for hit in walk(found):
        if hit.node.children:
            assert hit.node.bytes == sum(child.bytes for child in hit.node.children)
            assert hit.node.before == sum(child.before for child in hit.node.children)
    assert (found.state == "same") == (sorted(old, key=str) == sorted(new, key=str)) or not (old or new)


def test_search_finds_by_name_and_by_what_is_above() -> None:
    what = explored()
    assert [hit.path for hit in what.search("STDLIB")] == ["applications/stdlib"]
    assert [hit.path for hit in what.search("stdlib ma")] == ["applications/stdlib/maps"]
    assert [hit.path for hit in what.search("so.6")] == ["libraries/libc.so.6"]
    assert what.search("nowhere") == what.search("  ") == ()
    assert what.at("applications/stdlib/maps").bytes == 2000
    with pytest.raises(UsageError) as caught:
        what.at("applications/nowhere")
    assert caught.value.message == "There is no 'applications/nowhere' in hello, linux."


def test_the_table_has_every_part(tmp_path: Path) -> None:
    frame = explored().to_frame()
    assert frame[frame["level"] == 0]["bytes"].sum() == explored().root.bytes
    path = explored().save(tmp_path / "deep" / "inside.csv")
    assert [row["path"] for row in csv.DictReader(path.read_text().splitlines())] == list(frame["path"])
    differs = Exploration("b", difference(explored().root, explored(lists=0).root), "a").to_frame()
    assert differs["delta_bytes"].iloc[0] == -4000


def test_a_map_and_bars_can_be_drawn(tmp_path: Path) -> None:
    chart = explored().chart()
    assert "26.4 kB unpacked, the largest of it linux kernel 10.0 kB, stdlib 6.0 kB, erts 6.0 kB" in chart.alt
    assert chart.save(tmp_path / "map.png").read_bytes()[1:4] == b"PNG"
    other = Exploration("b", difference(explored().root, explored(lists=0).root), "a")
    assert other.chart().alt == "b against a: -4.0 kB in all; applications/stdlib -4.0 kB (changed)."
    deep = [Item(f"usr/lib/{name}", "base", size, size, "") for name, size in (("a", 50), ("b/c", 30), ("b/d", 20))]
    assert Exploration("x", folded(tree("x", deep, 100))).chart().alt == \
        "x: 100 B unpacked, the largest of it a 50 B and b 50 B."
    same = Exploration("b", difference(explored().root, explored().root), "a")
    assert same.chart().alt == "b against a: no bytes in all; nothing differs."
    assert same.chart().svg


def test_a_text_is_indented_and_a_page_folds() -> None:
    text = to_text(explored())
    assert re.search(r"\napplications +6\.8 kB +25\.8 %.*\n  stdlib 4\.2 +6\.0 kB", text)
    assert "lists" not in text
    assert "    lists" in to_text(Exploration("hello", explored().root, depth=3))
    html = as_html(exploration_sheet(explored()))
    assert "<summary style=\"cursor:pointer\">In applications</summary>" in html
    assert "1 part called" in to_text(Exploration("hello", explored().root, word="maps"))
    assert to_text(Exploration("hello", explored().root, word="zz")) == "Nothing in hello is called 'zz'."
    same = Exploration("b", difference(explored().root, explored().root), "a")
    assert to_text(same) == "Nothing differs between b and a."


def test_a_long_level_ends_in_what_the_rest_weighs() -> None:
    many = [Item(f"{LIB}/a-1/ebin/m{i}.beam", "a", 10, 5, "") for i in range(100)]
    text = to_text(Exploration("x", tree("x", many, 100), depth=3))
    assert "    76 smaller" in text
    assert text.count("\n    m") == 24


def test_what_a_page_gets_is_plain_data() -> None:
    sent = plain(Node("a\x1b[31m", "file", 5, 2.6, version="1"))
    assert sent == ["a\N{REPLACEMENT CHARACTER}[31m 1", "file", 5, 3, 0, "", []]


def test_names_never_become_html() -> None:
    evil = [Item("opt/release/lib/x-1/ebin/<img src=x onerror=alert(1)>.beam", "<b>x", 5, 5, "")]
    html = as_html(exploration_sheet(Exploration("<script>", tree("x", evil, 5), depth=4)))
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "&lt;img src=x" in html


def test_bytes_gained_and_lost_are_signed() -> None:
    assert [signed(1200), signed(-5), signed(0)] == ["+1.2 kB", "-5 B", "no bytes"]


def image(path: Path, target: str = "linux") -> Image:
    return Image("hello", target, "", path, "k", "s", "r", 1, 1, (), (), Launch("erts-13"))


def test_what_was_noted_is_read_again(tmp_path: Path) -> None:
    whole = file_tree([file("etc/hosts", "127.0.0.1 localhost\n" * 40), link("etc/mtab", "/proc/mounts"),
                       directory("run")])
    contents.write(tmp_path, contents.of_entries(whole.values()))
    hosts, mtab = contents.read(image(tmp_path))
    assert (hosts.path, hosts.part, hosts.bytes) == ("etc/hosts", "configuration", 800)
    assert hashlib.sha256(b"127.0.0.1 localhost\n" * 40).hexdigest() == hosts.digest
    assert hosts.packed < 60
    assert (mtab.bytes, mtab.packed) == (12, 12)


def test_a_release_is_looked_at_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "lib" / "a-1" / "ebin").mkdir(parents=True)
    (tmp_path / "lib" / "a-1" / "ebin" / "a.beam").write_bytes(b"FOR1")
    (found,) = contents.read(image(tmp_path, "release"))
    assert (found.path, found.part, found.bytes) == (f"{LIB}/a-1/ebin/a.beam", "a", 4)


def test_an_image_without_notes_says_so(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        contents.read(image(tmp_path))
    assert caught.value.message == "What lies in the linux image of hello was not noted when it was built."
    assert caught.value.hint == "Build it again."
