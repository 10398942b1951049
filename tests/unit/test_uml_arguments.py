"""User-mode Linux's command line, its network's, and where its memory may lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unibeam_nb.errors import MachineError, UsageError
from unibeam_nb.machine import slirp
from unibeam_nb.machine.uml import ram_directory
from unibeam_nb.machine.uml_arguments import Guest, arguments, variables

NONCE = "0123456789abcdef"


def test_the_guest_writes_to_standard_output_and_starts_no_terminal() -> None:
    words = arguments(Guest(Path("/x/initramfs"), NONCE, mem_mb=96))
    assert {"mem=96M", "con=null", "con0=null,fd:1", "ssl=null", "initrd=/x/initramfs", "noreboot"} <= set(words)
    assert f"unibeam.nonce={NONCE}" in words
    assert not any(word.startswith(("vec0", "unibeam.ip")) for word in words)


def test_the_network_card_is_a_descriptor_it_inherits() -> None:
    words = arguments(Guest(Path("i"), NONCE, frames=7, variables=(("PORT", "8080"), ("GREETING", "hello world"))))
    assert "vec0:transport=fd,fd=7" in words
    assert "unibeam.ip=10.0.2.15/24" in words
    assert words[-2:] == ("unibeam.env.PORT=8080", '"unibeam.env.GREETING=hello world"')


def test_what_a_command_line_cannot_carry_is_refused() -> None:
    with pytest.raises(UsageError, match="The value of GREETING cannot be handed to a virtual machine"):
        arguments(Guest(Path("i"), NONCE, variables=(("GREETING", 'say "hi"'),)))


def test_the_users_variables_lie_in_a_file_before_the_root() -> None:
    etc, ours, told = variables((("TOKEN", 'say "hi"'), ("GREETING", "grüße")))
    assert (etc.path, ours.path, told.path) == ("etc", "etc/unibeam", "etc/unibeam/variables")
    assert told.content == 'TOKEN=say "hi"\nGREETING=grüße\n'.encode()
    assert told.mode & 0o777 == 0o600
    with pytest.raises(UsageError) as caught:
        variables((("TEXT", "two\nlines"),))
    assert caught.value.message == "The value of TEXT cannot be handed to User-mode Linux."
    assert caught.value.hint == "There it is one line: pass it without line breaks."


def test_the_network_ends_with_its_leash_and_listens_on_the_loopback_address_only() -> None:
    assert slirp.arguments(5, outgoing=True) == (
        "--target-type=bess", "--enable-seccomp", "--api-socket=net-api.sock", "--exit-fd=5", "net.sock")
    assert set(slirp.arguments(5)) - set(slirp.arguments(5, outgoing=True)) == {
        "--disable-host-loopback", "--disable-dns", "--outbound-addr=192.0.2.1"}
    assert slirp.forward(18080, 8080, "10.0.2.15")["arguments"] == {
        "proto": "tcp", "host_addr": "127.0.0.1", "host_port": 18080, "guest_addr": "10.0.2.15", "guest_port": 8080}


def test_memory_lies_in_the_first_place_that_has_room(tmp_path: Path) -> None:
    assert ram_directory(1 << 20, (tmp_path / "missing", tmp_path)) == tmp_path
    facts = os.statvfs(tmp_path)
    with pytest.raises(MachineError, match=r"^There is no place for a guest's memory of \d+ MB\."):
        ram_directory(facts.f_bavail * facts.f_frsize + (1 << 40), (tmp_path,))
