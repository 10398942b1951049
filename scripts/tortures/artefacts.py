"""What the reproducibility check makes in one world: every artefact that unibeam writes, and its sha256.

    scripts/tortures/artefacts.py DIRECTORY RESULT.json [PRODUCT...]

DIRECTORY is the world's own: its store, an OSv kernel (osv.elf), the sources it builds from, what it writes.
RESULT.json tells for each product the files it is made of, each with its path and sha256. Two worlds are compared by
reproducible.py beside this file, which starts this program as another user, under another clock, and so on; here is
nothing that knows about that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from unibeam_nb import process
from unibeam_nb.errors import UnibeamError
from unibeam_nb.image.emit import CONFIGURATIONS
from unibeam_nb.lab import Build, Lab
from unibeam_nb.store import Store, digest_file, walk

ROOT = Path(__file__).resolve().parents[2]

HELLO = """-module(hello).
-export([start/0]).
start() -> io:format("hello ~p~n", [crypto:hash(sha256, <<"world">>)]).
"""

PLAIN = """-module(plain).
-export([start/0]).
start() -> io:format("plain~n").
"""

GREET = """defmodule Greet do
  defstruct name: "world"
  def start, do: IO.puts("hello " <> inspect(%Greet{}))
end
"""

REBAR3 = {
    "rebar.config": "{erl_opts, [debug_info]}.\n{deps, []}.\n{relx, [{release, {web, \"0.1.0\"}, [web, sasl]}]}.\n",
    "src/web.app.src": "{application, web, [{description, \"web\"}, {vsn, \"0.1.0\"}, {registered, []},\n"
                       "  {mod, {web_app, []}}, {applications, [kernel, stdlib, crypto]}, {env, []}]}.\n",
    "src/web_app.erl": "-module(web_app).\n-behaviour(application).\n-export([start/2, stop/1]).\n"
                       "start(_, _) -> web_sup:start_link().\nstop(_) -> ok.\n",
    "src/web_sup.erl": "-module(web_sup).\n-behaviour(supervisor).\n-export([start_link/0, init/1]).\n"
                       "start_link() -> supervisor:start_link(?MODULE, ?FILE).\n"
                       "init(_) -> {ok, {#{}, []}}.\n",
    "priv/b.txt": "b\n", "priv/a.txt": "a\n", "priv/c/d.txt": "d\n"}

MIX = {
    "mix.exs": "defmodule Shop.MixProject do\n  use Mix.Project\n  def project, do: [app: :shop, version: \"0.1.0\", "
               "deps: []]\n  def application, do: [extra_applications: [:logger], mod: {Shop, []}]\nend\n",
    "lib/shop.ex": "defmodule Shop do\n  use Application\n  def start(_, _), do: Supervisor.start_link([], "
                   "strategy: :one_for_one)\nend\n",
    "lib/shop/price.ex": "defmodule Shop.Price do\n  defprotocol Of do\n    def of(x)\n  end\n"
                         "  defimpl Of, for: Integer do\n    def of(x), do: x\n  end\nend\n",
    "config/config.exs": "import Config\nconfig :shop, b: 1, a: 2\n"}

ASKING = MIX | {"lib/shop/where.ex": "defmodule Shop.Where do\n  def file, do: __ENV__.file\nend\n"}
"""A program that asks the compiler where its source is has the answer in its code."""

USER_DATA = b"#cloud-config\nhostname: web.example.org\n"

ARMS = (
    "release@process", "release+shake@process", "release+lean@process",
    "linux@qemu", "linux+cloudinit@qemu", "linux@uml", "linux+tiny@qemu", "linux+tiny+initramfs@qemu",
    "linux+tiny+small@qemu", "linux+tiny+shake@qemu", "linux+tiny+lean@qemu", "linux+tiny+shake+lean@qemu",
    "disk@qemu", "disk+bios@qemu", "disk+tiny@qemu",
    "oci+scratch@podman", "oci+scratch+shake+lean@podman", "oci+slim@podman", "oci+full@podman", "osv@qemu")
"""The arms whose images are made of one release, named after them."""

DISKS = ("qcow2", "vmdk", "vhd")

JOURNAL = ROOT / "notebooks" / "data" / "hello.jsonl"


class World:
    """One directory, and what is made in it."""

    def __init__(self, home: Path) -> None:
        self.out = home / "out"
        self.sources = home / "sources"
        self.kernel = home / "osv.elf"
        self.lab = Lab(Store(home / "store" / "cache", home / "store" / "state"))
        self.out.mkdir(parents=True, exist_ok=True)

    def image(self, arm: str) -> Iterator[Path]:
        """Everything in the store's entry of an arm's image. A lean emulator loads no crypto, so it has a plainer
        program."""
        from unibeam_nb.arms import Arm

        if arm.startswith("osv"):
            self.lab.add_osv(str(self.kernel))
        lean = "lean" in arm
        build = self._cell("plain" if lean else "hello", PLAIN if lean else HELLO)
        made = self.lab.image(build, Arm.parse(arm))
        yield made.path

    def _cell(self, name: str, text: str) -> Build:
        return self.lab.build(name, text=text, target="release", ports=(8080,))

    def cell(self) -> Iterator[Path]:
        yield self._cell("greet", GREET).release.path.parent

    def project(self, files: dict[str, str], name: str) -> Iterator[Path]:
        """The release of a project that is written here."""
        place = self.sources / name
        for path, text in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text, encoding="utf-8")
        yield self.lab.build(name, path=place, target="release").release.path.parent

    def emitted(self, kind: str, arm: str | None = None) -> Iterator[Path]:
        self._cell("hello", HELLO)
        path = self.out / f"hello.{kind}"
        self.lab.emit("hello", kind, path, arm=arm)
        if kind in CONFIGURATIONS:  # They name files where they lie, which is what makes them of use.
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(str(self.lab.store.cache.parent), "STORE"), encoding="utf-8")
        yield path

    def seed(self) -> Iterator[Path]:
        from unibeam_nb.machine import seed

        seed.write(self.out / "seed.iso", USER_DATA, "web")
        yield self.out / "seed.iso"

    def data(self) -> Iterator[Path]:
        """An empty data disk, which is a machine's own and carries an identity of its own."""
        from unibeam_nb.machine import data

        yield data.provide(self.lab.store, str(self.out / "data.ext4"), "hello")

    def bills(self) -> Iterator[Path]:
        self._cell("hello", HELLO)
        for on in ("linux", "oci+slim", "disk+bios", "release"):
            yield self.lab.sbom("hello", on=on).save(self.out / f"{on}.cdx.json")

    def exported(self) -> Iterator[Path]:
        """What is shared of an experiment: charts, the report, and files that other programs read."""
        from unibeam_nb.analysis.report import save_charts

        yield from save_charts(self.lab.experiment(str(JOURNAL)), self.out / "charts")
        yield self.lab.report(str(JOURNAL), self.out / "report.html")
        for form, ending in (("hyperfine", "json"), ("csv", "csv"), ("parquet", "parquet")):
            yield self.lab.export(form, str(JOURNAL), self.out / f"export.{ending}")


