"""What users write for ports and environments, read."""

from __future__ import annotations

import re

from unibeam_nb.errors import UsageError


def parse_port(text: str) -> tuple[int, int]:
    """``8080`` or ``9000:8080`` as (host port or 0 for any, port inside the machine)."""
    found = re.fullmatch(r"(?:(\d{1,5}):)?(\d{1,5})", text)
    if not found or not 0 < int(found[2]) < 65536 or int(found[1] or 0) > 65535:
        raise UsageError(f"{text!r} is not a port.", "Write the port inside the machine, or HOST:GUEST.")
    return int(found[1] or 0), int(found[2])


def parse_env(text: str) -> tuple[str, str]:
    """``KEY=VALUE`` as a pair."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
        raise UsageError(f"{text!r} is not an environment variable.", "Write KEY=VALUE.")
    return key, value
