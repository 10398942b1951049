"""What in a release may not survive without a whole system around it, read from its compiled modules. Pure
but for reading the release."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from unibeam_nb.model import Finding
from unibeam_nb.release.beamfile import Beam, BeamError, read_beam

# (module, function) -> (kind, what it means). Any arity counts.
CALLS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("erlang", "open_port"): ("port", "starts programs or drivers through a port"),
    ("Elixir.Port", "open"): ("port", "starts programs or drivers through a port"),
    ("os", "cmd"): ("os-cmd", "runs shell commands; an image without a shell has none"),
    ("Elixir.System", "cmd"): ("port", "runs programs; they must be in the image"),
    ("Elixir.System", "shell"): ("os-cmd", "runs shell commands; an image without a shell has none"),
    ("erlang", "load_nif"): ("nif", "loads native code; its library must be in the image"),
    ("erl_ddll", "load"): ("nif", "loads a native driver; its library must be in the image"),
    ("erl_ddll", "load_driver"): ("nif", "loads a native driver; its library must be in the image"),
    ("erl_ddll", "try_load"): ("nif", "loads a native driver; its library must be in the image"),
    ("net_kernel", "start"): ("distribution", "gives the node a name by itself"),
    ("net_kernel", "connect_node"): ("distribution", "connects to other nodes"),
    ("net_adm", "ping"): ("distribution", "connects to other nodes"),
    ("Elixir.Node", "start"): ("distribution", "gives the node a name by itself"),
    ("Elixir.Node", "connect"): ("distribution", "connects to other nodes"),
    **{("inet", name): ("lookup", "looks up names") for name in (
        "gethostbyname", "gethostbyaddr", "getaddr", "getaddrs")},
    **{("httpc", name): ("lookup", "looks up names") for name in ("request", "request_uri")},
    **{("file", name): ("disk", "writes files") for name in ("write_file", "rename", "delete", "make_dir", "copy")},
    ("filelib", "ensure_dir"): ("disk", "writes files"),
    ("filelib", "ensure_path"): ("disk", "writes files"),
    **{("Elixir.File", name): ("disk", "writes files") for name in (
        "write", "write!", "mkdir", "mkdir!", "mkdir_p", "mkdir_p!", "rm", "rm!", "cp", "cp!", "rename")},
    ("dets", "open_file"): ("disk", "keeps tables in files"),
    ("disk_log", "open"): ("disk", "keeps logs in files"),
    ("mnesia", "create_schema"): ("disk", "keeps tables in files"),
}

KINDS = ("port", "os-cmd", "nif", "lookup", "disk", "distribution", "executable", "note")

OURS = "unibeam_agent"
"""Our own application, which comes along with every release and does nothing unasked."""


def of_beam(beam: Beam) -> Iterator[Finding]:
    """The findings of one module, one per kind and meaning."""
    seen: dict[tuple[str, str], list[str]] = {}
    for call in beam.imports:
        found = CALLS.get((call.module, call.name))
        if found:
            seen.setdefault(found, []).append(str(call).removeprefix("Elixir."))
    for (kind, meaning), calls in seen.items():
        yield Finding(kind, beam.module.removeprefix("Elixir."), f"{meaning} ({', '.join(sorted(calls))})")


def of_release(root: Path, system: Iterable[str]) -> tuple[Finding, ...]:
    """The findings of a finished release. ``system`` names the applications of OTP and Elixir themselves,
    whose calls are not looked at (their native libraries are)."""
    known = set(system)
    found: list[Finding] = []
    for app in sorted((root / "lib").iterdir()):
        own = app.name.split("-")[0] not in known | {OURS}
        if own:
            for path in sorted((app / "ebin").glob("*.beam")):
                try:
                    found += of_beam(read_beam(path.read_bytes()))
                except BeamError as error:
                    found.append(Finding("note", f"lib/{app.name}/ebin/{path.name}", error.message))
        found += _of_priv(root, app / "priv", own)
    return tuple(sorted(found, key=lambda f: (KINDS.index(f.kind), f.where, f.message)))


def _of_priv(root: Path, priv: Path, own: bool) -> Iterator[Finding]:
    for path in sorted(priv.rglob("*")) if priv.is_dir() else ():
        where = path.relative_to(root).as_posix()
        if path.suffix == ".so" and path.is_file():
            yield Finding("nif", where, "is native code that is loaded into the emulator")
        elif own and path.is_file() and os.access(path, os.X_OK):
            yield Finding("executable", where, "is a program that runs outside the emulator")
