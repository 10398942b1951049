"""The rebar3 plugin knows every option of ``unibeam build``."""

from __future__ import annotations

import re
from pathlib import Path

from unibeam_nb.notebook.commands import COMMANDS

SOURCE = Path(__file__).resolve().parents[2] / "plugins/rebar3_unibeam/src/rebar3_unibeam.erl"
NOT_FOR_PLUGINS = {"--from", "--wait", "--no-wait"}
"""Where the project is the plugin knows, and a shell always waits."""


def listed(function: str) -> set[str]:
    found = re.search(rf"^{function}\(\) ->\s*\[([^\]]*)\]", SOURCE.read_text(), re.MULTILINE)
    assert found
    return {f"--{word}" for word in re.findall(r'"([a-z-]+)"', found[1])}


def test_rebar3_lets_every_option_of_a_build_through() -> None:
    options = [option for option in COMMANDS["build"].options if option.flags[-1] not in NOT_FOR_PLUGINS]
    assert listed("switches") == {option.flags[-1] for option in options if option.kind == "switch"}
    assert listed("values") == {option.flags[-1] for option in options if option.kind != "switch"}
