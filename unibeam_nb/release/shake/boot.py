"""The boot script of a shaken release: the modules it starts with in one go, and nothing of distribution where none is
used. Pure; see :mod:`unibeam_nb.release.bootscript` for the format.

In interactive mode modules are loaded one by one when they are first called, each by a question to the code server
that looks through the directories of all applications. Those that every start needs are loaded before instead, each
from the one directory it is in; all others are still found when they are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from unibeam_nb.release.beamfile import Function
from unibeam_nb.release.bootscript import (
    VERSION,
    BootScriptError,
    apply,
    atom_name,
    instructions,
    make_atom,
    make_list,
    make_string,
    make_tuple,
    split_list,
    split_tuple,
)

NOT_EARLY = frozenset({"erl_features", "os", "unibeam_agent"})
"""Modules not to load before the others: once ``erl_features`` is there, init asks it about every module it loads,
which waits for init itself; the other two are loaded already."""


def shaken_boot(boot: bytes, early: Mapping[str, Sequence[str]], alone: bool) -> bytes:
    """The boot file that loads ``early`` (directory to modules) first; with ``alone`` no distribution is started."""
    script, name, steps = instructions(boot)
    kinds = [_kind(step) for step in steps]
    if apply("unibeam_agent", "beam") not in steps or ("kernel_load_completed",) not in kinds:
        raise BootScriptError("it does not say when the kernel is loaded")
    begin = steps.index(apply("unibeam_agent", "beam")) + 1
    loaded = kinds.index(("kernel_load_completed",))
    first = steps[begin:loaded]
    if early:
        first = [part for directory, modules in early.items() for part in _load(directory, modules)]
    # Interactive mode passes over what embedded mode would load here.
    rest = [step for step, kind in zip(steps[loaded:], kinds[loaded:], strict=True) if kind[0] != "primLoad"]
    edited = [*steps[:begin], *first, *(_alone(step) if alone else step for step in rest)]
    return bytes([VERSION]) + make_tuple(script, name, make_list(edited))


def _kind(step: bytes) -> tuple[str | None, ...]:
    """What kind of step it is: its first word, and the second of a progress report."""
    words = split_tuple(step)
    first = atom_name(words[0])
    return (first, atom_name(words[1])) if first == "progress" else (first,)


def _load(directory: str, modules: Iterable[str]) -> tuple[bytes, bytes]:
    return (make_tuple(make_atom("path"), make_list([make_string(directory)])),
            make_tuple(make_atom("primLoad"), make_list([make_atom(module) for module in modules])))


def _alone(step: bytes) -> bytes:
    """The step that starts the kernel application, with ``{start_distribution, false}`` in its environment."""
    words = split_tuple(step)
    if atom_name(words[0]) != "kernelProcess" or atom_name(words[1]) != "application_controller":
        return step
    module, function, arguments = split_tuple(words[2])
    (specification,) = split_list(arguments)
    kind, kernel, pairs = split_tuple(specification)
    setting = make_tuple(make_atom("start_distribution"), make_atom("false"))
    edited = []
    for pair in split_list(pairs):
        key, value = split_tuple(pair)
        if atom_name(key) == "env":
            pair = make_tuple(key, make_list([*split_list(value), setting]))
        edited.append(pair)
    whole = make_tuple(kind, kernel, make_list(edited))
    return make_tuple(words[0], words[1], make_tuple(module, function, make_list([whole])))


def called(boot: bytes) -> list[Function]:
    """The functions that a boot script itself calls."""
    found = []
    for step in instructions(boot)[2]:
        words = split_tuple(step)
        if atom_name(words[0]) in ("apply", "kernelProcess"):
            module, function, arguments = split_tuple(words[-1])
            count = len(split_list(arguments)) if arguments[:1] in (b"l", b"j") else 1
            found.append(Function(atom_name(module) or "", atom_name(function) or "", count))
    return found
