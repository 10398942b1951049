"""A disk image becomes an AMI, which EC2 boots by UEFI: its snapshot (:mod:`unibeam_nb.image.ebs`), registered.

What would be done can be told without asking AWS anything. Credentials are boto3's business; they are neither read nor
told here.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from unibeam_nb.errors import ToolMissing, UsageError
from unibeam_nb.image.bios import BIOS
from unibeam_nb.image.ebs import BLOCK, GIB, WORKERS, Journal, data_blocks, explained, state_of, upload, wait_until_made
from unibeam_nb.model import Image
from unibeam_nb.progress import note, step

DEVICE = "/dev/xvda"


@dataclass(frozen=True)
class Publication:
    """An image at AWS, or what it would be where ``ami`` is empty. ``blocks`` of 512 KiB hold something, of which
    ``sent`` were sent by this call; the volume has ``volume_gib`` GiB; ``by_bios`` says whether machines
    without UEFI start it too."""

    name: str
    region: str
    ami_name: str
    blocks: int
    volume_gib: int
    sent: int = 0
    snapshot: str = ""
    ami: str = ""
    by_bios: bool = False

    @property
    def bytes(self) -> int:
        """What is to be sent, in bytes."""
        return self.blocks * BLOCK


def plan(image: Image, region: str) -> Publication:
    """What would be sent and registered."""
    disk = image.file("disk")
    return Publication(image.name, region, f"{image.name}-{image.sha256[:12]}", sum(1 for _ in data_blocks(disk)),
                       -(-disk.stat().st_size // GIB), by_bios=BIOS in image.options)


def registration(plan: Publication, snapshot: str, ena: bool) -> dict[str, Any]:
    """What register_image is asked for. ``ena`` says whether the image has the driver of EC2's network card."""
    return {"Name": plan.ami_name, "Description": f"unibeam {plan.name}", "Architecture": "x86_64",
            "VirtualizationType": "hvm", "BootMode": "uefi-preferred" if plan.by_bios else "uefi",
            "EnaSupport": ena, "RootDeviceName": DEVICE,
            "BlockDeviceMappings": [{"DeviceName": DEVICE, "Ebs": {
                "SnapshotId": snapshot, "VolumeType": "gp3", "DeleteOnTermination": True}}]}


def region_of(region: str | None) -> str:
    """The region to publish in: the one given, or the one of the user's AWS configuration."""
    found = region or _boto3().Session().region_name
    if not found:
        raise UsageError("It is not known in which region to publish.", "Add --region eu-central-1, for example.")
    return str(found)


def publish(image: Image, region: str, directory: Path, ena: bool = True) -> Publication:
    """Make the AMI, or go on with it; one that is there already is found again. ``directory`` keeps the journal.

    Raises ImageError that names the snapshot where AWS refused something in the middle, ToolMissing, Cancelled.
    """
    path = directory / f"{image.sha256}-{region}.jsonl"
    with FileLock(f"{path}.lock"):  # Two calls would send everything twice, to two snapshots.
        return _publish(image, region, Journal.read(path), ena)


def _publish(image: Image, region: str, journal: Journal, ena: bool) -> Publication:
    wanted = plan(image, region)
    ec2, ebs = client("ec2", region), client("ebs", region)
    if (ami := _registered(ec2, wanted, journal)):
        return replace(wanted, snapshot=journal.snapshot, ami=ami)
    _forget_if_gone(ec2, journal, region)
    tags = {"unibeam:name": image.name, "unibeam:sha256": image.sha256}
    sent = upload(ebs, image.file("disk"), journal, region, tags)
    wait_until_made(ec2, journal, region)
    with step("Registering the image"), explained(region, journal):
        ami = str(ec2.register_image(**registration(wanted, journal.snapshot, ena))["ImageId"])
    journal.write(image=ami)
    return replace(wanted, sent=sent, snapshot=journal.snapshot, ami=ami)


def _registered(ec2: Any, wanted: Publication, journal: Journal) -> str:
    """The AMI of this name that the account has already; empty where it has none."""
    with explained(wanted.region, journal):
        found = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [wanted.ami_name]}])["Images"]
    return str(found[0]["ImageId"]) if found else ""


def _forget_if_gone(ec2: Any, journal: Journal, region: str) -> None:
    """A snapshot that somebody removed, or that AWS gave up, cannot be gone on with."""
    if not journal.snapshot:
        return
    state = state_of(ec2, journal.snapshot, region, journal)
    if state in ("gone", "error"):
        left = "" if state == "gone" else " It is still there; remove it with aws ec2 delete-snapshot."
        note(f"The snapshot {journal.snapshot} is of no use any more ({state}); another is begun.{left}")
        journal.write(token=str(uuid.uuid4()))


def _boto3() -> Any:
    try:
        import boto3
    except ImportError:
        raise ToolMissing("boto3 is not installed, which is needed for publishing to AWS.",
                          "Install it: pip install 'unibeam-nb[aws]'") from None
    return boto3


def client(service: str, region: str) -> Any:
    """boto3's client of a service, with a connection for each request under way."""
    from botocore.config import Config

    with explained(region, Journal(Path())):
        # A session of its own: the shared one keeps credentials that the user has changed since.
        return _boto3().Session().client(service, region_name=region, config=Config(
            max_pool_connections=WORKERS, retries={"mode": "standard", "max_attempts": 5}))
