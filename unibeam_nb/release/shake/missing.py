"""Calls of functions that are not there, as Erlang's error messages show them. Pure."""

from __future__ import annotations

import re

_NAME = r"('(?:[^'\\\n]|\\.)+'|[a-z][\w@]*)"
_UNDEFINED = re.compile(rf"\bundef\b[^\w'{{]*\{{\s*{_NAME}\s*,\s*{_NAME}\s*,\s*[\[\d\"]")
_SHOWN = re.compile(rf"function {_NAME}:{_NAME}/\d+ is undefined|\(UndefinedFunctionError\) function "
                    r":?([\w.@]+)\.([\w?!]+)/\d+ is undefined" rf"|undefined function {_NAME}:{_NAME}/\d+")


def undefined(text: str) -> list[tuple[str, str]]:
    """(module, function) of every such call in a console's text, the first first.

    Erlang shows ``{undef,[{Module,Function,Arguments,...`` and, in reports of its own, ``undefined function
    Module:Function/Arity``; Elixir says ``(UndefinedFunctionError) function Module.function/1 is undefined``.
    """
    found = [(one[1], one[2]) for one in _UNDEFINED.finditer(text)]
    for one in _SHOWN.finditer(text):
        words = [word for word in one.groups() if word]
        elixir = words[0][:1].isupper()
        found.append((f"Elixir.{words[0]}" if elixir else words[0], words[1]))
    return list(dict.fromkeys((module.strip("'"), function.strip("'")) for module, function in found))
