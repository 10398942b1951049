"""The accelerator is proved once per host boot, and emulation is what remains."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from unibeam_nb import process
from unibeam_nb.errors import MachineError, ToolMissing, UsageError
from unibeam_nb.image.formats import cpio
from unibeam_nb.machine import accelerator, prove_accelerator, tiny
from unibeam_nb.machine.accelerator import Accelerator
from unibeam_nb.progress import StepEvent, listening
from unibeam_nb.store import Store

KERNEL = Path("/nowhere/kernel")


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A QEMU that records its arguments and gives up as a host without working KVM makes it."""
    program = tmp_path / "bin" / "qemu-system-x86_64"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {tmp_path}/recorded\n"
                       "echo 'qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69' >&2\nexit 134\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return tmp_path / "recorded"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /dev/kvm that is there and may be opened."""
    path = tmp_path / "kvm"
    path.touch()
    monkeypatch.setattr(accelerator, "DEVICE", path)
    monkeypatch.setattr(accelerator, "_kernel", lambda store, given, platform: KERNEL)
    return path


def notes_of(store: Store, wanted: str = "auto") -> tuple[Accelerator, list[str]]:
    events: list[StepEvent] = []
    with listening(events.append):
        found = prove_accelerator(store, wanted)
    return found, [event.title for event in events if event.kind == "note"]


@pytest.mark.usefixtures("device")
def test_a_kvm_that_opens_and_does_not_run_ends_in_tcg_with_one_note_once(fresh_store: Store, qemu: Path) -> None:
    reason = "QEMU gave up (error: failed to set MSR 0x10a to 0x69)."
    found, notes = notes_of(fresh_store)
    assert found == Accelerator("tcg", reason)
    assert notes == [f"KVM does not work here, so virtual machines are emulated (tcg), which is slower: {reason}"]
    words = qemu.read_text().split("\n")
    assert "q35,accel=kvm,memory-backend=ram" in words
    assert words[words.index("-kernel") + 1] == str(KERNEL)
    qemu.unlink()
    assert notes_of(fresh_store) == (found, [])
    assert not qemu.exists()


@pytest.mark.usefixtures("qemu", "device")
def test_kvm_demanded_and_not_proved_is_an_error_with_the_reason(fresh_store: Store) -> None:
    with pytest.raises(MachineError) as caught:
        prove_accelerator(fresh_store, "kvm")
    assert str(caught.value) == (
        "KVM does not work on this host: QEMU gave up (error: failed to set MSR 0x10a to 0x69).\n"
        "  Hint: Leave out --accel kvm, or use --accel tcg: emulation always works.")


@pytest.mark.usefixtures("qemu")
def test_a_host_without_kvm_boots_nothing_to_find_out(
        fresh_store: Store, qemu: Path, device: Path) -> None:
    device.unlink()
    assert prove_accelerator(fresh_store) == Accelerator("tcg", f"{device} does not exist.")
    assert not qemu.exists()


@pytest.mark.usefixtures("qemu", "device")
def test_a_guest_that_came_up_proves_kvm(fresh_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "boot_tiny", lambda *given: None)
    assert notes_of(fresh_store) == (Accelerator("kvm", "A tiny guest booted with it."), [])
    assert prove_accelerator(fresh_store, "kvm").name == "kvm"


@pytest.mark.usefixtures("qemu", "device")
def test_the_proof_is_made_again_after_the_host_booted(fresh_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert prove_accelerator(fresh_store).name == "tcg"
    monkeypatch.setattr(accelerator, "boot_tiny", lambda *given: None)
    assert prove_accelerator(fresh_store).name == "tcg"
    monkeypatch.setattr(accelerator.proc, "boot_id", lambda: "the next boot")
    assert prove_accelerator(fresh_store).name == "kvm"


def test_emulation_needs_no_proof(fresh_store: Store, qemu: Path) -> None:
    assert prove_accelerator(fresh_store, "tcg").name == "tcg"
    assert not qemu.exists()


def test_without_qemu_the_error_says_how_to_install_it(fresh_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator.tools, "locate", lambda command: None)
    with pytest.raises(ToolMissing, match="qemu-system-x86"):
        prove_accelerator(fresh_store)


def test_an_unknown_accelerator_is_refused(fresh_store: Store) -> None:
    with pytest.raises(UsageError, match=r"^'warp' is not an accelerator\."):
        prove_accelerator(fresh_store, "warp")


def test_the_tiny_pid_1_is_a_program_that_linux_runs(tmp_path: Path) -> None:
    # Only its first half can run here: the reboot that follows is cut off, which ends it by a signal.
    whole = tiny.program(b"hello\n")
    assert whole.count(b"\xb8\xa9\x00\x00\x00") == 1
    path = tmp_path / "tiny"
    path.write_bytes(whole.replace(b"\xb8\xa9\x00\x00\x00", b"\x0f\x0b\x90\x90\x90"))
    path.chmod(0o755)
    done = process.run([path], check=False)
    assert done.stdout == "hello\n"
    assert done.code < 0


def test_the_tiny_initramfs_holds_a_console_and_a_pid_1_with_the_nonce() -> None:
    members = {m.name: m for m in cpio.read(tiny.initramfs("0123456789abcdef"))}
    assert members["dev/console"].device == (5, 1)
    assert members["init"].data.endswith(b"\r\n@unibeam 0123456789abcdef init 0\r\n")
    assert struct.unpack_from("<4s", members["init"].data) == (b"\x7fELF",)