def products(world: World) -> dict[str, Callable[[], Iterator[Path]]]:
    """How each product is made, by its name."""
    made: dict[str, Callable[[], Iterator[Path]]] = {
        arm.partition("@")[0] if arm != "linux@uml" else "linux (uml)": lambda arm=arm: world.image(arm)  # type: ignore
        for arm in ARMS}
    made |= {"Elixir cell": world.cell, "rebar3 project": lambda: world.project(REBAR3, "web"),
             "mix project": lambda: world.project(MIX, "shop"),
             "mix project with its path": lambda: world.project(ASKING, "asking"), "cloud-init seed": world.seed,
             "data disk": world.data, "bill of materials": world.bills}
    made |= {kind: lambda kind=kind: world.emitted(kind) for kind in (*DISKS, "xl", "libvirt")}  # type: ignore
    made["firecracker"] = lambda: world.emitted("firecracker", "linux+tiny+initramfs@qemu")
    made |= {"charts, report, exports": world.exported}
    return made


def hashed(made: Path) -> dict[str, dict[str, str]]:
    """Each file below a path (or the path itself) with its sha256 and where it is. Of links the target counts, and of
    files also whether they can be run."""
    if made.is_file():
        return {made.name: {"path": str(made), "sha256": digest_file(made)}}
    found = {}
    for path in walk(made):
        name = path.relative_to(made).as_posix()
        if path.is_symlink():
            found[name] = {"path": str(path), "sha256": f"-> {path.readlink()}"}
        elif path.is_file():
            runs = " x" if path.stat().st_mode & 0o111 else ""
            found[name] = {"path": str(path), "sha256": digest_file(path) + runs}
        elif path.is_dir():
            found[name] = {"path": str(path), "sha256": "directory"}
    return found


def make(home: Path, wanted: list[str]) -> dict[str, object]:
    """Make the products ``wanted``, or all; of one that cannot be made here, the reason."""
    world, told = World(home), {}
    for name, product in products(world).items():
        if wanted and name not in wanted:
            continue
        try:
            told[name] = {key: value for path in product() for key, value in hashed(path).items()}
        except UnibeamError as error:
            told[name] = {"error": " ".join((error.message, *error.details))}
        print(name, flush=True)
    return told


if __name__ == "__main__":
    # Programs started from here get a clean environment; a clock that was set for this world holds for them, too.
    process.PASSED_ON = (*process.PASSED_ON, "LD_PRELOAD", "FAKETIME", "FAKETIME_SHARED", "DONT_FAKE_MONOTONIC",
                         "FAKETIME_DONT_FAKE_MONOTONIC")
    Path(sys.argv[2]).write_text(json.dumps(make(Path(sys.argv[1]), sys.argv[3:]), indent=1), encoding="utf-8")
