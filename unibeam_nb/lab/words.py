"""What users write for ports and environments, read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from unibeam_nb.errors import UsageError


def parse_port(text: str) -> tuple[int, int]:
    """``8080`` or ``9000:8080`` as (host port or 0 for any, port inside the machine)."""
    found = re.fullmatch(r"(?:(\d{1,5}):)?(\d{1,5})", text)
    if not found or not 0 < int(found[2]) < 65536 or int(found[1] or 0) > 65535:
        raise UsageError(f"{text!r} is not a port.", "Write the port inside the machine, or HOST:GUEST.")
    return int(found[1] or 0), int(found[2])


def parse_env(text: str, own: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """``KEY=VALUE`` as a pair; ``KEY`` alone has the value that it has in ``own``, our own environment: so a secret
    need not be typed, nor stand on our own command line."""
    key, equals, value = text.partition("=")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
        raise UsageError(f"{text!r} is not an environment variable.", "Write KEY=VALUE, or KEY for one of your own.")
    if not equals and key not in own:
        raise UsageError(f"{key} is not in your environment.", f"Write {key}=VALUE, or export it first.")
    return key, value if equals else own[key]
