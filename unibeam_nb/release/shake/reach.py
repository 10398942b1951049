"""Which functions of a release can ever be called. Pure.

A function that can run is followed to the functions it calls. Calls of modules and functions by values are covered by
what such values are made of: a function can be called dynamically when its module's name *and* its own name are atoms
of code that can run, or of what the program is configured with. Only atoms made from text while the program runs
escape that; :func:`dynamic` tells who makes some.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from unibeam_nb.release.beamfile import Beam, Function
from unibeam_nb.release.shake.code import Body, Literal, UnknownCode, bodies, literals

ALWAYS = frozenset({"module_info", "__info__", "behaviour_info", "__struct__", "__impl__", "__protocol__"})
"""Exports that every kept module keeps: others ask modules for them by names in data."""

_INTERPRETER = frozenset({"erl_eval", "erl_scan", "erl_parse", "erl_lint"})

CUT: Mapping[str, frozenset[str]] = {
    "init": _INTERPRETER,                                    # for -eval
    "erl_error": frozenset({"erl_eval", "erl_pp", "erl_scan", "shell"}),  # how the shell shows its own funs
}
"""Calls (module to module) that never happen because of how every release of ours is started."""

IMPLIED: Mapping[str, tuple[str, ...]] = {
    "erl_error": ("erl_erts_errors", "erl_kernel_errors", "erl_stdlib_errors"),
    "erl_distribution": ("inet_tcp_dist", "inet6_tcp_dist"),
}
"""Modules that the emulator or OTP itself calls by names that are in no code."""

FROM_THE_EMULATOR = (
    Function("error_handler", "undefined_function", 3), Function("error_handler", "undefined_lambda", 3),
    Function("error_handler", "breakpoint", 3))

MAKERS = frozenset({
    ("erlang", "list_to_atom"), ("erlang", "binary_to_atom"), ("erlang", "list_to_existing_atom"),
    ("erlang", "binary_to_existing_atom"), ("erlang", "binary_to_term"), ("Elixir.Module", "concat"),
    ("Elixir.Module", "safe_concat"), ("Elixir.String", "to_atom"), ("Elixir.String", "to_existing_atom"),
    ("erl_eval", "exprs"), ("erl_eval", "expr"), ("Elixir.Code", "eval_string"), ("code", "load_binary"),
    ("code", "all_available"), ("code", "all_loaded"), ("code", "modules"), ("application", "get_key")})
"""Functions that give atoms which stand in no code, or that look for modules."""


BY_VALUE = frozenset({
    Function("erlang", "apply", 3), Function("erlang", "function_exported", 3), Function("erlang", "make_fun", 3)})
"""Functions that call, or ask for, a function by its name in an argument. (Those that spawn are given module and
function in one place.)"""

SHELL = frozenset({"shell", "shell_default", "shell_docs", "user_drv", "group", "edlin", "edlin_expand", "c"})
"""Modules of the interactive shell. A release starts with ``-noinput`` and has none, unless its own code asks."""


@dataclass(frozen=True)
class Module:
    """A compiled module for the analysis. ``whole`` modules are kept with all their functions, if at all."""

    name: str
    app: str
    beam: Beam
    whole: bool = False

    @cached_property
    def bodies(self) -> tuple[Body, ...]:
        """Its functions; none where its code is not understood."""
        try:
            return tuple(bodies(self.beam))
        except UnknownCode:
            return ()

    @cached_property
    def literals(self) -> tuple[Literal, ...]:
        return tuple(literals(self.beam))

    @cached_property
    def owner(self) -> dict[int, int]:
        """Label -> number of the function it is in."""
        return {label: index for index, body in enumerate(self.bodies) for label in body.own}

    @cached_property
    def funs(self) -> tuple[int, ...]:
        """Label of each entry of the table of funs (``FunT``: u32 count, six u32 each, the third is the label)."""
        data = dict(self.beam.chunks).get("FunT", b"")
        count = int.from_bytes(data[:4], "big")
        return tuple(int.from_bytes(data[12 + 24 * i:16 + 24 * i], "big") for i in range(count))

    @cached_property
    def exported(self) -> frozenset[tuple[str, int]]:
        return frozenset((function.name, function.arity) for function in self.beam.exports)


def reach(modules: Mapping[str, Module], roots: Iterable[Function], atoms: Iterable[str],
          preloaded: Mapping[str, Module], cut: Mapping[str, frozenset[str]] = CUT,
          words: Container[str] = ()) -> dict[str, set[int] | None]:
    """What can run, when ``roots`` are called from outside and ``atoms`` stand in the configuration.

    ``preloaded`` modules are in the emulator: they run, and are nobody's to leave out. ``words`` are the names that the
    emulator itself knows. Returns each module that can run with the numbers of its functions that can, or None for all.
    """
    search = _Search({**modules, **preloaded}, cut, words)
    for module in preloaded.values():
        search.whole(module)
    for function in (*FROM_THE_EMULATOR, *roots):
        search.call(function)
    named = set(atoms)
    search.mention(search.free, named, named)
    search.mention(search.near, named, named)
    search.run()
    return {name: found for name, found in search.found.items() if name in modules}


class _Names:
    """Atoms that may become the module or the function of a call by value, in one realm."""

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self.functions: set[str] = set()


class _Search:
    """The fixed point: a list of functions to look at, and what has been seen.

    ``near`` holds the modules that any code names, with the functions named where a call by value is made (as
    ``handle_call`` is in gen_server); ``free`` what the program's own code and configuration name, where any module
    may meet any function.
    """

    def __init__(self, modules: Mapping[str, Module], cut: Mapping[str, frozenset[str]],
                 words: Container[str]) -> None:
        self.modules, self.cut, self.words = modules, cut, words
        self.found: dict[str, set[int] | None] = {}
        self.near, self.free = _Names(), _Names()
        self.own: dict[str, _Names] = defaultdict(_Names)
        self.callers: set[str] = set()
        self.todo: list[tuple[Module, int]] = []
        self.entries = {name: {(body.name, body.arity): index for index, body in enumerate(module.bodies)}
                        for name, module in modules.items()}
        self.exports: dict[str, dict[str, list[int]]] = {}
        self.exporting: dict[str, list[str]] = defaultdict(list)
        for name, module in modules.items():
            mine = self.exports[name] = defaultdict(list)
            for function, arity in module.exported:
                mine[function].append(arity)
            for function in mine:
                self.exporting[function].append(name)

    def run(self) -> None:
        while self.todo:
            module, index = self.todo.pop()
            self.look(module, module.bodies[index])

    def look(self, module: Module, body: Body) -> None:
        """Follow what one function refers to."""
        cut = self.cut.get(module.name, frozenset()) | (frozenset() if module.whole else SHELL)
        for label in (*body.labels, *(module.funs[index] for index in body.funs)):
            if label in module.owner:
                self.add(module, module.owner[label])
        atoms, calls = set(body.atoms), set(body.calls)
        for index in body.literals:
            atoms |= module.literals[index].atoms
            calls |= module.literals[index].calls
        for call in calls:
            if call.module not in cut:
                self.call(call)
        if body.name == "module_info":  # It names its own module, which says nothing about who calls it.
            return
        if module.whole:
            self.mention(self.free, atoms, atoms)
        own = self.own[module.name]
        self.mention(own, atoms - cut, atoms)
        self.mention(self.near, atoms - cut, ())
        if body.dynamic or not BY_VALUE.isdisjoint(calls):
            self.callers.add(module.name)
        if module.name in self.callers:
            self.mention(self.near, (), own.functions)

    def call(self, function: Function) -> None:
        module = self.modules.get(function.module)
        if module is not None:
            self.enter(module)
            index = self.entries[module.name].get((function.name, function.arity))
            if index is not None:
                self.add(module, index)

    def call_any(self, module: str, name: str) -> None:
        for arity in self.exports[module][name]:
            self.call(Function(module, name, arity))

    def enter(self, module: Module) -> None:
        """The module is needed: it is kept, with what every kept module keeps."""
        if module.name in self.found:
            return
        if module.whole or not module.bodies:
            self.whole(module)
            return
        self.found[module.name] = set()
        # Where functions are the emulator's own, it also calls some that are not (re:ucompile/2, for example).
        native = any((call.module, call.name) == ("erlang", "nif_error") for call in module.beam.imports)
        for index, body in enumerate(module.bodies):
            public = (body.name, body.arity) in module.exported
            if body.on_load or (public and (body.name in ALWAYS or (native and body.name in self.words))):
                self.add(module, index)
        self.imply(module)

    def whole(self, module: Module) -> None:
        if module.name in self.found and self.found[module.name] is None:
            return
        self.found[module.name] = None
        self.imply(module)
        if not module.bodies:
            for call in module.beam.imports:
                self.call(call)
            self.mention(self.free, module.beam.atoms, module.beam.atoms)
        self.todo += [(module, index) for index in range(len(module.bodies))]

    def imply(self, module: Module) -> None:
        for name in IMPLIED.get(module.name, ()):
            if name in self.modules:
                self.whole(self.modules[name])
        if ("__protocol__", 1) in module.exported:
            for name, other in self.modules.items():
                if name.startswith(module.name + ".") and ("__impl__", 1) in other.exported:
                    self.whole(other)

    def add(self, module: Module, index: int) -> None:
        if module.name not in self.found:
            self.enter(module)
        seen = self.found[module.name]
        if seen is not None and index not in seen:
            seen.add(index)
            self.todo.append((module, index))

    def mention(self, realm: _Names, modules: Iterable[str], functions: Iterable[str]) -> None:
        """Atoms that a call by value may be made of: the new ones meet all that are known in their realm."""
        fresh = {name for name in modules if name in self.modules} - realm.modules
        realm.modules |= fresh
        for module in fresh:
            self.own[module].modules.add(module)
            for name in self.exports[module].keys() & (realm.functions | self.own[module].functions):
                self.call_any(module, name)
        names = {name for name in functions if name in self.exporting} - realm.functions
        realm.functions |= names
        for name in names:
            for module in self.exporting[name]:
                if module in realm.modules:
                    self.call_any(module, name)


def dynamic(module: Module) -> Iterator[str]:
    """What in a module escapes the analysis: atoms made while it runs, and modules called by value."""
    makers = sorted({str(call) for call in module.beam.imports if (call.module, call.name) in MAKERS})
    yield from makers
