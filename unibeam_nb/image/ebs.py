"""A raw disk becomes an EBS snapshot, block by block: Amazon's "EBS direct APIs".

StartSnapshot, then PutSnapshotBlock for every block of 512 KiB that holds something (what is not sent reads as zeros),
then CompleteSnapshot. What has been done is in a journal of JSON lines, so a call that failed in the middle goes on
where it was, and no snapshot is without a name in it: the token that makes StartSnapshot idempotent is written down
before it is used.
"""

from __future__ import annotations

import base64
import concurrent.futures as futures
import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unibeam_nb.errors import ImageError
from unibeam_nb.jsonable import loads
from unibeam_nb.progress import checkpoint, note, progress, step

BLOCK = 512 << 10
GIB = 1 << 30
WORKERS = 16
"""Requests under way at once. AWS allows 1000 blocks a second for an account in most regions."""

SNAPSHOT_MINUTES = 1440
"""How long AWS waits for the next block before it gives a snapshot up."""

PATIENCE = 1800.0
"""Seconds that AWS may take to make a snapshot of the blocks."""

_ZEROS = bytes(BLOCK)


def data_blocks(disk: Path) -> Iterator[tuple[int, bytes]]:
    """The blocks that hold something, by their number; the last one is filled up with zeros. Holes in the file are
    not even read."""
    with disk.open("rb", buffering=0) as stream:
        size, index = os.fstat(stream.fileno()).st_size, 0
        while index * BLOCK < size:
            try:
                index = max(index, os.lseek(stream.fileno(), index * BLOCK, os.SEEK_DATA) // BLOCK)
            except OSError:
                return  # ENXIO: nothing but a hole is left.
            block = os.pread(stream.fileno(), BLOCK, index * BLOCK).ljust(BLOCK, b"\0")
            if block != _ZEROS:
                yield index, block
            index += 1


@dataclass
class Journal:
    """What has been done for one image in one region. ``blocks`` are the numbers of those that arrived."""

    path: Path
    token: str = ""
    snapshot: str = ""
    complete: bool = False
    image: str = ""
    blocks: set[int] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path) -> Journal:
        """The journal at ``path``; a new one where there is none. A last line that was cut off is as if not there."""
        journal = cls(path)
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
            with contextlib.suppress(ValueError):
                journal._take(loads(line))
        return journal

    def _take(self, fact: Any) -> None:
        """Take in one fact. Raises ValueError for what is none."""
        match fact:
            case {"token": str(token)}:  # Another snapshot: what was sent to the last one is of no use.
                self.token, self.snapshot, self.complete, self.image, self.blocks = token, "", False, "", set()
            case {"block": int(block)}:
                self.blocks.add(block)
            case {"snapshot": str(snapshot)}:
                self.snapshot = snapshot
            case {"complete": bool(complete)}:
                self.complete = complete
            case {"image": str(image)}:
                self.image = image
            case _:
                raise ValueError("not a fact")

    def write(self, **fact: str | int | bool) -> None:
        """Add one fact. A block that is lost is only sent twice; anything else is on the disk when this returns."""
        self._take(fact)
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.path.open("a", encoding="utf-8") as stream:
            # A line that was cut off must not swallow this one.
            stream.write(("\n" if stream.tell() else "") + json.dumps(fact))
            stream.flush()
            if "block" not in fact:
                os.fsync(stream.fileno())


