"""What can run, what is left of a module, and the boot script of a shaken release: on modules assembled here."""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unibeam_nb.errors import BootFailed
from unibeam_nb.machine.diagnose import Evidence, explain
from unibeam_nb.model import LeftOut
from unibeam_nb.notebook.display import to_text
from unibeam_nb.release import bootscript
from unibeam_nb.release.beamfile import Beam, Function, read_beam
from unibeam_nb.release.bootscript import make_atom, make_list, make_string, make_tuple
from unibeam_nb.release.shake.boot import called, shaken_boot
from unibeam_nb.release.shake.code import ARITIES, UnknownCode, bodies, instructions, number, references
from unibeam_nb.release.shake.missing import undefined
from unibeam_nb.release.shake.reach import Module, reach
from unibeam_nb.release.shake.report import Shaking
from unibeam_nb.release.shake.trim import compact, trimmed

U, ATOM, X, F = 0, 2, 3, 5


class Assembler:
    """A module with functions of arity 0 whose bodies are lists of: a number (call that local function), ``(M, F)``
    (call it), a text (an atom put into a register), None (a call by value), bytes (a literal)."""

    def __init__(self, name: str, functions: Mapping[str, Sequence[object]], exported: Sequence[str] = ()) -> None:
        self.atoms, self.imports, self.literals = [name], list[tuple[str, str]](), list[bytes]()
        self.names = list(functions)
        code = b"".join(self.function(i, body) for i, body in enumerate(functions.values())) + bytes([3])
        header = struct.pack(">IIIII", 16, 0, len(ARITIES), 2 * len(functions) + 1, len(functions))
        rows = [(self.atom(f), 0, 2 * self.names.index(f) + 2) for f in exported or self.names]
        imports = [(self.atom(m), self.atom(f), 0) for m, f in self.imports]
        raw = struct.pack(">I", len(self.literals)) + b"".join(struct.pack(">I", len(t)) + t for t in self.literals)
        chunks = [("Code", header + code), ("ImpT", table(imports)), ("ExpT", table(rows)),
                  ("LitT", struct.pack(">I", 0) + raw)]
        names = struct.pack(">I", len(self.atoms)) + b"".join(bytes([len(a)]) + a.encode() for a in self.atoms)
        self.beam = read_beam(Beam((("AtU8", names), *chunks)).stripped())

    def atom(self, name: str) -> int:
        if name not in self.atoms:
            self.atoms.append(name)
        return self.atoms.index(name) + 1

    def function(self, index: int, body: Sequence[object]) -> bytes:
        name = self.names[index]
        code = bytes([1]) + compact(U, 2 * index + 1) + bytes([2]) + compact(ATOM, 1) + \
            compact(ATOM, self.atom(name)) + compact(U, 0) + bytes([1]) + compact(U, 2 * index + 2)
        return code + b"".join(map(self.instruction, body)) + bytes([19])

    def instruction(self, what: object) -> bytes:
        if isinstance(what, int):
            return bytes([4]) + compact(U, 0) + compact(F, 2 * what + 2)
        if isinstance(what, tuple):
            if what not in self.imports:
                self.imports.append(what)
            return bytes([7]) + compact(U, 0) + compact(U, self.imports.index(what))
        if isinstance(what, str):
            return bytes([64]) + compact(ATOM, self.atom(what)) + compact(X, 0)
        if isinstance(what, bytes):
            self.literals.append(what)
            return bytes([64]) + bytes([0x47]) + compact(U, len(self.literals) - 1) + compact(X, 0)
        return bytes([112]) + compact(U, 0)


def table(rows: Sequence[tuple[int, int, int]]) -> bytes:
    return struct.pack(">I", len(rows)) + b"".join(struct.pack(">III", *row) for row in rows)


def module(name: str, functions: Mapping[str, Sequence[object]], exported: Sequence[str] = (),
           whole: bool = False) -> Module:
    return Module(name, "app", Assembler(name, functions, exported).beam, whole)


def names(found: Mapping[str, set[int] | None], modules: Mapping[str, Module]) -> dict[str, set[str]]:
    return {name: {body.name for i, body in enumerate(modules[name].bodies) if kept is None or i in kept}
            for name, kept in found.items()}


def run(roots: Sequence[Function], *modules: Module, atoms: Sequence[str] = ()) -> dict[str, set[str]]:
    by_name = {m.name: m for m in modules}
    return names(reach(by_name, roots, atoms, {}), by_name)


@given(st.integers(0, 7), st.integers(0, 1 << 40))
def test_compact_terms_are_read_as_they_are_written(tag: int, value: int) -> None:
    if tag == 7:
        return
    data = compact(tag, value)
    assert number(data, 0) == (tag, value, len(data))


