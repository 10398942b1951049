"""Stores elsewhere, real projects made by the tools' own generators, and packages of the distribution."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unibeam_nb import process, tools
from unibeam_nb.lab import Lab
from unibeam_nb.store import Store


@pytest.fixture(scope="session")
def store_at(store: Store) -> Callable[[Path], Store]:
    """What makes a store elsewhere, with the kernels and packages of the shared one, which take minutes to make."""

    def make(home: Path) -> Store:
        made = Store(home / "cache", home / "state")
        made.cache.mkdir(parents=True)
        for slow in ("kernels", "sources", "apt", "bases"):
            (store.cache / slow).mkdir(parents=True, exist_ok=True)
            (made.cache / slow).symlink_to(store.cache / slow)
        return made

    return make


HTTPS_IN_ERLANG = """
    -module(web_tls).
    -export([start_link/0, init/0]).

    start_link() -> proc_lib:start_link(?MODULE, init, []).

    init() ->
        Key = [{key, {namedCurve, secp256r1}}, {digest, sha256}],
        Certificate = public_key:pkix_test_data(#{root => Key, intermediates => [], peer => Key}),
        Port = list_to_integer(os:getenv("PORT", "8443")),
        {ok, Listen} = ssl:listen(Port, [binary, {active, false}, {reuseaddr, true} | Certificate]),
        proc_lib:init_ack({ok, self()}),
        accept(Listen).

    accept(Listen) ->
        {ok, Transport} = ssl:transport_accept(Listen),
        case ssl:handshake(Transport, 30000) of
            {ok, Socket} ->
                {ok, _Request} = ssl:recv(Socket, 0),
                Body = binary:encode_hex(crypto:hash(sha256, <<"unibeam">>)),
                Head = "HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 64\\r\\n\\r\\n",
                ok = ssl:send(Socket, [Head, Body]),
                ssl:close(Socket);
            {error, _} -> ok
        end,
        accept(Listen).
"""

SUPERVISOR_IN_ERLANG = """
    -module(web_sup).
    -behaviour(supervisor).
    -export([start_link/0, init/1]).

    start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

    init([]) ->
        {ok, {#{strategy => one_for_one}, [#{id => tls, start => {web_tls, start_link, []}}]}}.
"""

HTTPS_IN_ELIXIR = """
    defmodule Shop.Tls do
      def child_spec(_), do: %{id: __MODULE__, start: {__MODULE__, :start_link, []}}
      def start_link, do: :proc_lib.start_link(__MODULE__, :init, [])

      def init do
        key = [key: {:namedCurve, :secp256r1}, digest: :sha256]
        certificate = :public_key.pkix_test_data(%{root: key, intermediates: [], peer: key})
        port = String.to_integer(System.get_env("PORT", "8443"))
        {:ok, listen} = :ssl.listen(port, [:binary, active: false, reuseaddr: true] ++ certificate)
        :proc_lib.init_ack({:ok, self()})
        accept(listen)
      end

      defp accept(listen) do
        {:ok, transport} = :ssl.transport_accept(listen)

        with {:ok, socket} <- :ssl.handshake(transport, 30_000) do
          {:ok, _request} = :ssl.recv(socket, 0)
          body = Base.encode16(:crypto.hash(:sha256, "unibeam"))
          :ok = :ssl.send(socket, ["HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 64\\r\\n\\r\\n", body])
          :ssl.close(socket)
        end

        accept(listen)
      end
    end
"""


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip("\n"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path} does not hold {old!r} any more"
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="session")
def rebar3_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``rebar3 new release web``, serving HTTPS with ssl and crypto."""
    home = tmp_path_factory.mktemp("rebar3")
    process.run([tools.find("rebar3"), "new", "release", "web"], cwd=home, env={"HOME": str(home)})
    sources = home / "web" / "apps" / "web" / "src"
    write(sources / "web_tls.erl", HTTPS_IN_ERLANG)
    write(sources / "web_sup.erl", SUPERVISOR_IN_ERLANG)
    edit(sources / "web.app.src", "stdlib", "stdlib, crypto, public_key, ssl")
    return home / "web"


@pytest.fixture(scope="session")
def mix_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``mix new shop --sup``, serving HTTPS with ssl and crypto."""
    home = tmp_path_factory.mktemp("mix")
    process.run([tools.find("mix"), "new", "shop", "--sup"], cwd=home, env={"HOME": str(home)})
    write(home / "shop" / "lib" / "shop" / "tls.ex", HTTPS_IN_ELIXIR)
    edit(home / "shop" / "lib" / "shop" / "application.ex", "children = [", "children = [Shop.Tls")
    edit(home / "shop" / "mix.exs", "extra_applications: [:logger]",
         "extra_applications: [:logger, :crypto, :public_key, :ssl]")
    return home / "shop"


@pytest.fixture(scope="session")
def debian_package(store: Store) -> Callable[..., Path]:
    """Unpack packages of the distribution without installing them; gives the directory they lie in."""

    def fetch(*names: str) -> Path:
        store.cache.mkdir(parents=True, exist_ok=True)

        def make(directory: Path) -> None:
            debs = directory / "debs"
            debs.mkdir()
            process.run(["apt-get", "download", *names], cwd=debs)
            for deb in sorted(debs.glob("*.deb")):
                process.run(["dpkg-deb", "-x", deb, directory])

        return store.build("test-packages", "-".join(names), make)[0]

    return fetch


@pytest.fixture(scope="session")
def rabbitmq(debian_package: Callable[..., Path]) -> Path:
    """Debian's RabbitMQ as it would be installed, below a directory of the tests' own."""
    return next((debian_package("rabbitmq-server") / "usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))


@pytest.fixture(scope="session", autouse=True)
def _no_daemon_is_left(store: Store) -> Iterator[None]:
    """A docker daemon that the tests started goes with the last of them."""
    yield
    from unibeam_nb.machine import dockerd

    dockerd.end(store)


@pytest.fixture
def lab(store: Store) -> Lab:
    """A lab over the store that all tests share."""
    return Lab(store)


@pytest.fixture(scope="session")
def stand_in_for_osv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``stand_in/osv.c`` as a kernel (``stand_in/build.sh``)."""
    kernel = tmp_path_factory.mktemp("osv") / "loader.elf"
    process.run([Path(__file__).parent / "stand_in" / "build.sh", kernel])
    return kernel


@pytest.fixture(scope="session")
def stand_in_for_osv_on_a_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same behind a boot sector, as ``loader.img``."""
    loader = tmp_path_factory.mktemp("osv") / "loader.img"
    process.run([Path(__file__).parent / "stand_in" / "build.sh", "--loader", loader])
    return loader
