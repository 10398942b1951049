"""The guest's reader of YAML against PyYAML, which is what cloud-init reads with."""

from __future__ import annotations

import base64
import gzip
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.cloud import compiled, reader
from unibeam_nb import process, tools
from unibeam_nb.machine import seed
from unibeam_nb.release.terms import Atom
from unibeam_nb.store import Store
from unibeam_nb.talk import etf

MANY = """
Parse = fun(Text) ->
    try unibeam_cloud_yaml:parse(Text)
    catch Class:Reason -> {crash, list_to_binary(io_lib:format("~p ~p", [Class, Reason]))} end
end,
Flat = fun({error, Line, Why}) -> {error, Line, iolist_to_binary(Why)}; (Other) -> Other end,
{ok, Bytes} = file:read_file("in"),
ok = file:write_file("out", term_to_binary([Flat(Parse(Text)) || Text <- binary_to_term(Bytes)])),
halt().
"""

Parse = Callable[[list[bytes]], list[Any]]


@pytest.fixture
def answers(store: Store, tmp_path: Path) -> Parse:
    """What the guest's reader answers to many documents, in one emulator."""
    place = compiled(store)

    def read(texts: list[bytes]) -> list[Any]:
        (tmp_path / "in").write_bytes(etf.encode(list(texts)))
        process.run([tools.find("erl"), "-noshell", "-pa", place, "-eval", MANY], cwd=tmp_path, timeout=120)
        return list(etf.decode((tmp_path / "out").read_bytes()))

    return read


@pytest.fixture
def parse(answers: Parse) -> Parse:
    """The same as values, or (line, reason)."""
    return lambda texts: [value(one[1]) if one[0] == "ok" else one[1:] for one in answers(texts)]


def value(term: Any) -> Any:
    """A value of the guest's as PyYAML has it."""
    if isinstance(term, Atom):
        return {"true": True, "false": False, "null": None}[term]
    if isinstance(term, bytes):
        return term.decode()
    if isinstance(term, list):
        return [value(each) for each in term]
    if isinstance(term, tuple) and term[0] == "map":
        return {key.decode(): value(each) for key, _, each in term[1]}
    if isinstance(term, tuple):
        assert term[:2] == ("tag", b"!!binary"), term
        return base64.b64decode(term[2])
    return term


DOCUMENTS = r"""
a: 1
---8<---
a: [1, -2, +3, 0x1f, 0644, 1.5, ~, null, yes, No, ON, off, True, nope, 1a, 12e, 0x, -]
---8<---
- - a
  - b
- - c
-
  - d
- x: 1
  y:
    - z
    -
---8<---
key:
- at the same indentation
- too
next: {}
---8<---
literal: |
  one
    two

  three


strip: |-
  text
keep: |+
  text

given: |2
    indented
  less
folded: >
  one
  two

  three
    kept
    so
  four
empty: |
end: >-
  last
---8<---
single: 'it''s # no comment'
double: "a\tb\n\x41\u00e9\U0001F600 \"q\" \\ \/ "
url: http://10.0.2.2:80/#here
comment: text # here
hash: a#b
"quoted key": 1
'single key': 2
spaced key : 3
colon: a:b
---8<---
flow: {a: 1, "b": [x, 'y', {c: d}], e: , f, g: http://x/y}
over: [one,
  two,   # a comment

  three]
---8<---
plain: one
  two
  three

  four
after: 1
---8<---
# only
# comments
---8<---
--- # the document
a: b
...
---8<---
- [sh, -c, 'echo "a: b" > /x']
- [a, [b, [c]], {}]
- []
---8<---
a:

  b: 1
  # between
  c: 2
# less
  d: 3
---8<---
binary: !!binary |
  aGVs
  bG8=
---8<---
"""


def expected(text: str) -> Any:
    return yaml.safe_load(text)


def test_documents_mean_what_they_mean_to_cloud_init(parse: Parse) -> None:
    documents = [text for text in DOCUMENTS.split("---8<---\n") if text.strip()]
    for text, got in zip(documents, parse([text.encode() for text in documents]), strict=True):
        assert got == expected(text), text


WORDS = ("a", "shop", "it's", "x: y", "# no", "- no", "12", "0644", "1.5", "yes", "", " padded ", "two\nlines\n",
         "\ttab", "caf\u00e9", "\U0001F600", "[", "{a", "&x", "*y", "!z", "%", "@", "back\\slash", '"', "null", "~",
         ":",         "long " * 40, "trailing:", "a\n\n b\n", "?", "? q", "---", "=", "<<")