def test_calls_are_followed_and_nothing_else() -> None:
    found = run([Function("a", "main", 0)],
                module("a", {"main": [1, ("b", "one")], "helper": [], "idle": [("b", "two")]}),
                module("b", {"one": [], "two": []}), module("c", {"never": []}))
    assert found == {"a": {"main", "helper"}, "b": {"one"}}


def test_a_call_by_value_reaches_what_its_module_names() -> None:
    server = module("server", {"start": [None, "handle"], "idle": []})
    callback = module("callback", {"handle": [("deep", "down")], "other": []})
    deep = module("deep", {"down": []})
    main = module("main", {"go": ["callback", ("server", "start")]})
    assert run([Function("main", "go", 0)], main, server, callback, deep) == {
        "main": {"go"}, "server": {"start"}, "callback": {"handle"}, "deep": {"down"}}


def test_module_and_function_named_in_one_module_meet() -> None:
    spec = make_tuple(make_atom("worker"), make_atom("start_link"), b"j")
    sup = module("sup", {"init": [b"\x83" + spec]})
    worker = module("worker", {"start_link": [], "stop": []})
    assert run([Function("sup", "init", 0)], sup, worker)["worker"] == {"start_link"}


def test_what_the_configuration_names_may_be_called() -> None:
    handler = module("handler", {"log": [], "rest": []})
    assert run([], handler, atoms=["handler", "log"]) == {"handler": {"log"}}


def test_modules_of_the_program_are_kept_whole_and_their_atoms_meet_any_other() -> None:
    own = module("own", {"a": ["late"], "b": ["go"]}, whole=True)
    assert run([Function("own", "a", 0)], own, module("late", {"go": [], "no": []})) == {
        "own": {"a", "b"}, "late": {"go"}}


def test_code_of_a_later_otp_is_kept_as_a_whole() -> None:
    plain = Assembler("later", {"f": [("b", "one")], "g": []})
    chunks = tuple((n, d[:20] + bytes([len(ARITIES) + 1]) + d[21:]) if n == "Code" else (n, d)
                   for n, d in plain.beam.chunks)
    later = Module("later", "app", Beam(chunks))
    with pytest.raises(UnknownCode):
        bodies(later.beam)
    found = reach({"later": later, "b": module("b", {"one": []})}, [Function("later", "g", 0)], [], {})
    assert found["later"] is None
    assert found["b"] == {0}


