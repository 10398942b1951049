"""Evaluating an expression in a running machine."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from unibeam_nb.errors import EvaluationFailed, MachineError
from unibeam_nb.machine import Machine
from unibeam_nb.release.beamfile import read_beam
from unibeam_nb.store import Store
from unibeam_nb.talk import answers, inside
from unibeam_nb.talk.answers import sensible, texts
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
        slot, spoken, names = session_told(machine.name, channel.call(inside.INSIDE, "session", []))
        chosen = language_of(text, language, spoken)
        beam = compile_expression(store, chosen, slot, channel.otp, text, names.get(chosen, []), paths)
        answer = channel.call(inside.INSIDE, "evaluate", [slot.encode(), beam, chosen.encode(), _has_funs(beam),
                                                         round(deadline * 1000)], deadline + PATIENCE)
    return _outcome(machine, chosen, answer, deadline, began)


def session_told(name: str, answer: Any) -> tuple[str, tuple[str, ...], dict[str, list[str]]]:
    """The module that the next expression is to be, the languages that the machine ``name`` speaks, and the variables
    bound in each. Raises MachineError where it makes no sense."""
    with sensible(name):
        slot, languages, bound = answer
        return answers.text(slot), tuple(texts(languages)), {answers.text(word): texts(names) for word, names in bound}


def forget(store: Store, machine: Machine) -> None:
    """Forget every variable, and end the process that evaluated them with what belongs to it."""
    with channel_to(machine) as channel:
        inside.send(store, channel)
        channel.call(inside.INSIDE, "forget", [])


def _outcome(machine: Machine, language: str, answer: Any, deadline: float, began: float) -> Evaluated:
    with sensible(machine.name):
        match answer:
            case ("value", bytes(text), term, bytes(output), microseconds):
                shown = answers.text(text)
                return Evaluated(machine.name, language, shown, _value(term, shown, language), answers.text(output),
                                 answers.number(microseconds) / 1e6, time.monotonic() - began)
            case ("exception", bytes(kind), bytes(reason), list(stack), bytes(output)):
                raise EvaluationFailed(answers.text(kind), answers.text(reason), texts(stack), answers.text(output))
            case ("stopped", bytes(output)):
                raise EvaluationFailed("timeout", f"The expression was stopped after {deadline:g} s.", [],
                                       answers.text(output), "Its variables are gone; give it longer with --deadline.")
            case ("died", bytes(reason), bytes(output)):
                raise EvaluationFailed("exit", answers.text(reason), [], answers.text(output),
                                       "The evaluating process ended with it: the variables are gone.")
            case ("unloadable", bytes(reason)):
                raise MachineError(
                    f"{machine.name} does not load what this host compiles ({answers.text(reason)}).",
                    "Its OTP release is newer or much older than this host's: see 'unibeam doctor'.")
        raise ValueError("none of the known answers")


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