def made_up(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.random()
    if depth < 4 and kind < 0.3:
        return {chance.choice(WORDS): made_up(chance, depth + 1) for _ in range(chance.randrange(4))}
    if depth < 4 and kind < 0.5:
        return [made_up(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind < 0.6:
        return chance.choice((0, -7, 123456, True, False, None, 1.5, -0.25))
    return chance.choice(WORDS)


def test_what_pyyaml_writes_is_read_back(parse: Parse) -> None:
    chance = random.Random(6)
    values = [{"top": made_up(chance)} for _ in range(400)]
    texts = [yaml.safe_dump(each, default_flow_style=chance.choice((True, False, None)), width=chance.choice((20, 80)),
                            indent=chance.choice((2, 4)), allow_unicode=chance.choice((True, False)),
                            default_style=chance.choice((None, None, '"', "'", "|", ">")))
             for each in values]
    texts = [text for text in texts if "!!" not in text]
    values = [yaml.safe_load(text) for text in texts]
    for text, wanted, got in zip(texts, values, parse([text.encode() for text in texts]), strict=True):
        # A key may be the merge key or one that begins a complex key: those are refused.
        if isinstance(got, tuple) and got[1] in (b"merge keys are not read", b"complex keys are not read"):
            continue
        assert got == wanted, text


REFUSED = {
    "a: &x 1\nb: *x\n": (1, b"anchors and aliases are not read"),
    "a: 1\nb: *x\n": (2, b"anchors and aliases are not read"),
    "a:\n\tb: 1\n": (2, b"a tab cannot indent"),
    "a: 1\na: 2\n": (2, b"the key a is there twice"),
    "a: 1\n---\nb: 1\n": (2, b"there is a second document"),
    "a: b: c\n": (1, b"a value with ': ' in it needs quotes"),
    "a: 'open\nb: 1\n": (1, b"what begins here does not end"),
    "a: [1, 2\n": (1, b"what begins here does not end"),
    "a: [1 2}\n": (1, b"a comma or ] is missing"),
    "a: \"\\q\"\n": (1, b"\\q is not an escape"),
    "a: 'x' y\n": (1, b"something follows the end of a value"),
    "a: 1\n  b: 2\n": (2, b"this is neither 'key: value' nor '- item'"),
    "a: 1\n b\nc\n": (3, b"this is neither 'key: value' nor '- item'"),
    "? a\n: b\n": (1, b"complex keys are not read"),
    "%YAML 1.1\n---\na: 1\n": (1, b"directives are not read"),
    "a:\n  b: 1\n c: 2\n": (3, b"this is indented unlike what it belongs to"),
    "x: \x07\n": (1, b"there is a control character"),
    "a: @b\n": (1, b"a plain value cannot begin with @"),
    "[" * 40 + "]" * 40: (1, b"it is nested too deep"),
    "".join(f"{' ' * n}a:\n" for n in range(40)): (34, b"it is nested too deep"),
    "<<: {a: 1}\n": (1, b"merge keys are not read"),
}


def test_what_is_not_read_is_refused_with_its_line(parse: Parse) -> None:
    texts = [text.encode() for text in REFUSED]
    assert dict(zip(REFUSED, parse(texts), strict=True)) == REFUSED
    assert parse([b"a: 1\nb: \xff\n"]) == [(2, b"this is not UTF-8")]


def test_noise_is_an_answer_within_a_moment(answers: Parse) -> None:
    chance = random.Random(7)
    letters = "ab:-[]{}'\"#|>&*!? \n\n  ,\\x1"
    texts = ["".join(chance.choices(letters, k=chance.randrange(200))).encode() for _ in range(2000)]
    texts += [b"[" * 60000, b"a:\n" * 20000, b"- " * 30000, b"'" + b"\n" * 60000, b"a: " + b"[\n" * 30000,
              b"x " * 30000, b"{a: " * 15000, b"- a\n" * 16000, b"k: |\n" + b" x\n" * 20000, b'"' + b"\\" * 60001]
    began = time.monotonic()
    for text, got in zip(texts, answers(texts), strict=True):
        assert got[0] in ("ok", "error"), (got, text[:200])
    assert time.monotonic() - began < 30


def examples(package: Path) -> dict[str, bytes]:
    """cloud-init's own examples by name."""
    found = {}
    for path in sorted((package / "usr/share/doc/cloud-init/examples").glob("*.txt*")):
        data = path.read_bytes()
        found[path.name.removesuffix(".gz")] = gzip.decompress(data) if path.suffix == ".gz" else data
    return found


def test_cloud_inits_own_examples(parse: Parse, store: Store, tmp_path: Path,
                                  debian_package: Callable[..., Path]) -> None:
    """Whatever PyYAML makes of an example, the guest makes of it as well."""
    files = examples(debian_package("cloud-init"))
    configs = {name: text for name, text in files.items() if text.startswith(b"#cloud-config\n")}
    assert len(configs) > 20
    for (name, text), got in zip(configs.items(), parse(list(configs.values())), strict=True):
        twice = isinstance(got, tuple) and got[1].endswith(b"is there twice")
        assert twice or got == expected(text.decode()), name
    apply = reader(store, tmp_path)
    said = {}
    for name, text in files.items():
        disk = tmp_path / seed.SEED
        seed.write(disk, text, "i-1")
        done = apply(f"disk {disk}")
        applied = text.startswith(b"#cloud-config\n") and "twice" not in "".join(done.said)
        assert done.code == (0 if applied else 1), (name, done.said)
        assert all(line.startswith("unibeam-cloud: ") for line in done.said), (name, done.said)
        said[name] = done.said
    print("\n".join(f"{name}\n  " + "\n  ".join(lines) for name, lines in said.items()))
