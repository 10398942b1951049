"""Machines that read user data when they boot."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from tests.integration.test_cloud import serving
from unibeam_nb import process, tools
from unibeam_nb.arms import Arm
from unibeam_nb.errors import UsageError
from unibeam_nb.lab import Lab
from unibeam_nb.machine import Machine
from unibeam_nb.store import Store

NAMED = """
    -module(cloudnamed).
    -export([start/0]).

    start() ->
        {ok, Host} = inet:gethostname(),
        io:format("~s", [lists:join($\\n, [
            "node " ++ atom_to_list(node()), "host " ++ Host, "cookie " ++ atom_to_list(erlang:get_cookie()),
            io_lib:format("env ~0p", [lists:sort(application:get_all_env(cloudnamed))]),
            io_lib:format("limit ~b", [erlang:system_info(process_limit)]),
            io_lib:format("file ~0p~n", [file:read_file("/var/lib/unibeam/kept/greeting")])])]),
        os:getenv("THEN") =:= "halt" andalso init:stop(),
        {ok, spawn(fun() -> timer:sleep(infinity) end)}.
"""

USER_DATA = """\
#cloud-config
hostname: shop-1
users: [default]
write_files:
  - {path: /var/lib/unibeam/kept/greeting, content: hello}
  - {path: /etc/passwd, content: nothing}
erlang:
  node: shop
  cookie: between-us
  vm_args: %s
  env: {cloudnamed: {mode: !atom fast}}
"""


@pytest.fixture(scope="module")
def built(store: Store) -> Lab:
    lab = Lab(store)
    lab.build("cloudnamed", text=textwrap.dedent(NAMED))
    return lab


def said_by(machine: Machine) -> tuple[str, list[str]]:
    """The machine's arm, and what is on its console; it is stopped then."""
    try:
        return machine.record.arm, machine.console.tail(20)
    finally:
        machine.stop()


def test_a_tiny_machine_reads_a_seed_disk_and_leaves_out_flags_that_the_emulator_does_not_take(
        built: Lab, tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text(USER_DATA % "+bogus 1")
    arm, said = said_by(built.boot("cloudnamed", arm="linux+tiny@qemu", user_data=str(tmp_path / "node.yaml")))
    assert arm == "linux+tiny+cloudinit@qemu"
    for line in ("unibeam-cloud: line 3: users is ignored: the only user is the program's, and there is no ssh",
                 "unibeam-cloud: file 2 of write_files (/etc/passwd) is refused: it may lie below /var/lib/unibeam, "
                 "/tmp or /run only",
                 "unibeam-init: the emulator does not take these vm_args of the user data, and they are left out: "
                 "+bogus 1",
                 "node shop@shop-1.unibeam", "host shop-1", "cookie between-us", "env [{mode,fast}]", "limit 32768",
                 'file {ok,<<"hello">>}'):
        assert line in said, said


def test_a_machine_asks_the_server_that_its_command_line_names(built: Lab) -> None:
    with serving({"/user-data": (USER_DATA % "+P 65536").encode()}) as (url, asked):
        inside = url.replace("127.0.0.1", "10.0.2.2")
        _, said = said_by(built.boot("cloudnamed", user_data=inside))
    assert asked == ["GET /user-data -", "GET /meta-data -"]
    assert {"node shop@shop-1.unibeam", "limit 65536"} <= set(said), said


def test_who_reads_no_user_data_says_so(built: Lab, tmp_path: Path) -> None:
    file = tmp_path / "node.yaml"
    file.write_text("#cloud-config\n")
    for arm, user_data, message, hint in (
            ("release@process", str(file), "release@process reads no user data.",
             "Only linux and disk images on qemu do."),
            ("linux+resume@qemu", str(file), "linux+cloudinit+resume@qemu reads no user data: it is a copy of a "
             "machine that is up already.", "Leave out --resume or --user-data."),
            (None, str(tmp_path / "none"), f"{tmp_path / 'none'} cannot be read: No such file or directory.",
             "Name a file of user data, which begins with #cloud-config."),
            (None, "https://10.0.2.2/", "'https://10.0.2.2/' is no address that a machine reads user data from.",
             "Write http://ADDRESS:PORT/DIRECTORY/ with an IPv4 address; this host is 10.0.2.2.")):
        with pytest.raises(UsageError) as refused:
            built.boot("cloudnamed", arm=arm, user_data=user_data)
        assert (refused.value.message, refused.value.hint) == (message, hint)
    file.write_bytes(bytes(10 << 20))
    with pytest.raises(UsageError, match="is larger than the 64 kB of user data that a machine reads"):
        built.boot("cloudnamed", user_data=str(file))


INETD = r"""
import sys
request = b""
while b"\r\n\r\n" not in request:
    request += sys.stdin.buffer.read1()
if request.startswith(b"PUT /latest/api/token "):
    answer = b"a-token"
elif request.startswith(b"GET /latest/user-data ") and b"X-aws-ec2-metadata-token: a-token\r\n" in request:
    answer = b"#cloud-config\nerlang: {node: from-ec2, cookie: abc}\n"
else:
    sys.exit()
sys.stdout.buffer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
"""


def test_on_ec2_a_machine_asks_the_metadata_service(built: Lab, tmp_path: Path) -> None:
    """Amazon's firmware says where the machine is; the service has its own address, behind it a server for one
    connection at a time."""
    image = built.image(built.named("cloudnamed"), Arm.parse("linux+cloudinit@qemu"))
    (tmp_path / "inetd.py").write_text(INETD)
    for name in ("kernel", "initramfs"):
        (tmp_path / name).symlink_to(image.file(name))
    nonce = "0123456789abcdef"
    process.run([
        tools.find("qemu-system-x86_64"), "-nodefaults", "-display", "none", "-no-reboot", "-machine", "q35,accel=tcg",
        "-cpu", "max", "-m", "256M", "-serial", "file:console", "-kernel", "kernel", "-initrd", "initramfs",
        "-smbios", "type=1,manufacturer=Amazon EC2", "-device", "virtio-net-pci,netdev=net,romfile=",
        "-netdev", "user,id=net,net=169.254.169.0/24,host=169.254.169.2,dns=169.254.169.3,guestfwd="
                   f"tcp:169.254.169.254:80-cmd:{sys.executable} {tmp_path / 'inetd.py'}",
        "-append", f"console=ttyS0 quiet panic=-1 unibeam.nonce={nonce} unibeam.ip=169.254.169.15/24 "
                   "unibeam.gw=169.254.169.2 unibeam.env.THEN=halt"], cwd=tmp_path, timeout=300)
    lines = (tmp_path / "console").read_text().splitlines()
    assert {"node from-ec2@beam.unibeam", "cookie abc"} <= set(lines), lines
