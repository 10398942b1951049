"""What a release is made of: compiled modules, boot scripts, descriptions, command lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import seeds
from tests.fuzz.target import Target, in_file, text_of
from unibeam_nb.release import adopt, bootscript, otp, vmargs
from unibeam_nb.release.beamfile import read_beam
from unibeam_nb.release.findings import of_beam
from unibeam_nb.release.shake.emulator import preloaded
from unibeam_nb.release.shake.reach import Module
from unibeam_nb.release.shake.trim import trimmed
from unibeam_nb.release.terms import consult

BEAM = (
    b"FOR1",
    b"BEAM",
    b"AtU8",
    b"Atom",
    b"ImpT",
    b"ExpT",
    b"LocT",
    b"Code",
    b"LitT",
    b"FunT",
    b"StrT",
    b"Attr",
    b"CInf",
    b"Line",
    b"\x1f\x8b\x08",
    b"\x78\x9c",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\x83",
)
TERMS = (
    b"{",
    b"}",
    b"[",
    b"]",
    b"<<",
    b">>",
    b"#{",
    b"=>",
    b"'",
    b'"',
    b"$",
    b"$\\",
    b"\\x{",
    b"16#",
    b"1#z",
    b"99#1",
    b"/utf8",
    b"application",
    b"modules",
    b"vsn",
    b"mod",
    b".",
    b",",
    b"|",
    b"%",
    b"1.0e999",
    b"-",
    b"\n",
    b"\\^",
)


def _beam(data: bytes) -> None:
    beam = read_beam(data)
    of_beam(beam)
    _ = beam.module, beam.exports, beam.exported("start", 0)
    read_beam(beam.stripped())


def _code(data: bytes) -> None:
    module = Module("m", "app", read_beam(data))
    _ = module.bodies, module.literals, module.owner, module.funs, module.exported
    if module.bodies:
        trimmed(module, range(0, len(module.bodies), 2))


def _boot(data: bytes) -> None:
    bootscript.instructions(data)
    bootscript.variables(data)
    bootscript.with_agent(data, "$ROOT/lib/agent/ebin", restarts=True)


def _release(path: Path) -> None:
    directory = path.parent
    (directory / "start.boot").touch()
    adopt.layout(directory.parents[1])


def _vm_args(data: bytes) -> None:
    vmargs.parse(vmargs.fill_in(text_of(data)))


def _args() -> Sequence[bytes]:
    return [
        b'-name a@b.c\n-setcookie \'x y\'\n+P 1024 # comment\n-env A "b \\" c"\n-heart\n-extra one two\n',
        b'-sname ${NAME:-hello}@${HOST:-here.x}\n## ${NONE}\n-mode embedded -boot x\n+K true\n-config "a"\n',
    ]


TARGETS = (
    Target("beam", seeds.beams, _beam, words=BEAM, share=80),
    Target("beam-code", lambda: [s for s in seeds.beams() if len(s) < 9000], _code, words=BEAM, share=30),
    Target(
        "emulator",
        lambda: [bytes(100) + b"".join(seeds.beams()[:3]) + b"name\0" * 9],
        in_file("beam.smp", preloaded),
        words=BEAM,
        share=10,
    ),
    Target(
        "boot-script",
        lambda: [*seeds.otp_files("boot", 2), *map(_shorter, seeds.otp_files("boot", 1))],
        _boot,
        words=(
            b"\x83",
            b"\x83P",
            b"h\x03",
            b"l\x00\x00\x00",
            b"j",
            b"w\x06script",
            b"d\x00\x06script",
            b"path",
            b"primLoad",
            b"apply",
            b"progress",
            b"preloaded",
            b"$ROOT/",
            b"$A/",
            b"\xff\xff\xff\xff",
        ),
        share=15,
    ),
    Target(
        "terms",
        lambda: [
            *seeds.otp_files("app", 5),
            *seeds.otp_files("rel", 2),
            b'{a,#{k => [1,2|3],"x" => <<1,"b"/utf8>>},$a,16#ff,-1.5e-3,\'q\\x{41}\'}.\n',
        ],
        lambda data: consult(text_of(data)),
        words=TERMS,
        share=60,
        longest=1 << 15,
    ),
    Target(
        "application",
        lambda: seeds.otp_files("app", 6),
        in_file("app/ebin/a.app", lambda path: otp.read_app(path.parents[1])),
        words=TERMS,
        share=15,
        longest=1 << 15,
    ),
    Target(
        "release-description",
        lambda: seeds.otp_files("rel", 4),
        in_file("rel/releases/1/hello.rel", _release),
        words=TERMS,
        share=12,
        longest=1 << 15,
    ),
    Target(
        "vm-args",
        _args,
        _vm_args,
        words=(b"${", b":-", b"}", b"'", b'"', b"\\", b"#", b"-extra", b"-boot", b"\n", b" "),
        share=30,
        longest=1 << 15,
    ),
)


def _shorter(boot: bytes) -> bytes:
    """A boot script with few instructions, of which each change hits one."""
    script, name, steps = bootscript.instructions(boot)
    kept = [step for step in steps if len(step) < 200][:12]
    return b"\x83" + bootscript.make_tuple(script, name, bootscript.make_list(kept))
