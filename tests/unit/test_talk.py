"""What talking to a machine is made of: terms, values, languages, secrets, and the face of what comes back."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.arms import Arm
from unibeam_nb.errors import EvaluationFailed, MachineError, UsageError
from unibeam_nb.machine import docker_arguments, door, podman_arguments
from unibeam_nb.machine.door import Door
from unibeam_nb.machine.marks import MarkReader, with_kernel
from unibeam_nb.machine.options import BootOptions, Seat, Snapshot
from unibeam_nb.machine.osv_arguments import OsvGuest, osv_arguments, osv_command_line
from unibeam_nb.machine.qemu_arguments import Guest, arguments, kernel_command_line
from unibeam_nb.machine.registry import Record
from unibeam_nb.machine.snapshot_facts import facts_of, order
from unibeam_nb.model import Image, Launch
from unibeam_nb.notebook.display import to_text
from unibeam_nb.notebook.execute import execute
from unibeam_nb.notebook.parser import parse
from unibeam_nb.notebook.sheet import Sheet, Shown, as_html
from unibeam_nb.notebook.widgets.top import TopPanel
from unibeam_nb.release.terms import Atom
from unibeam_nb.store import Store
from unibeam_nb.talk.etf import MAX_DEPTH, Improper, Pairs, TermFormatError, decode, encode
from unibeam_nb.talk.evaluating import Evaluated
from unibeam_nb.talk.expressions import language_of
from unibeam_nb.talk.looking import Process, Top
from unibeam_nb.talk.reloading import OldCode, Reloaded
from unibeam_nb.talk.values import Opaque, python

SECRET = "5ec2e7" * 10 + "abcd"
DOOR = Door(40000, 4371, SECRET)


# ---- terms -----------------------------------------------------------------------------------------------------

sendable = st.recursive(
    st.integers(-2**31, 2**31 - 1) | st.binary() | st.text(max_size=20).map(Atom) | st.just([]),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple), max_leaves=20)


@given(sendable)
def test_terms_that_are_sent_come_back(term: Any) -> None:
    assert decode(encode(term)) == term


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_term_or_in_an_error(data: bytes) -> None:
    with contextlib.suppress(TermFormatError):
        decode(b"\x83" + data)


@pytest.mark.parametrize(("written", "term"), [
    # What OTP's term_to_binary/1 writes for 1.5, -(1 bsl 40), "ab", [a|b], #{1 => []}, <<"x">>, 'é'.
    ("8346 3ff8000000000000", 1.5), ("836e 06 01 000000000001", -(1 << 40)), ("836b 0002 6162", [97, 98]),
    ("836c 00000001 770161 770162", Improper([Atom("a"), Atom("b")])), ("8374 00000001 6101 6a", Pairs([(1, [])])),
    ("836d 00000001 78", b"x"), ("8377 02 c3a9", Atom("é"))])
def test_terms_as_otp_writes_them(written: str, term: Any) -> None:
    assert decode(bytes.fromhex(written)) == term


@pytest.mark.parametrize(("data", "reason"), [
    (b"", "it is cut short"), (b"\x82a\x01", "it is not an Erlang term"), (b"\x83a\x01a", "something follows its end"),
    (b"\x83l\xff\xff\xff\xff", "it is cut short"), (b"\x83m\xff\xff\xff\xff", "it is cut short"),
    (b"\x83P", "it holds a term of the unknown kind 80"),
    (b"\x83" + b"h\x01" * 10_000 + b"j", f"it is nested more than {MAX_DEPTH} deep")])
def test_a_hostile_answer_is_an_error_and_takes_no_memory(data: bytes, reason: str) -> None:
    with pytest.raises(TermFormatError) as caught:
        decode(data)
    assert caught.value.message == f"The machine's answer cannot be read: {reason}."


# ---- values ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("term", "erlang", "elixir"), [
    (7, 7, 7), (Atom("true"), True, True), (Atom("nil"), "nil", None), ([97, 98], "ab", [97, 98]), ([], [], []),
    ([1, 2], [1, 2], [1, 2]), ([0x105, 10], "ą\n", [0x105, 10]), ([0xD800], [0xD800], [0xD800]),
    (b"gr\xc3\xbc\xc3\x9f", b"gr\xc3\xbc\xc3\x9f", "grüß"), (b"\xff", b"\xff", b"\xff"),
    ((Atom("ok"), [b"x"]), ("ok", [b"x"]), ("ok", ["x"])),
    (Pairs([([1], Pairs([])), ([107], 2)]), {(1,): {}, "k": 2}, {(1,): {}, (107,): 2}),
    ((Atom("$unibeam"), b"<0.99.0>"), Opaque("<0.99.0>"), Opaque("<0.99.0>"))])
def test_erlang_values_as_python_sees_them(term: Any, erlang: Any, elixir: Any) -> None:
    for language, expected in (("erlang", erlang), ("elixir", elixir)):
        found = python(term, language)
        assert found == expected
        assert type(found) in (type(expected), Atom)


def test_what_has_no_meaning_outside_shows_as_the_machine_writes_it() -> None:
    assert repr([Opaque("<0.99.0>"), Improper([1, 2])]) == "[<0.99.0>, [1 | 2]]"
    assert math.isclose(python(1.5, "erlang"), 1.5)


# ---- languages -------------------------------------------------------------------------------------------------

BOTH = ("erlang", "elixir")


@pytest.mark.parametrize(("text", "said", "spoken", "language"), [
    ("1 + 1", None, BOTH, "elixir"), ("1 + 1.", None, BOTH, "erlang"), ("1 + 1. % two\n", None, BOTH, "erlang"),
    ("1 + 1", None, ("erlang",), "erlang"), ("1 + 1", "erlang", BOTH, "erlang"), ("x.", "elixir", BOTH, "elixir"),
    ("Float.round(1.5)", None, BOTH, "elixir")])
def test_the_language_of_an_expression(text: str, said: str | None, spoken: tuple[str, ...], language: str) -> None:
    assert language_of(text, said, spoken) == language


@pytest.mark.parametrize(("text", "said", "message"), [
    (" \n", None, "There is no expression."), ("x", "perl", "'perl' is not a language of expressions."),
    ("x", "elixir", "There is no Elixir in this machine.")])
def test_no_language(text: str, said: str | None, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        language_of(text, said, ("erlang",))
    assert caught.value.message == message


# ---- secrets ---------------------------------------------------------------------------------------------------

def seat(runner: str = "linux@qemu", **changes: Any) -> Seat:
    image = Image("hello", "linux", "", Path("/images/1"), "key", "1" * 64, "2" * 64, 1, 1, (), (), Launch("erts-13"))
    made = Seat(Store(Path("/c"), Path("/s")), Path("/m"), "id", "hello", "0123456789abcdef", Arm.parse(runner),
                image, BootOptions(channel=True), "tcg", ((9000, 8080),), door=DOOR)
    return dataclasses.replace(made, **changes)


def test_no_command_line_holds_the_secret() -> None:
    guest = Guest(Path("k"), Path("i"), "0" * 16, "tcg", ports=seat().forwarded, variables=tuple(
        seat().variables.items()), channel=4371)
    words = arguments(guest)
    assert not any(SECRET in word for word in words)
    assert "unibeam.channel=4371" in kernel_command_line(guest).split()
    assert SECRET not in kernel_command_line(guest)
    assert "hostfwd=tcp:127.0.0.1:40000-:4371" in words[words.index("-netdev") + 1]
    asked: dict[str, Any] = {"image": "i", "name": "n", "owner": "o", "argv": ("/erlexec",), "env": seat().fixed,
                             "variables": Path("/m/variables"), "mem_mb": 64}
    for container in (podman_arguments.run(**asked), docker_arguments.run(**asked)):
        assert not any(SECRET in word for word in container)
        assert container[container.index("/m/variables") - 1] == "--env-file"
    assert f"{door.VARIABLE}={seat().private[door.VARIABLE]}\n" in podman_arguments.listed(seat().given)


def test_a_machine_on_osv_fetches_the_secret_where_only_its_own_network_leads() -> None:
    guest = OsvGuest(Path("k"), Path("d"), Launch("erts-13"), (8080,), "0" * 16, "tcg", ports=seat().forwarded)
    told = dataclasses.replace(guest, channel=4371)
    words = osv_arguments(told)
    assert not any(SECRET in word for word in (*words, osv_command_line(told)))
    assert ",guestfwd=tcp:10.0.2.4:4371-chardev:secret" in words[words.index("-netdev") + 1]
    assert "socket,id=secret,path=secret.sock,server=on,wait=off" in words
    assert "@10.0.2.4:4371" in osv_command_line(told)
    assert "secret" not in " ".join(osv_arguments(guest))


def test_a_disk_that_boots_itself_has_a_firmware_and_nothing_else_to_start() -> None:
    guest = OsvGuest(Path("k"), Path("d"), Launch("erts-13"), (8080,), "0" * 16, "kvm")
    assert "--nopci" in osv_command_line(guest).split()
    itself = dataclasses.replace(guest, kernel=None)
    assert "--nopci" not in osv_command_line(itself).split()
    words = osv_arguments(itself)
    assert words[words.index("-machine") + 1].startswith("q35,accel=kvm")
    assert "virtio-blk-pci,drive=root" in words
    assert not {"-kernel", "-preconfig"} & set(words)


def test_an_answer_goes_where_it_is_waited_for(tmp_path: Path) -> None:
    door.keep(tmp_path, DOOR)
    with contextlib.ExitStack() as stack, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / door.SECRET_SOCKET))
        listener.listen(1)
        door.tell(tmp_path, DOOR, stack)
        heard, _ = listener.accept()
        assert heard.recv(200) == DOOR.answer()
        heard.close()
    line = tmp_path / door.CONSOLE_INPUT
    os.mkfifo(line)
    reading = os.open(line, os.O_RDWR)
    with contextlib.ExitStack() as stack:
        door.tell(tmp_path, DOOR, stack)
    assert os.read(reading, 200) == DOOR.answer()
    os.close(reading)


def test_nobody_is_told_of_a_channel_that_was_not_asked_for() -> None:
    silent = seat(door=None)
    assert silent.private == {}
    assert silent.forwarded == silent.ports
    assert "channel" not in " ".join(arguments(Guest(Path("k"), Path("i"), "0" * 16, "tcg")))


def test_a_door_says_and_shows_no_secret_by_itself(tmp_path: Path) -> None:
    assert SECRET not in repr(DOOR)
    assert DOOR.environment(False) == {"UNIBEAM_CHANNEL": f"127.0.0.1 4371 {SECRET}"}
    assert DOOR.environment(True) == {"UNIBEAM_CHANNEL": f"0.0.0.0 4371 {SECRET}"}
    assert DOOR.answer() == f"secret {SECRET}\n".encode()
    door.keep(tmp_path, DOOR)
    assert (tmp_path / door.SECRET_FILE).stat().st_mode & 0o777 == 0o600
    assert door.secret_of(tmp_path) == SECRET
    assert door.secret_of(tmp_path / "elsewhere") is None
    assert "secret" not in Record.__dataclass_fields__


def test_doors_differ_and_keep_clear_of_the_programs_ports() -> None:
    one, other = (door.make(Arm.parse("linux@qemu"), {}, ((9000, 4371), (9001, 4372))) for _ in range(2))
    assert one.guest == other.guest == 4373
    assert one.secret != other.secret
    assert len(bytes.fromhex(one.secret)) == 32
    shared = door.make(Arm.parse("release@process"), {}, ())
    assert shared.guest == shared.host


def test_copies_with_and_without_a_channel_have_other_snapshots_but_not_one_for_each_secret() -> None:
    taken = Snapshot(Path("/ram"))
    facts = [facts_of(seat(snapshot=taken, door=found), "q", "c") for found in (
        None, DOOR, Door(41111, 4371, "f" * 64))]
    assert facts[0] != facts[1] == facts[2]
    assert SECRET not in json.dumps(dataclasses.asdict(facts[1]))
    assert order("n", "h", 5, b"\x01", SECRET).endswith(f" h 01 {SECRET}\n".encode())
    assert order("n", "h", 5, b"\x01").endswith(b" h 01\n")


def test_the_question_for_the_secret_is_no_instant_of_a_boot() -> None:
    reader = MarkReader("0123456789abcdef", 0.0)
    marks = reader.feed(b"@unibeam 0123456789abcdef asks 5\n@unibeam 0123456789abcdef app 6 channel=open\n", 1.0)
    assert [mark.name for mark in marks] == ["asks", "app"]
    assert list(with_kernel(reader.marks)) == ["app"]
    assert reader.values["channel"] == "open"


# ---- faces -----------------------------------------------------------------------------------------------------

def test_a_value_is_shown_as_it_is_and_what_was_printed_apart() -> None:
    assert to_text(Evaluated("hello", "erlang", "{a,\n b}", ("a", "b"))) == "{a,\n b}"
    assert to_text(Evaluated("hello", "erlang", "ok", Atom("ok"), "hi\x1b[31m\n")) == "printed:\nhi�[31m\n\nvalue:\nok"


def test_what_a_machine_says_never_becomes_html() -> None:
    html = as_html(Sheet("", (), (Shown("<script>x</script>", "<b>"),)))
    assert "<script>" not in html
    assert "<b>" not in html


def test_processes_that_run_old_code_are_listed() -> None:
    done = Reloaded("hello", ("greeter",), (), (OldCode("greeter", "<0.9.0>", "loop", "greeter:loop/1"),))
    assert "Processes that still run old code" in to_text(done)
    assert "<0.9.0>" in to_text(done)
    assert to_text(Reloaded("hello", ("greeter",), ("extra",))) == (
        "Loaded into hello; no process runs old code\n  replaced  greeter\n  new       extra")
    assert list(done.to_frame()["pid"]) == ["<0.9.0>"]


def test_a_look_inside_is_a_table() -> None:
    top = Top("hello", "memory", 0.5, (Process("<0.1.0>", "init", "init:loop/1", 5000, 90, 10, 0),), 40, 2, 9000, 1, 0,
              61.0, {"total": 10_000_000})
    text = to_text(top)
    assert "Inside hello" in text
    assert "<0.1.0>" in text
    assert "20" in text.splitlines()[-1].split()
    assert list(top.to_frame()["used"]) == [10]


def wait(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_look_inside_stays_fresh_in_the_order_that_a_page_asks_for() -> None:
    asked: list[str] = []
    held = threading.Event()
    held.set()

    def again(by: str) -> Top:
        asked.append(by)
        held.wait(20)
        if len(asked) > 2:
            raise MachineError("hello is not running.", "Boot it again.")
        return dataclasses.replace(first, by=by, count=40 + len(asked))

    one = Process("<0.1.0>", "<b>x</b>", "init:loop/1", 5000, 90, 10, 0)
    first = Top("hello", "memory", 0.5, (one,), 40, 2, 9000, 1, 0, 61.0, {}, again)
    panel = TopPanel(first)
    assert panel.kind == "top"
    assert panel.state["rows"] == [["<0.1.0>", "<b>x</b>", "5.0 kB", "20", "90", "0", "init:loop/1"]]
    assert asked == [], "nobody has looked yet"

    panel.heard({"do": "refresh"})
    wait(lambda: panel.state["facts"][0] == ["processes", "41, ports 2, atoms 9000"])
    held.clear()
    panel.heard({"do": "order", "by": "queue"})
    wait(lambda: len(asked) == 2)
    panel.heard({"do": "refresh"})
    panel.heard({"do": "order", "by": "a bogus order"})
    held.set()
    wait(lambda: panel.state["caption"].startswith("By queue"))
    assert asked == ["memory", "queue"], "one look at a time"

    panel.heard({"do": "refresh"})
    wait(lambda: panel.state["message"] == "hello is not running. This is how it last was.")
    assert panel.state["rows"]


def test_an_exception_reads_well() -> None:
    error = EvaluationFailed("error", "badarith", ["erlang:'/'/2"], "hi\n")
    assert str(error) == ("The expression ended in an exception (error).\n  | printed: hi\n  | badarith\n"
                          "  |   in erlang:'/'/2")


# ---- commands --------------------------------------------------------------------------------------------------

class Recorder:
    """A lab that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.asked.append((name, *args, kwargs))


