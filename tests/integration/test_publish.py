"""An AMI at a server that speaks AWS's protocols: real requests, a failure in the middle, and nothing forgotten."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.core.exceptions import JsonRESTError
from moto.ebs.models import EBSBackend, ebs_backends
from moto.server import ThreadedMotoServer

from unibeam_nb.cli import main
from unibeam_nb.errors import ImageError
from unibeam_nb.image import ami
from unibeam_nb.image.ebs import BLOCK, Journal, data_blocks
from unibeam_nb.lab import Lab
from unibeam_nb.model import Image, Launch

REGION = "eu-central-1"
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[EBSBackend]:
    """A fresh AWS on loopback, and an account there."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (("AWS_ENDPOINT_URL", f"http://{host}:{port}"), ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
                        ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(name, value)
    backend = ebs_backends["123456789012"][REGION]
    backend.reset()
    backend.ec2_backend.reset()
    yield backend
    server.stop()


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """A sparse disk: 40 blocks of chance, a hole, a block of written zeros, and half a block at the end."""
    with (tmp_path / "disk").open("wb") as disk:
        disk.write(random.Random(6).randbytes(40 * BLOCK))
        disk.seek(100 * BLOCK)
        disk.write(bytes(BLOCK))
        disk.seek(120 * BLOCK)
        disk.write(b"end" * 1000)
        disk.truncate(120 * BLOCK + BLOCK // 2)
    sha256 = hashlib.sha256((tmp_path / "disk").read_bytes()).hexdigest()
    return Image("hello", "disk", "", tmp_path, "key", sha256, "", 0, 0, (), (("disk", "disk"),),
                 Launch("erts-1", (), (), ""), kernel="6.1")


def arrived(aws: EBSBackend, snapshot: str) -> dict[int, bytes]:
    return {int(at): block.block_data for at, block in aws.snapshots[snapshot].blocks.items()}


def test_what_holds_something_arrives_and_is_registered(aws: EBSBackend, image: Image, tmp_path: Path) -> None:
    made = ami.publish(image, REGION, tmp_path)
    assert (made.sent, made.blocks, made.volume_gib) == (41, 41, 1)
    blocks = arrived(aws, made.snapshot)
    assert sorted(blocks) == [*range(40), 120]
    disk = image.file("disk").read_bytes()
    assert all(block == disk[at * BLOCK:][:BLOCK].ljust(BLOCK, b"\0") for at, block in blocks.items())
    assert aws.snapshots[made.snapshot].status == "completed"
    for block in aws.snapshots[made.snapshot].blocks.values():
        assert block.checksum == base64.b64encode(hashlib.sha256(block.block_data).digest()).decode()
    assert aws.ec2_backend.amis[made.ami].name == made.ami_name
    again = ami.publish(image, REGION, tmp_path)
    assert (again.ami, again.sent, len(aws.snapshots)) == (made.ami, 0, 1)


def test_a_failure_in_the_middle_names_what_is_left_and_is_gone_on_with(
        aws: EBSBackend, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put, puts = EBSBackend.put_snapshot_block, []

    def failing(self: EBSBackend, **asked: Any) -> Any:
        puts.append(asked["block_index"])
        if len(puts) > 12:
            raise JsonRESTError("AccessDeniedException", f"The key {SECRET} may not do this.")
        return put(self, **asked)

    monkeypatch.setattr(EBSBackend, "put_snapshot_block", failing)
    with pytest.raises(ImageError) as caught:
        ami.publish(image, REGION, tmp_path)
    snapshot, = aws.snapshots
    assert caught.value.message == f"AWS refused PutSnapshotBlock in {REGION}: AccessDeniedException."
    assert caught.value.hint == (f"Call it again to go on with {snapshot}, or remove it: aws ec2 delete-snapshot "
                                 f"--region {REGION} --snapshot-id {snapshot}")
    journal, = tmp_path.glob("*.jsonl")
    assert Journal.read(journal).blocks == set(arrived(aws, snapshot))
    assert len(Journal.read(journal).blocks) == 12
    with journal.open("a") as stream:
        stream.write('\n{"block": 3')  # The host died while it wrote.
    monkeypatch.setattr(EBSBackend, "put_snapshot_block", put)
    made = ami.publish(image, REGION, tmp_path)
    assert (made.snapshot, made.sent, len(aws.snapshots)) == (snapshot, 41 - 12, 1)
    assert sorted(arrived(aws, snapshot)) == [*range(40), 120]
    assert SECRET not in journal.read_text() + str(caught.value)
    assert "AKIA" not in journal.read_text() + str(caught.value)


def test_a_snapshot_that_is_gone_is_begun_anew(aws: EBSBackend, image: Image, tmp_path: Path) -> None:
    journal = Journal.read(tmp_path / f"{image.sha256}-{REGION}.jsonl")
    journal.write(token="t")
    journal.write(snapshot="snap-0123456789abcdef0")
    journal.write(block=0)
    made = ami.publish(image, REGION, tmp_path)
    assert made.snapshot != "snap-0123456789abcdef0"
    assert made.sent == 41


def test_without_credentials_nothing_is_begun(aws: EBSBackend, image: Image, tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ImageError) as caught:
        ami.publish(image, REGION, tmp_path)
    assert (caught.value.message, caught.value.hint) == (
        "There are no credentials for AWS.", "Run 'aws configure', or set AWS_PROFILE.")


def test_what_is_registered_boots_by_uefi_with_aws_own_card(image: Image) -> None:
    asked = ami.registration(ami.plan(image, REGION), "snap-1", ena=True)
    assert (asked["BootMode"], asked["EnaSupport"], asked["VirtualizationType"]) == ("uefi", True, "hvm")
    either = dataclasses.replace(image, options=("bios",))
    assert ami.registration(ami.plan(either, REGION), "snap-1", ena=True)["BootMode"] == "uefi-preferred"
    assert asked["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] == "snap-1"
    assert sum(1 for _ in data_blocks(image.file("disk"))) == 41


def test_the_shell_says_what_it_would_do_and_does_it_when_told(
        aws: EBSBackend, lab: Lab, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    lab.build("cloud-hello", text="-module(cloud_hello).\n-export([start/0]).\nstart() -> ok.\n", ports=(8080,),
              target="disk")
    monkeypatch.setattr("unibeam_nb.store.Store.default", lambda: lab.store)
    assert main(["publish", "aws", "cloud-hello", "--region", REGION]) == 0
    assert capsys.readouterr().out.startswith("Would publish cloud-hello-")
    assert aws.snapshots == {}
    assert main(["publish", "aws", "cloud-hello", "--region", REGION, "--yes"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("Published cloud-hello-")
    assert SECRET not in said.out + said.err
    assert len(aws.snapshots) == 1
    # Another run of the tests meets a server that knows nothing, and must not go on with a snapshot of this one.
    for journal in (lab.store.state / "publish").glob("*.jsonl"):
        assert json.loads(journal.read_text().splitlines()[-1])["image"].startswith("ami-")
        journal.unlink()
