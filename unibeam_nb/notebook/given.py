"""What a request says, and what holds where it says nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unibeam_nb.notebook.parser import Request


@dataclass(frozen=True)
class Defaults:
    """What holds where the user says nothing."""

    on: str = "qemu"
    target: str = "linux"
    mem: int = 256
    vcpus: int = 1
    accel: str = "auto"
    deadline: float = 120.0
    blocks: int = 10


class Given:
    """A request's values with their types, and the defaults behind them."""

    def __init__(self, request: Request, defaults: Defaults) -> None:
        self.body = request.body
        self._values = request.values
        self._defaults = defaults

    def was_given(self, key: str) -> bool:
        value = self._values.get(key)
        return value is not None and value is not False and value != ()

    def text(self, key: str) -> str | None:
        value = self._values.get(key)
        return None if value is None else str(value)

    def required(self, key: str) -> str:
        return str(self._values[key])

    def many(self, key: str) -> tuple[str, ...]:
        value = self._values.get(key) or ()
        return value if isinstance(value, tuple) else (str(value),)

    def switch(self, key: str) -> bool:
        return bool(self._values.get(key))

    def default(self, key: str) -> Any:
        return getattr(self._defaults, key)

    def value(self, key: str, otherwise: Any = None) -> Any:
        """The value given, or what the defaults say for ``key``, or ``otherwise``."""
        given = self._values.get(key)
        return getattr(self._defaults, key, otherwise) if given is None else given