def asked(line: str, body: str | None = None) -> list[tuple[Any, ...]]:
    lab: Any = Recorder()
    execute(lab, parse(line.split(), body))
    return list(lab.asked)


def test_commands_reach_the_lab() -> None:
    assert asked("eval hello", "\n1 + 1.") == [("eval", "hello", "\n1 + 1.", {"language": None, "deadline": 30.0})]
    assert asked("eval hello --forget --deadline 5 x.") == [
        ("forget", "hello", {}), ("eval", "hello", "x.", {"language": None, "deadline": 5.0})]
    assert asked("eval hello --forget") == [("forget", "hello", {})]
    assert asked("reload hello --kill", "-module(x).") == [
        ("reload", "hello", "-module(x).", {"language": None, "kill": True})]
    assert asked("top hello --by queue -n 3") == [("top", "hello", {"by": "queue", "count": 3, "seconds": 0.5})]


@pytest.mark.parametrize(("line", "body", "message"), [
    ("eval hello x.", "y.", "There are two expressions, one on the line and one below it."),
    ("reload hello", None, "A reload takes either a cell's text or --from PATH."),
    ("reload hello --from /nowhere/x.erl", None, "/nowhere/x.erl cannot be read: No such file or directory."),
    ("eval", None, "eval needs a machine."), ("top hello --by colour", None, "--by cannot be 'colour'.")])
def test_mistakes_are_sentences(line: str, body: str | None, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked(line, body)
    assert caught.value.message == message