@contextmanager
def explained(region: str, journal: Journal) -> Iterator[None]:
    """Turn what AWS or the network refuses into an error that names what is left there, and how to go on.

    Of AWS's answer only the code is told: its sentences may quote keys and signatures.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    hint = "Call it again; nothing has been left at AWS."
    if journal.snapshot:
        hint = (f"Call it again to go on with {journal.snapshot}, or remove it: aws ec2 delete-snapshot --region "
                f"{region} --snapshot-id {journal.snapshot}")
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError):
        raise ImageError("There are no credentials for AWS.", "Run 'aws configure', or set AWS_PROFILE.") from None
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "an unknown error")
        raise ImageError(f"AWS refused {error.operation_name} in {region}: {code}.", hint) from None
    except BotoCoreError as error:
        raise ImageError(f"AWS cannot be reached in {region}: {type(error).__name__}.", hint) from None


def upload(ebs: Any, disk: Path, journal: Journal, region: str, tags: dict[str, str]) -> int:
    """Make the journal's snapshot complete and return how many blocks were sent now. ``ebs`` is boto3's client.
    Raises ImageError, Cancelled; either way what was sent is in the journal."""
    if not journal.token:
        journal.write(token=str(uuid.uuid4()))
    if not journal.snapshot:
        with explained(region, journal):
            started = ebs.start_snapshot(
                VolumeSize=-(-disk.stat().st_size // GIB), ClientToken=journal.token, Timeout=SNAPSHOT_MINUTES,
                Description=f"unibeam {tags['unibeam:name']}",
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
        journal.write(snapshot=started["SnapshotId"])
        note(f"Snapshot {journal.snapshot} in {region}.")
    sent = _send(ebs, disk, journal, region)
    if not journal.complete:
        # AWS compares the count; of each block it has compared the checksum already.
        with explained(region, journal):
            ebs.complete_snapshot(SnapshotId=journal.snapshot, ChangedBlocksCount=len(journal.blocks))
        journal.write(complete=True)
    return sent


def _send(ebs: Any, disk: Path, journal: Journal, region: str) -> int:
    """Send the blocks that are not in the journal, so many at once. The first that fails ends it, and those under way
    are still waited for and written down."""
    if journal.complete:
        return 0
    size, before = disk.stat().st_size, len(journal.blocks)

    def put(index: int, block: bytes) -> int:
        ebs.put_snapshot_block(
            SnapshotId=journal.snapshot, BlockIndex=index, BlockData=block, DataLength=BLOCK,
            ChecksumAlgorithm="SHA256", Checksum=base64.b64encode(hashlib.sha256(block).digest()).decode())
        return index

    under_way: set[futures.Future[int]] = set()
    with step("Sending the disk to AWS"), explained(region, journal), futures.ThreadPoolExecutor(WORKERS) as pool:
        try:
            for index, block in data_blocks(disk):
                progress(index * BLOCK / size, f"{len(journal.blocks)} blocks")
                if index in journal.blocks:
                    continue
                if len(under_way) >= 2 * WORKERS:
                    done, under_way = futures.wait(under_way, return_when=futures.FIRST_COMPLETED)
                    _write_down(journal, done)
                under_way.add(pool.submit(put, index, block))
            done, under_way = futures.wait(under_way).done, set()
            _write_down(journal, done)
        finally:  # After a failure or a stop; else none is under way any more.
            for one in under_way:
                one.cancel()
            _write_down(journal, (one for one in futures.wait(under_way).done
                                  if not one.cancelled() and one.exception() is None))
    return len(journal.blocks) - before


def _write_down(journal: Journal, done: Iterable[futures.Future[int]]) -> None:
    """Write the blocks that arrived into the journal, then raise what kept another from arriving."""
    failed = []
    for one in done:
        error = one.exception()
        if error is None:
            journal.write(block=one.result())
        else:
            failed.append(error)
    if failed:
        raise failed[0]


def wait_until_made(ec2: Any, journal: Journal, region: str, every: float = 5.0) -> None:
    """Return when AWS has made the snapshot. Raises ImageError when it has not after half an hour, or never will."""
    deadline = time.monotonic() + PATIENCE
    with step(f"AWS makes {journal.snapshot}"):
        while (state := state_of(ec2, journal.snapshot, region, journal)) != "completed":
            checkpoint()
            if state in ("error", "gone") or time.monotonic() > deadline:
                raise ImageError(f"AWS did not make the snapshot {journal.snapshot} ({state}).",
                                 f"Call it again, or remove it: aws ec2 delete-snapshot --region {region} "
                                 f"--snapshot-id {journal.snapshot}")
            time.sleep(every)


def state_of(ec2: Any, snapshot: str, region: str, journal: Journal) -> str:
    """``pending``, ``completed``, ``error``, or ``gone``."""
    from botocore.exceptions import ClientError

    with explained(region, journal):
        try:
            return str(ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"])
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "InvalidSnapshot.NotFound":
                return "gone"
            raise
