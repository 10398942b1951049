"""The plugins for rebar3 and mix, in projects made by the tools' own generators; nothing is fetched."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import edit
from unibeam_nb import process, tools
from unibeam_nb.lab import Lab
from unibeam_nb.process import Completed
from unibeam_nb.store import Store

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
"""With the ``unibeam`` of this Python on it."""


def run(store: Store, tool: str, project: Path, *words: str, path: str = PATH) -> Completed:
    return process.run([tools.find(tool), *words], cwd=project, check=False, timeout=300,
                       env={"HOME": str(project.parent), "UNIBEAM_HOME": str(store.cache.parent), "PATH": path,
                            "REBAR_COLOR": "none", "TERM": "dumb"})


def found_by(store: Store) -> Store:
    """The store that the program finds by UNIBEAM_HOME: its machines and names are no worker's own."""
    return Store(store.cache, store.cache.parent / "state")


def said(done: Completed) -> str:
    return done.stdout + done.stderr


def without_unibeam(place: Path) -> str:
    """A PATH with the build tools and without ``unibeam``."""
    place.mkdir()
    for name in ("erl", "escript", "elixir", "mix", "rebar3", "sh", "basename", "dirname", "uname", "sed", "readlink",
                 "env", "expr", "cat"):
        (place / name).symlink_to(shutil.which(name) or "/bin/true")
    return str(place)


@pytest.fixture
def rebar3_project(tmp_path: Path) -> Path:
    process.run([tools.find("rebar3"), "new", "release", "webplug"], cwd=tmp_path, env={"HOME": str(tmp_path)})
    project = tmp_path / "webplug"
    edit(project / "rebar.config", "{deps, []}.",
         '{deps, []}.\n{project_plugins, [rebar3_unibeam]}.\n{unibeam, [{args, ["--port", "8080"]}]}.')
    # As people have it: a link that is relative, to a clone beside the project.
    (tmp_path / "plugins").symlink_to(PLUGINS)
    (project / "_checkouts").mkdir()
    (project / "_checkouts" / "rebar3_unibeam").symlink_to("../../plugins/rebar3_unibeam")
    return project


def test_rebar3_makes_an_image_by_the_same_builder(store: Store, rebar3_project: Path, tmp_path: Path) -> None:
    done = run(store, "rebar3", rebar3_project, "unibeam", "image", "plug-two", "--target", "release")
    assert done.code == 0, said(done)
    assert "Built plug-two\n" in said(done)
    assert "Failed to update package" not in said(done)
    release = Lab(found_by(store)).named("plug-two").release
    assert (release.source, release.ports) == ("rebar3", (8080,))
    assert {"webplug", "sasl"} <= {application.name for application in release.applications}

    misused = run(store, "rebar3", rebar3_project, "unibeam", "image", "--target", "nothing")
    assert (misused.code, said(misused).splitlines()[-2:]) == (2, [
        "unibeam: --target cannot be 'nothing'.",
        "  Hint: It can be linux, disk, osv, oci, oci+scratch, oci+slim, release."])

    edit(rebar3_project / "apps/webplug/src/webplug_app.erl", "webplug_sup:start_link()", "webplug_sup:start_link(")
    failed = run(store, "rebar3", rebar3_project, "unibeam", "image", "--target", "release")
    assert failed.code == 1
    assert "unibeam: webplug does not compile.\n" in said(failed)

    absent = run(store, "rebar3", rebar3_project, "unibeam", "image", path=without_unibeam(tmp_path / "bin"))
    assert absent.code == 1
    assert "unibeam is not on the PATH. Install it (pip install unibeam-nb), or name it in rebar.config: " \
           '{unibeam, [{program, "/path/to/unibeam"}]}.' in said(absent)


def test_mix_makes_an_image_by_the_same_builder(store: Store, tmp_path: Path) -> None:
    process.run([tools.find("mix"), "new", "shopplug", "--sup"], cwd=tmp_path, env={"HOME": str(tmp_path)})
    project = tmp_path / "shopplug"
    (tmp_path / "plugins").symlink_to(PLUGINS)
    edit(project / "mix.exs", "deps: deps()", 'deps: deps(),\n      unibeam: [args: ["--port", "4000"]]')
    edit(project / "mix.exs", '# {:dep_from_hexpm, "~> 0.3.0"},',
         '{:mix_unibeam, path: "../plugins/mix_unibeam", only: :dev, runtime: false}')
    done = run(store, "mix", project, "unibeam.image", "--target", "release")
    assert done.code == 0, said(done)
    assert "Built shopplug\n" in said(done)
    release = Lab(found_by(store)).named("shopplug").release
    assert (release.source, release.ports) == ("mix", (4000,))
    assert not {"mix_unibeam"} & {application.name for application in release.applications}

    misused = run(store, "mix", project, "unibeam.image", "--target", "nothing")
    assert (misused.code, said(misused).splitlines()[0]) == (2, "unibeam: --target cannot be 'nothing'.")

    absent = run(store, "mix", project, "unibeam.image", path=without_unibeam(tmp_path / "bin"))
    assert absent.code == 1
    assert "unibeam is not on the PATH. Install it (pip install unibeam-nb), or name it in mix.exs: " \
           'unibeam: [program: "/path/to/unibeam"]' in said(absent)
