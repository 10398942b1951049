"""Projects of rebar3 and mix become releases.

The user's tree is never written to: it is copied to a scratch directory and built there. Dependencies
already fetched are copied along, so that a build needs no network; what was compiled before is not, because
it holds the paths of the directory it was compiled in.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from unibeam_nb import tools
from unibeam_nb.errors import CompileError, SourceError
from unibeam_nb.progress import step
from unibeam_nb.release import adopt, assemble, compiler, samepath
from unibeam_nb.release.manifest import Made
from unibeam_nb.release.otp import App, Otp, app_dirs, closure, host_otp, read_app
from unibeam_nb.release.workplace import build_directory
from unibeam_nb.store import Store

_NEVER = (".git", ".hg", ".elixir_ls", ".vscode", ".idea", "erl_crash.dump", "__pycache__", ".fetch")


def not_a_source(path: Path) -> bool:
    """Whether this path, relative to a project, has no part in what it is: for keys."""
    return path.name in _NEVER or path.name == "_build"


def _copy(project: Path, target: Path) -> None:
    def ignored(directory: str, names: list[str]) -> list[str]:
        here = Path(directory).relative_to(project)
        drop = set(names) & set(_NEVER)
        if here.parts[:1] == ("_build",):
            if len(here.parts) == 2:
                drop |= set(names) - {"lib", "plugins"}
            if "src" in names or (len(here.parts) == 3 and here.parts[2] == "lib"):
                drop |= set(names) & {"ebin", ".rebar3"}
        return sorted(drop)

    shutil.copytree(project, target, symlinks=True, ignore=ignored, ignore_dangling_symlinks=True)
    # Links to dependencies and plugins beside the project would lead elsewhere from the copy.
    for link in (path for path in (target / "_checkouts").glob("*") if path.is_symlink()):
        place = (project / "_checkouts" / link.name).resolve()
        link.unlink()
        link.symlink_to(place)


def _run(tool: str, arguments: list[str], project: Path, work: Path, env: Mapping[str, str], title: str) -> None:
    """Run a build tool in ``work``, the copy of ``project``."""
    path = tools.find(tool)
    with step(title):
        done = samepath.run([path, *arguments], work.parent, cwd=work, env={**compiler.DETERMINISTIC, **env},
                            timeout=1200, needs=(project, *(work / "_checkouts").glob("*")))
        if done.code != 0:
            raise _explain(tool, project.name, work, done.stdout + done.stderr)


def _explain(tool: str, name: str, work: Path, output: str) -> SourceError:
    lines = [line for line in compiler.tidy(output.splitlines(), work)
             if not line.startswith(("===> Verifying", "===> Analyzing", "===> Fetching rebar3", "*WARNING*"))]
    shown = lines[-compiler.MAX_LINES:]
    if re.search(r"deps\.get|Unchecked dependencies|Could not find Hex|Package not found|Failed to fetch",
                 output):
        get = "mix deps.get" if tool == "mix" else "rebar3 get-deps"
        return SourceError(f"{name} has dependencies that are not fetched.", f"Run '{get}' in the project first.",
                           shown)
    if re.search(r"\.(?:erl|ex|exs|hrl):\d+|Compiling .* failed|CompileError|SyntaxError", output):
        return CompileError(f"{name} does not compile.", "The lines are those of your files.", shown)
    return SourceError(f"{tool} could not make a release of {name}.", "Its last lines say why.", shown)


def build_mix(store: Store, key: str, project: Path, tree: Path, ports: tuple[int, ...],
              applications: tuple[str, ...], flags: tuple[str, ...]) -> Made:
    """``mix release`` in a copy, and the result adopted."""
    tools.find("mix")
    with build_directory(key) as scratch:
        work, out = scratch / project.name, scratch / "made"
        _copy(project, work)
        shutil.rmtree(work / "_build", ignore_errors=True)
        _run("mix", ["release", "--path", str(out), "--overwrite"], project, work,
             {"MIX_ENV": "prod", "MIX_QUIET": "1"}, f"mix release of {project.name}")
        with step("Assembling the release"):
            return adopt.adopt(store, out, tree, ports=ports, applications=applications, flags=flags)


def build_rebar3(store: Store, key: str, project: Path, tree: Path, ports: tuple[int, ...],
                 applications: tuple[str, ...], flags: tuple[str, ...]) -> Made:
    """``rebar3 release`` in a copy, or for a project without a relx section its compiled applications."""
    tools.find("rebar3")
    with build_directory(key) as scratch:
        work = scratch / project.name
        _copy(project, work)
        env = {"REBAR_COLOR": "none", "TERM": "dumb"}
        if not has_relx(project):
            _run("rebar3", ["as", "prod", "compile"], project, work, env, f"Compiling {project.name}")
            return _assemble(store, work, project.name, tree, ports, applications, flags)
        _run("rebar3", ["as", "prod", "release", "--dev-mode", "false", "--include-erts", "false"], project, work,
             env, f"rebar3 release of {project.name}")
        made = sorted(path for path in (work / "_build" / "prod" / "rel").iterdir() if path.is_dir())
        if len(made) != 1:
            raise SourceError(f"{project.name} makes {len(made)} releases.",
                              "Build one with rebar3 and give its directory.")
        with step("Assembling the release"):
            return adopt.adopt(store, made[0], tree, ports=ports, applications=applications, flags=flags)


def has_relx(project: Path) -> bool:
    """Whether ``rebar.config`` describes a release (comments do not count)."""
    text = (project / "rebar.config").read_text(encoding="utf-8", errors="replace")
    return bool(re.search(r"\{\s*relx\s*,\s*\[[^\]]*\{\s*release\s*,", re.sub(r"%[^\n]*", "", text)))


def _assemble(store: Store, work: Path, name: str, tree: Path, ports: tuple[int, ...],
              applications: tuple[str, ...], flags: tuple[str, ...]) -> Made:
    otp = host_otp()
    built = app_dirs(work / "_build" / "prod" / "lib") | app_dirs(work / "_build" / "prod" / "checkouts")
    own = [read_app(built[spec.name.removesuffix(".app.src")])
           for spec in sorted([*work.glob("src/*.app.src"), *work.glob("apps/*/src/*.app.src"),
                               *work.glob("lib/*/src/*.app.src")])
           if spec.name.removesuffix(".app.src") in built]
    starting = [app for app in own if app.callback]
    if not starting and not applications:
        raise SourceError(f"{name} holds no application that starts anything.",
                          "Add {mod, {MODULE, []}} to its .app.src file, or name applications to start.")
    main = starting[0] if starting else None
    with step("Assembling the release"):
        release_name, version = (main.name, main.version) if main else ("release", "1")
        wanted = [app.name for app in own] + list(applications)
        assemble_apps(store, tree, otp, release_name, version, wanted, otp.apps() | built)
    return Made(version=version, otp=otp.version, erts=otp.erts, ports=ports, system=frozenset(otp.apps()),
                launch=assemble.launch(otp.erts, version, flags=flags,
                                       distributed=bool({"-name", "-sname"} & set(flags))))


def assemble_apps(store: Store, tree: Path, otp: Otp, name: str, version: str, wanted: list[str],
                  available: Mapping[str, Path], carried: tuple[str, ...] = ()) -> list[App]:
    """Make a tree of compiled applications: ``wanted`` are started by the boot script with all they need,
    ``carried`` are only brought along with all they need."""
    assemble.add_erts(otp.erts_dir, tree)
    started = closure(wanted, available)
    for app in closure([*wanted, *carried], available):
        assemble.add_application(app.path, tree / "lib" / f"{app.name}-{app.version}")
    assemble.add_application(compiler.compile_agent(store, otp, otp.release), tree / "lib" / compiler.AGENT_APP)
    assemble.make_boot(store, tree, otp, name, version, started)
    return started
