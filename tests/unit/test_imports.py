"""The house's rules about imports, read from the sources, and the two linters."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import unibeam_nb

PACKAGE = Path(unibeam_nb.__file__).parent
ROOT = PACKAGE.parent

LAYERS = (
    ("visible",), ("errors",), ("units", "bounded"), ("arms", "manners"), ("model", "progress"),
    ("jsonable", "job", "held"), ("private",), ("process", "store"), ("tools",), ("apt", "musl"), ("guest",),
    ("release",), ("image",), ("machine",), ("talk",), ("bench",), ("analysis",), ("doctor",), ("lab",),
    ("notebook",), ("cli",), ("__main__",))
"""From the bottom up: a module may import its own layer and those before it."""

PURE = ("visible", "errors", "units", "bounded", "arms", "model", "jsonable", "image.formats",
        "machine.qemu_arguments",
        "machine.podman_arguments", "machine.docker_arguments", "machine.uml_arguments", "machine.bundle",
        "machine.snapshot_facts", "machine.link", "machine.xen_arguments", "image.xl", "image.firecracker",
        "image.bom.model",
        "talk.etf", "talk.values", "analysis.frames", "analysis.stats", "analysis.inside",
        "lab.binder", "notebook.parser", "notebook.commands", "notebook.sheet", "notebook.steps")
"""Modules and packages that import nothing which touches the world."""

UNCLEAN = ("IPython", "subprocess", "plumbum", "matplotlib", "unibeam_nb.process", "unibeam_nb.tools")

STARTERS = {f"{module}.{name}" for module, names in (
    ("subprocess", ("Popen", "run", "call", "check_call", "check_output", "getoutput", "getstatusoutput")),
    ("os", ("system", "popen", "fork", "execv", "execve", "execvp", "execvpe", "posix_spawn", "spawnv")),
    ("pty", ("fork", "spawn"))) for name in names}
"""What would start a program past the one module that may."""

HEAVY = ("pandas", "numpy", "matplotlib", "scipy", "jinja2", "qemu", "lz4", "zstandard", "nbclient",
         "boto3", "botocore", "pycdlib", "cyclonedx", "packageurl")
"""What must not load before it is used."""


def modules() -> dict[str, Path]:
    """Every module of the package by its name below it: ``machine.qemu``; packages by their own name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, top_level: bool = False) -> Iterator[str]:
    """The full names that a file imports; with ``top_level`` only those that run when it is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = _at_import(tree.body) if top_level else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _at_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from _at_import([s for s in ast.iter_child_nodes(node) if isinstance(s, ast.stmt)])
        yield node


def layer(name: str) -> int:
    """The layer of a module, by the first part of its name below the package."""
    return next(i for i, names in enumerate(LAYERS) if name.split(".")[0] in names)


@pytest.mark.parametrize("name", sorted(set(modules()) - {""}))
def test_imports_point_down_the_layers(name: str) -> None:
    for imported in imports(modules()[name]):
        if imported.startswith("unibeam_nb."):
            below = imported.removeprefix("unibeam_nb.")
            if below.split(".")[0] in {n for names in LAYERS for n in names}:
                assert layer(below) <= layer(name), f"{name} imports {imported}"


def test_every_module_has_a_layer() -> None:
    assert all(layer(name) >= 0 for name in modules() if name)


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_touch_nothing(name: str) -> None:
    mine = [m for m in modules() if m == name or m.startswith(f"{name}.")]
    assert mine, f"there is no module {name}"
    for module in mine:
        for imported in imports(modules()[module], top_level=True):
            touching = any(imported == u or imported.startswith(f"{u}.") for u in UNCLEAN)
            assert not touching, f"{module} imports {imported}"


@pytest.mark.parametrize("name", sorted(modules()))
def test_programs_start_in_one_module_only(name: str) -> None:
    if name == "process":
        return
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert called & STARTERS == set()


@pytest.mark.parametrize("name", sorted(modules()))
def test_no_module_is_long_or_swallows_every_error(name: str) -> None:
    text = modules()[name].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 420
    assert not any(isinstance(node, ast.ExceptHandler) and node.type is None for node in ast.walk(ast.parse(text)))


def loaded_after(code: str) -> set[str]:
    """The top-level modules that are loaded once ``code`` has run in an interpreter of its own."""
    script = f"{code}\nimport sys; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    return set(done.stdout.split("\n")[-2].split())


EXTENSION = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "unibeam_nb")
"""


@pytest.mark.parametrize("code", [
    "import unibeam_nb", "from unibeam_nb.lab import Lab; Lab()", "from unibeam_nb.cli import main; main(['-h'])",
    EXTENSION, EXTENSION + "shell.run_cell('%unibeam boot -h')"], ids=["package", "lab", "shell", "extension", "help"])
def test_importing_is_cheap(code: str) -> None:
    assert loaded_after(code) & set(HEAVY) == set()


def test_the_extension_loads_what_it_needs_and_no_more() -> None:
    """Each of these costs more than all of the magic; what needs one imports it when it is asked to work."""
    script = f"{EXTENSION}\nimport sys; print(' '.join(n for n in sys.modules if n.startswith('unibeam_nb.')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    ours = {name.split(".")[1] for name in done.stdout.split("\n")[-2].split()}
    assert ours & {"bench", "machine", "lab", "release", "store", "process", "tools", "doctor"} == set()
    others = {"ipywidgets", "anywidget", "filelock", "dacite", "plumbum", "platformdirs"}
    assert loaded_after(EXTENSION) & others == set()


def test_the_package_alone_does_not_load_ipython() -> None:
    assert "IPython" not in loaded_after("import unibeam_nb, unibeam_nb.lab, unibeam_nb.cli")


def test_ruff_has_nothing_to_say() -> None:
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--output-format=concise", "."], cwd=ROOT,
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_has_nothing_to_say() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy", "--no-error-summary"], cwd=ROOT, capture_output=True,
                          text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_bandit_has_nothing_to_say() -> None:
    words = ["bandit", "--quiet", "-ll", "-c", "pyproject.toml", "-r", "unibeam_nb"]
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=300,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
