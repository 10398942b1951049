"""User data for a machine: the disk that carries them to it (cloud-init's data source NoCloud)."""

from __future__ import annotations

import io
from pathlib import Path

from unibeam_nb.arms import CLOUDINIT, RESUME, Arm
from unibeam_nb.errors import UsageError
from unibeam_nb.model import Image

SEED = "seed.iso"
"""The disk's name in the machine's directory."""

LABEL = "cidata"
LARGEST = 65536
"""Bytes of user data that a machine reads (unibeam_cloud.erl)."""

LONGEST_URL = 400


def is_url(user_data: str) -> bool:
    return user_data.startswith(("http://", "https://"))


def refuse(image: Image, arm: Arm, user_data: str) -> None:
    """Raise UsageError where a machine of this image could not read these user data."""
    if arm.runner != "qemu" or image.target not in ("linux", "disk"):
        raise UsageError(f"{arm} reads no user data.", "Only linux and disk images on qemu do.")
    if RESUME in arm.extras:
        raise UsageError(f"{arm} reads no user data: it is a copy of a machine that is up already.",
                         "Leave out --resume or --user-data.")
    if image.target == "linux" and CLOUDINIT not in image.options:
        raise UsageError(f"The image {image.kind} reads no user data.",
                         f"Build one that does: linux+{CLOUDINIT}@qemu.")
    if is_url(user_data):
        _refuse_url(image, user_data)
    else:
        read(user_data)
        if image.platform == "mmio" and image.artefact("root") is None:
            raise UsageError("A kernel that is made for the fewest bytes reads no disk, and so no seed.",
                             "Leave out +small and +initramfs, or serve the user data: --user-data http://...")


def _refuse_url(image: Image, url: str) -> None:
    if image.target == "disk":
        raise UsageError("A disk image has its command line in it, and cannot be told an address of user data.",
                         "Give a file: --user-data FILE.")
    if not url.startswith("http://") or len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() \
            or set(url) & set(' ";'):
        raise UsageError(f"{url!r} is no address that a machine reads user data from.",
                         "Write http://ADDRESS:PORT/DIRECTORY/ with an IPv4 address; this host is 10.0.2.2.")


def read(path: str) -> bytes:
    """The user data in a file. Raises UsageError where there are none, or too many."""
    try:
        with Path(path).expanduser().open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.",
                         "Name a file of user data, which begins with #cloud-config.") from None
    if len(data) > LARGEST:
        raise UsageError(f"{path} is larger than the 64 kB of user data that a machine reads.",
                         "Leave large files to the release, or let the program fetch them.")
    return data


def write(path: Path, user_data: bytes, instance: str) -> None:
    """Write a disk (ISO 9660 with Joliet and Rock Ridge) with these user data; only this user can read it. The same
    user data give the same bytes: pycdlib, which knows no other time than now, does not have the last word on dates."""
    from pycdlib import PyCdlib

    from unibeam_nb.image.formats.iso9660 import without_dates

    disk = PyCdlib()
    disk.new(interchange_level=3, vol_ident=LABEL, joliet=3, rock_ridge="1.09")
    for name, plain, data in (("user-data", "USER_DAT", user_data),
                              ("meta-data", "META_DAT", f"instance-id: {instance}\n".encode())):
        disk.add_fp(io.BytesIO(data), len(data), f"/{plain}.;1", rr_name=name, joliet_path=f"/{name}")
    whole = io.BytesIO()
    disk.write_fp(whole)
    disk.close()
    path.touch(mode=0o600)
    path.write_bytes(without_dates(whole.getvalue()))
