"""The OCI image layout, written by hand, with docker's own manifest beside it.

Sources: the OCI image specification 1.0 (image-layout, manifest, config, layer) and docker's image specification
1.2 (``manifest.json``). A directory written here is read by ``podman run oci:DIR``, by ``skopeo``, and, packed with
tar, by ``docker load``. Blobs are named by their sha256; nothing in them depends on when or where they were made.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from unibeam_nb.errors import ArchiveError
from unibeam_nb.image.tree import Entry
from unibeam_nb.jsonable import loads

GZIP_LEVEL = 6
"""zlib's and docker's own default, so that sizes compare with what others push."""

_MEDIA = "application/vnd.oci.image"
_TAG = re.compile(r"[a-z0-9][a-z0-9._/-]{0,200}:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
"""A name with its tag, in the letters that a registry takes: none of them means anything to a command line."""



@dataclass(frozen=True)
class Layer:
    """A finished layer blob: sha256 of its bytes, sha256 of the tar inside (``diff_id``), and both sizes."""

    path: Path
    digest: str
    diff_id: str
    bytes: int
    unpacked: int
    comment: str


@dataclass(frozen=True)
class Configuration:
    """What a container engine needs to run the image."""

    entrypoint: Sequence[str]
    environment: Mapping[str, str]
    directory: str
    ports: Sequence[int] = ()


class _Hashing:
    """A writer that keeps the sha256 and the number of the bytes that pass through."""

    def __init__(self, target: IO[bytes] | gzip.GzipFile) -> None:
        self.target, self.hash, self.count = target, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.count += len(data)
        return self.target.write(data)

    def flush(self) -> None:
        self.target.flush()


@dataclass
class LayerWriter:
    """An open layer: ``tar`` takes its members, ``layer`` is there once it has been closed."""

    tar: tarfile.TarFile
    layer: Layer | None = None


@contextmanager
def layer_writer(path: Path, comment: str) -> Iterator[LayerWriter]:
    """Write a layer to ``path``; on leaving, the writer's ``layer`` describes it."""
    with path.open("wb") as stream:
        packed = _Hashing(stream)
        # No file name and the time 0 in gzip's header; both would differ between two builds.
        with gzip.GzipFile("", "wb", GZIP_LEVEL, packed, mtime=0) as zipped:
            plain = _Hashing(zipped)
            with tarfile.open(fileobj=cast(IO[bytes], plain), mode="w|", format=tarfile.PAX_FORMAT) as tar:
                writer = LayerWriter(tar)
                yield writer
    writer.layer = Layer(path, packed.hash.hexdigest(), plain.hash.hexdigest(), packed.count, plain.count, comment)


def write_layer(entries: Iterable[Entry], path: Path, comment: str) -> Layer:
    """A layer of these entries, in their order, everything owned by root and of the time 0."""
    with layer_writer(path, comment) as writer:
        for entry in entries:
            info = tar_info(entry)
            if info.isreg():
                writer.tar.addfile(info, cast(IO[bytes], _Reader(entry.chunks())))
            else:
                writer.tar.addfile(info)
    assert writer.layer is not None
    return writer.layer


def tar_info(entry: Entry) -> tarfile.TarInfo:
    """The tar header of an entry."""
    info = tarfile.TarInfo(entry.path)
    info.mode = stat.S_IMODE(entry.mode)
    if stat.S_ISDIR(entry.mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(entry.mode):
        info.type, info.linkname = tarfile.SYMTYPE, entry.target
    elif stat.S_ISCHR(entry.mode):
        info.type, (info.devmajor, info.devminor) = tarfile.CHRTYPE, entry.device
    else:
        info.size = entry.size
    return info


class _Reader:
    """Pieces of bytes as something to ``read`` from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.held = pieces, b""

    def read(self, size: int) -> bytes:
        while len(self.held) < size and (piece := next(self.pieces, None)) is not None:
            self.held += piece
        data, self.held = self.held[:size], self.held[size:]
        return data


def write_layout(place: Path, name: str, flavour: str, layers: Sequence[Layer], config: Configuration) -> str:
    """Make ``place`` an image layout of these layers, whose files move into it. Returns the manifest's sha256."""
    blobs = place / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for layer in layers:
        layer.path.rename(blobs / layer.digest)
    config_blob = _blob(blobs, _config(layers, config))
    manifest = {
        "schemaVersion": 2, "mediaType": f"{_MEDIA}.manifest.v1+json",
        "config": _descriptor("config.v1+json", *config_blob),
        "layers": [_descriptor("layer.v1.tar+gzip", layer.digest, layer.bytes) for layer in layers]}
    manifest_blob = _blob(blobs, manifest)
    tag = tag_of(name, flavour, manifest_blob[0])
    annotations = {"org.opencontainers.image.ref.name": tag.split(":")[1],
                   "io.containerd.image.name": f"docker.io/{tag}"}
    index = {"schemaVersion": 2, "mediaType": f"{_MEDIA}.index.v1+json",
             "manifests": [_descriptor("manifest.v1+json", *manifest_blob) | {"annotations": annotations}]}
    docker = [{"Config": f"blobs/sha256/{config_blob[0]}", "RepoTags": [tag],
               "Layers": [f"blobs/sha256/{layer.digest}" for layer in layers]}]
    for file_name, value in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", index),
                             ("manifest.json", docker)):
        (place / file_name).write_bytes(_json(value))
    return manifest_blob[0]


def tag_in(place: Path) -> str:
    """The name of the image in a layout, as docker's manifest has it. Raises ArchiveError where it has none."""
    try:
        name = loads((place / "manifest.json").read_text(encoding="utf-8"))[0]["RepoTags"][0]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        name = None
    if not isinstance(name, str) or not _TAG.fullmatch(name):
        raise ArchiveError(f"The container image in {place} is damaged: it has no name.", "Build it again.")
    return name


def tag_of(name: str, flavour: str, digest: str) -> str:
    """``unibeam/NAME:FLAVOUR-SHORTSHA``, in the letters that a registry takes."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "release"
    return f"unibeam/{plain}:{flavour}-{digest[:12]}"


def _config(layers: Sequence[Layer], config: Configuration) -> dict[str, Any]:
    ports: dict[str, dict[str, str]] = {f"{port}/tcp": {} for port in config.ports}
    return {
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"Entrypoint": list(config.entrypoint), "WorkingDir": config.directory,
                   "Env": [f"{key}={value}" for key, value in sorted(config.environment.items())],
                   "StopSignal": "SIGTERM"} | ({"ExposedPorts": ports} if ports else {}),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.diff_id}" for layer in layers]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "unibeam", "comment": layer.comment}
                    for layer in layers]}


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": f"{_MEDIA}.{kind}", "digest": f"sha256:{digest}", "size": size}


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _blob(blobs: Path, value: Any) -> tuple[str, int]:
    data = _json(value)
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return digest, len(data)
