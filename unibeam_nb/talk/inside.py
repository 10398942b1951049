"""The module that does the work inside a machine: compiled once per host, sent where it is missing."""

from __future__ import annotations

from pathlib import Path

from unibeam_nb import process, tools
from unibeam_nb.errors import CompileError, MachineError, UnibeamError
from unibeam_nb.release.beamfile import read_beam
from unibeam_nb.release.compiler import GUEST
from unibeam_nb.release.otp import Otp, host_otp
from unibeam_nb.release.terms import Atom
from unibeam_nb.store import Store, digest
from unibeam_nb.talk.channel import Channel

INSIDE, COMPILER = "unibeam_inside", "unibeam_compile"


def compiled(store: Store, otp: Otp, name: str, target: str) -> Path:
    """The directory that holds ``name.beam`` from ``guest/``, compiled for OTP release ``target``."""
    source = GUEST / f"{name}.erl"
    older = target.isdigit() and otp.release.isdigit() and int(target) < int(otp.release)
    options = [f"+r{target}"] if older else []

    def make(place: Path) -> None:
        try:
            process.run([tools.find("erlc"), "+deterministic", *options, "-o", place, source], timeout=120,
                        makes=(place / f"{name}.beam",))
        except UnibeamError as error:
            raise CompileError(f"{name} does not compile with this host's Erlang.",
                               f"Use an OTP release nearer to the machine's own ({target}).", error.details) from error

    return store.build("talk", digest("talk 1", source.read_bytes(), otp.identity(), options), make)[0]


def send(store: Store, channel: Channel) -> None:
    """See to it that the machine has today's ``unibeam_inside``."""
    otp = host_otp()
    directory = compiled(store, otp, INSIDE, channel.otp)
    beam = read_beam((directory / f"{INSIDE}.beam").read_bytes()).stripped()
    version = digest(beam).encode("ascii")
    if channel.inside == version:
        return
    if channel.inside:
        # Another version: it goes, with whatever runs it.
        for function in ("purge", "delete", "purge"):
            channel.call("code", function, [Atom(INSIDE)])
    if channel.call("code", "load_binary", [Atom(INSIDE), [], beam]) != ("module", INSIDE):
        raise MachineError("The machine does not take the code that is to work in it.",
                           "Its OTP release and this host's are too far apart.")
    channel.call("persistent_term", "put", [Atom(INSIDE), version])
