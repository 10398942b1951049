"""Evaluating an expression in a running machine."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from unibeam_nb.errors import EvaluationFailed, MachineError
from unibeam_nb.machine import Machine
from unibeam_nb.release.beamfile import read_beam
from unibeam_nb.store import Store
from unibeam_nb.talk import inside
from unibeam_nb.talk.channel import PATIENCE, channel_to
from unibeam_nb.talk.etf import TermFormatError, decode
from unibeam_nb.talk.expressions import compile_expression, language_of
from unibeam_nb.talk.values import Opaque, python


@dataclass(frozen=True)
class Evaluated:
    """What became of an expression.

    ``value`` is its value as Python sees it (:mod:`unibeam_nb.talk.values`), ``text`` as Erlang or Elixir writes it,
    ``output`` what was printed meanwhile. ``seconds`` is how long the expression ran in the machine, and
    ``round_trip`` how long the whole took, compiling included.
    """

    machine: str
    language: str
    text: str
    value: Any = field(repr=False)
    output: str = ""
    seconds: float = 0.0
    round_trip: float = 0.0

    def __repr__(self) -> str:
        return self.text


def evaluate(store: Store, machine: Machine, text: str, *, language: str | None = None, deadline: float = 30.0,
             paths: tuple[str, ...] = ()) -> Evaluated:
    """Evaluate ``text`` in ``machine``, for at most ``deadline`` seconds; variables stay bound for the next one.

    Raises CompileError, and EvaluationFailed where the expression raised an exception or took too long.
    """
    began = time.monotonic()
    with channel_to(machine) as channel:
        inside.send(store, channel)
        match channel.call(inside.INSIDE, "session", []):
            case (bytes(slot), list(languages), list(bound)):
                spoken = tuple(word.decode() for word in languages)
                names = {word.decode(): [name.decode() for name in variables] for word, variables in bound}
            case _:
                raise MachineError(f"{machine.name} cannot evaluate anything.", "Boot it again.")
        chosen = language_of(text, language, spoken)
        beam = compile_expression(store, chosen, slot.decode(), channel.otp, text, names.get(chosen, []), paths)
        answer = channel.call(inside.INSIDE, "evaluate", [slot, beam, chosen.encode(), _has_funs(beam),
                                                         round(deadline * 1000)], deadline + PATIENCE)
    return _outcome(machine, chosen, answer, deadline, began)


def forget(store: Store, machine: Machine) -> None:
    """Forget every variable, and end the process that evaluated them with what belongs to it."""
    with channel_to(machine) as channel:
        inside.send(store, channel)
        channel.call(inside.INSIDE, "forget", [])


def _outcome(machine: Machine, language: str, answer: Any, deadline: float, began: float) -> Evaluated:
    match answer:
        case ("value", bytes(text), term, bytes(output), int(microseconds)):
            shown = _text(text)
            return Evaluated(machine.name, language, shown, _value(term, shown, language), _text(output),
                             microseconds / 1e6, time.monotonic() - began)
        case ("exception", bytes(kind), bytes(reason), list(stack), bytes(output)):
            raise EvaluationFailed(_text(kind), _text(reason), [_text(frame) for frame in stack], _text(output))
        case ("stopped", bytes(output)):
            raise EvaluationFailed("timeout", f"The expression was stopped after {deadline:g} s.", [], _text(output),
                                   "Its variables are gone; give it longer with --deadline.")
        case ("died", bytes(reason), bytes(output)):
            raise EvaluationFailed("exit", _text(reason), [], _text(output),
                                   "The evaluating process ended with it: the variables are gone.")
        case ("unloadable", bytes(reason)):
            raise MachineError(f"{machine.name} does not load what this host compiles ({_text(reason)}).",
                               "Its OTP release is newer or much older than this host's: see 'unibeam doctor'.")
    raise MachineError(f"{machine.name} makes no sense.", "Boot it again.")


def _has_funs(beam: bytes) -> bool:
    """Whether a compiled module holds funs (its chunk ``FunT`` counts them)."""
    return any(dict(read_beam(beam).chunks).get("FunT", b"")[:4])


def _value(term: Any, shown: str, language: str) -> Any:
    """The value, or its text where it is too large or too deep to be sent."""
    if not isinstance(term, bytes):
        return Opaque(shown)
    try:
        return python(decode(term), language)
    except TermFormatError:
        return Opaque(shown)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
