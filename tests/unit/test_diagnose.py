"""A failed boot is told in one sentence, with the lines that tell it."""

from __future__ import annotations

import dataclasses

import pytest

from unibeam_nb.errors import BootFailed, PortInUse
from unibeam_nb.machine.diagnose import MOST_LINES, Evidence, explain, lines_of, telling
from unibeam_nb.model import Mark

SEEN = Evidence("hello", "qemu", "app", 120.0, mem_mb=256, image_mb=40, limited=True, ended=True)
BOOTED = {"spawn": Mark("spawn", 0.0), "vmm": Mark("vmm", 0.2), "init": Mark("init", 2.0, 1.5)}


def told(**changes: object) -> tuple[str, str | None]:
    error = explain(dataclasses.replace(SEEN, **changes))  # type: ignore[arg-type]
    assert isinstance(error, BootFailed)
    return error.message, error.hint


def test_a_kernel_out_of_memory() -> None:
    line = "[    3.293478] Kernel panic - not syncing: System is deadlocked on memory"
    assert told(console=[line], mem_mb=96) == ("hello ran out of memory with 96 MB.", "Give it more: --mem 256.")


def test_an_emulator_out_of_memory() -> None:
    line = "eheap_alloc: Cannot allocate 123456 bytes of memory (of type \"heap\")."
    assert told(console=[line], marks=BOOTED)[0] == "hello ran out of memory with 256 MB."


def test_a_container_killed_at_its_limit() -> None:
    assert told(runner="crun", code=137, mem_mb=64)[0] == \
        "hello was killed, most likely because 64 MB were too little."


def test_memory_too_small_for_the_kernel_to_say_anything() -> None:
    assert told(mem_mb=64, code=0) == (
        "hello cannot start in 64 MB: its kernel and the 40 MB of its image do not fit.", "Give it more: --mem 256.")


def test_a_panic_is_quoted() -> None:
    message, hint = told(console=["[ 1.2] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0"])
    assert message == "The kernel of hello panicked: Attempted to kill init! exitcode=0x0."
    assert hint is not None


def test_a_kernel_that_prints_nothing_is_the_wrong_kernel() -> None:
    message, hint = told(ended=False, deadline=30.0)
    assert message == "The kernel of hello printed nothing within 30.00 s."
    assert hint is not None
    assert "wrong kernel" in hint


def test_a_qemu_that_gives_up_shows_its_own_words() -> None:
    error = explain(dataclasses.replace(SEEN, code=1, vmm=["qemu: linux kernel too old to load a ram disk"]))
    assert error.message == "QEMU could not start hello (exit status 1)."
    assert error.details == ("qemu: linux kernel too old to load a ram disk",)


def test_a_crash_at_start_tells_the_programs_exit_code() -> None:
    message, _ = told(marks=BOOTED, inner=3, code=0, console=["hello: cannot find my configuration"])
    assert message == "hello crashed at start with exit code 3."


def test_a_crash_after_the_start_is_told_apart() -> None:
    message, _ = told(runner="process", until="http", code=1, limited=False, marks={"app": Mark("app", 1.0)})
    assert message == "hello crashed before it answered with exit code 1."


def test_a_program_that_ends_by_itself_did_not_crash() -> None:
    assert told(runner="process", code=0)[0] == "hello ended at start with exit code 0."


def test_a_signal_is_named_as_one() -> None:
    assert told(runner="process", code=-11, limited=False)[0] == "hello was ended at start by signal 11."


def test_a_port_in_use_inside_the_program_is_hinted_at() -> None:
    _, hint = told(runner="process", code=1, limited=False, console=["{badmatch,{error,eaddrinuse}}"])
    assert hint == "The port it listens on is in use: let it read the port from PORT."


def test_lateness_tells_the_last_mark() -> None:
    assert told(ended=False, marks=BOOTED, deadline=5.0, console=["hm"])[0] == \
        "hello did not reach app within 5.00 s; the last mark seen was init."
    assert told(ended=False, runner="process", deadline=5.0)[0] == \
        "hello did not reach app within 5.00 s; no mark was seen."


def test_lateness_with_hardly_any_memory_is_put_down_to_that() -> None:
    message, hint = told(ended=False, marks=BOOTED, deadline=5.0, console=["hm"], mem_mb=48, image_mb=40)
    assert message == "hello did not reach app within 5.00 s in 48 MB; the last mark seen was init."
    assert hint == "Give it more: --mem 256."


def test_a_port_lost_between_choosing_and_starting_is_a_port_in_use() -> None:
    line = "qemu-system-x86_64: -netdev user: Could not set up host forwarding rule 'tcp:127.0.0.1:8080-:80'"
    error = explain(dataclasses.replace(SEEN, code=1, vmm=[line]))
    assert isinstance(error, PortInUse)
    assert error.message == "Port 8080 on 127.0.0.1 was taken while hello started."


def test_telling_lines_are_chosen_and_not_just_the_last() -> None:
    noise = [f"[    1.{n:06}]  do_init+0x4{n}/0x1000" for n in range(30)]
    seen = dataclasses.replace(SEEN, console=[
        "starting", "{\"init terminating in do_boot\",{undef,[{hello,start,[],[]}]}}", *noise,
        "@unibeam 0123456789abcdef exit 1 code=1", "[    9.1] reboot: Power down"])
    assert telling(seen) == ("{\"init terminating in do_boot\",{undef,[{hello,start,[],[]}]}}",)


def test_without_telling_lines_the_last_ones_stand() -> None:
    assert telling(dataclasses.replace(SEEN, console=[f"line {n}" for n in range(9)])) == tuple(
        f"line {n}" for n in range(4, 9))


@pytest.mark.parametrize("count", [MOST_LINES, 50])
def test_details_are_few_and_short(count: int) -> None:
    lines = telling(dataclasses.replace(SEEN, console=[f"error {n} " + "x" * 1000 for n in range(count)]))
    assert len(lines) == MOST_LINES
    assert max(map(len, lines)) <= 300
    assert lines[0].startswith("error 0 ")
    assert lines[-1].startswith(f"error {count - 1} ")


def test_a_copy_that_fails_is_not_explained_as_a_boot() -> None:
    seen = Evidence("hello", "qemu", "http", 30.0, 128, 40, limited=True, ended=False, resumed=True)
    error = explain(seen)
    assert error.message == "hello was resumed and did not run on within 30.00 s."
    assert error.hint == "Does an after_resume/0 of the program return? Else boot it without --resume."
    error = explain(dataclasses.replace(seen, ended=True, code=1, vmm=["qemu-system-x86_64: load of migration failed"]))
    assert error.message == "QEMU could not resume hello (exit status 1)."
    assert error.details == ("qemu-system-x86_64: load of migration failed",)


def test_what_qemu_prints_at_every_start_explains_nothing() -> None:
    waits = ("qemu-system-x86_64: -qmp unix:qmp.sock,server=on,wait=on: info: "
             "QEMU waiting for connection on: disconnected:unix:qmp.sock,server=on")
    reason = "qemu-system-x86_64: could not load kernel 'nothing': Invalid argument"
    assert explain(dataclasses.replace(SEEN, code=1, vmm=[waits, reason])).details == (reason,)
    assert lines_of([f"{waits}\n\n{reason}\n"]) == [reason]