@st.composite
def programs(draw: st.DrawFn) -> dict[str, dict[str, list[object]]]:
    """Modules whose functions call each other and hold atoms that are no names of modules."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    every = [(f"m{m}", f"f{f}") for m, size in enumerate(sizes) for f in range(size)]
    calls = st.lists(st.sampled_from(every), max_size=4)
    return {f"m{m}": {f"f{f}": [int(g[1:]) if n == f"m{m}" else (n, g) for n, g in draw(calls)]
                      for f in range(size)} for m, size in enumerate(sizes)}


@settings(deadline=None)
@given(programs())
def test_what_stays_is_closed_and_reads_back(program: dict[str, dict[str, list[object]]]) -> None:
    modules = {name: module(name, functions) for name, functions in program.items()}
    expected: set[tuple[str, str]] = set()
    todo = [("m0", "f0")]
    while todo:
        at = todo.pop()
        if at not in expected:
            expected.add(at)
            todo += [(at[0], f"f{call}") if isinstance(call, int) else call for call in program[at[0]][at[1]]]  # type: ignore[misc]
    found = reach(modules, [Function("m0", "f0", 0)], [], {})
    assert {(m, f) for m, functions in names(found, modules).items() for f in functions} == expected
    for name, kept in found.items():
        assert kept is not None
        again = Module(name, "app", read_beam(trimmed(modules[name], kept)))
        assert [body.name for body in again.bodies] == [modules[name].bodies[i].name for i in sorted(kept)]
        assert {e.name for e in again.beam.exports} == {body.name for body in again.bodies}
        assert int.from_bytes(instructions(again.beam)[0][-4:], "big") == len(kept)
        assert all(label in again.owner for body in again.bodies for label in body.labels)


def test_literals_that_nobody_refers_to_are_emptied() -> None:
    long = b"\x83" + make_string("x" * 500)
    both = module("m", {"a": [b"\x83" + make_atom("kept")], "b": [long]})
    small = Module("m", "app", read_beam(trimmed(both, {0})))
    assert [literal.atoms for literal in small.literals] == [{"kept"}, frozenset()]


@given(st.recursive(st.sampled_from([make_atom("a"), make_atom("b"), b"j", b"a\x05", make_string("a")]),
                    lambda inner: st.lists(inner, max_size=4).map(make_list)
                    | st.lists(inner, max_size=4).map(lambda parts: make_tuple(*parts))))
def test_atoms_of_any_term_are_found(term: bytes) -> None:
    assert references(b"\x83" + term).atoms == {name for name in "ab" if make_atom(name) in term}


def test_external_funs_in_literals_are_calls() -> None:
    assert references(b"\x83q" + make_atom("lists") + make_atom("map") + b"a\x02").calls == {
        Function("lists", "map", 2)}


@given(st.binary(max_size=60))
def test_damaged_literals_are_refused_and_never_crash(data: bytes) -> None:
    with contextlib.suppress(UnknownCode):
        references(b"\x83" + data)


KERNEL = make_tuple(make_atom("application"), make_atom("kernel"), make_list([
    make_tuple(make_atom("env"), make_list([make_tuple(make_atom("logger_level"), make_atom("notice"))]))]))
STEPS = [
    make_tuple(make_atom("progress"), make_atom("preloaded")), bootscript.apply("unibeam_agent", "beam"),
    make_tuple(make_atom("primLoad"), make_list([make_atom("code")])), make_tuple(make_atom("kernel_load_completed")),
    make_tuple(make_atom("primLoad"), make_list([make_atom("shell")])),
    make_tuple(make_atom("kernelProcess"), make_atom("application_controller"),
               make_tuple(make_atom("application_controller"), make_atom("start"), make_list([KERNEL]))),
    bootscript.apply("application", "start_boot")]
BOOT = b"\x83" + make_tuple(make_atom("script"), make_tuple(make_string("r"), make_string("1")), make_list(STEPS))


def test_the_boot_script_loads_what_a_start_needs_and_no_distribution() -> None:
    steps = bootscript.instructions(shaken_boot(BOOT, {"$ROOT/lib/kernel-1/ebin": ["code", "kernel"]}, True))[2]
    assert steps[:2] == STEPS[:2]
    assert steps[2] == make_tuple(make_atom("path"), make_list([make_string("$ROOT/lib/kernel-1/ebin")]))
    assert steps[3] == make_tuple(make_atom("primLoad"), make_list([make_atom("code"), make_atom("kernel")]))
    assert steps[4] == STEPS[3]
    assert make_tuple(make_atom("start_distribution"), make_atom("false")) in steps[5]
    assert steps[6] == STEPS[6]


def test_without_a_recorded_start_the_script_loads_what_it_did() -> None:
    assert bootscript.instructions(shaken_boot(BOOT, {}, False))[2] == [*STEPS[:4], *STEPS[5:]]
    assert called(BOOT) == [Function("unibeam_agent", "beam", 0), Function("application_controller", "start", 1),
                            Function("application", "start_boot", 0)]


@pytest.mark.parametrize(("text", "found"), [
    ("{undef,[{array,new,[],[]},{hello,start,0,[]}]}", [("array", "new")]),
    ("{'EXIT',{undef,\n [{'Elixir.Date',utc_today,[],[]}", [("Elixir.Date", "utc_today")]),
    ("** exception error: undefined function array:new/0", [("array", "new")]),
    ("** (UndefinedFunctionError) function Date.utc_today/0 is undefined (module Date is not available)",
     [("Elixir.Date", "utc_today")]),
    ("function :array.new/0 is undefined", []),
    ("all is well", [])])
def test_calls_of_what_is_not_there_are_recognised(text: str, found: list[tuple[str, str]]) -> None:
    assert undefined(text) == found


def test_a_boot_that_misses_a_module_says_how_to_keep_it() -> None:
    seen = Evidence("hello", "qemu", "app", 60.0, 256, 20, True, True, inner=1, left_out=frozenset({"array"}),
                    console=("{undef,[{array,new,[],[]},{hello,start,0,[]}]}",))
    error = explain(seen)
    assert isinstance(error, BootFailed)
    assert (error.message, error.hint) == ("hello calls array:new, which was left out by --shake.",
                                           "Build with --keep array.")


def test_what_was_left_out_is_a_table_with_reasons() -> None:
    text = to_text(Shaking("hello", (LeftOut("module", "Elixir.Date", 2000, "nothing that can run refers to it"),),
                           (("hello", "erlang:list_to_atom/1"),)))
    assert "Release hello, shaken" in text
    assert re.search(r"module +Date +2\.0 kB +nothing that can run refers to it", text)
    assert "erlang:list_to_atom/1" in text
