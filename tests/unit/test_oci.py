"""The OCI image layout."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

from unibeam_nb.image.formats.oci import Configuration, Layer, tag_of, write_layer, write_layout
from unibeam_nb.image.tree import Tree, device, directory, file, link, tree

TREE = tree([file("bin/run", b"#!x" * 1000, 0o755), link("bin/go", "run"), directory("tmp", 0o1777),
             device("dev/null", 1, 3, 0o666), file("é" * 120, b"long name")])
CONFIGURATION = Configuration(("/bin/run", "-x"), {"B": "2", "A": "1"}, "/var/lib", (8080,))


def layout(place: Path, *trees: Tree) -> Path:
    place.mkdir()
    layers = [write_layer(whole.values(), place / f"layer{i}", f"layer {i}") for i, whole in enumerate(trees)]
    write_layout(place, "Hello_World", "scratch", layers, CONFIGURATION)
    return place


def read(place: Path, reference: str) -> Any:
    data = (place / "blobs/sha256" / reference.removeprefix("sha256:")).read_bytes()
    assert hashlib.sha256(data).hexdigest() == reference.removeprefix("sha256:")
    return json.loads(data)


def test_every_blob_is_named_by_its_sha256(tmp_path: Path) -> None:
    blobs = sorted((layout(tmp_path / "a", TREE, tree([file("x", "y")])) / "blobs/sha256").iterdir())
    assert len(blobs) == 4
    for blob in blobs:
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def test_nothing_else_is_left_in_the_layout(tmp_path: Path) -> None:
    assert sorted(p.name for p in layout(tmp_path / "a", TREE).iterdir()) == \
        ["blobs", "index.json", "manifest.json", "oci-layout"]


def test_the_index_leads_to_manifest_configuration_and_layers(tmp_path: Path) -> None:
    place = layout(tmp_path / "a", TREE)
    assert json.loads((place / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    entry = json.loads((place / "index.json").read_text())["manifests"][0]
    manifest = read(place, entry["digest"])
    assert entry["size"] == (place / "blobs/sha256" / entry["digest"][7:]).stat().st_size
    config = read(place, manifest["config"]["digest"])
    assert config["config"] == {"Entrypoint": ["/bin/run", "-x"], "Env": ["A=1", "B=2"], "WorkingDir": "/var/lib",
                                "StopSignal": "SIGTERM", "ExposedPorts": {"8080/tcp": {}}}
    layer = place / "blobs/sha256" / manifest["layers"][0]["digest"][7:]
    assert manifest["layers"][0]["size"] == layer.stat().st_size
    plain = gzip.decompress(layer.read_bytes())
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(plain).hexdigest()}"]


def test_dockers_manifest_names_the_same_blobs(tmp_path: Path) -> None:
    place = layout(tmp_path / "a", TREE)
    entry = json.loads((place / "index.json").read_text())["manifests"][0]
    manifest = read(place, entry["digest"])
    tag = f"unibeam/hello-world:scratch-{entry['digest'][7:19]}"
    assert json.loads((place / "manifest.json").read_text()) == [{
        "Config": f"blobs/sha256/{manifest['config']['digest'][7:]}", "RepoTags": [tag],
        "Layers": [f"blobs/sha256/{manifest['layers'][0]['digest'][7:]}"]}]
    assert entry["annotations"]["io.containerd.image.name"] == f"docker.io/{tag}"


def test_a_layer_holds_the_tree_owned_by_root_at_time_zero(tmp_path: Path) -> None:
    layer = write_layer(TREE.values(), tmp_path / "layer", "")
    with tarfile.open(layer.path) as tar:
        members = {member.name: member for member in tar}
        assert tar.extractfile("bin/run").read() == b"#!x" * 1000  # type: ignore[union-attr]
    assert list(members) == list(TREE)
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members.values()} == {(0, 0, "", "", 0)}
    assert (members["bin/go"].linkname, members["tmp"].mode) == ("run", 0o1777)
    assert (members["dev/null"].devmajor, members["dev/null"].devminor) == (1, 3)


def test_the_layer_tells_its_true_digests_and_sizes(tmp_path: Path) -> None:
    layer = write_layer(TREE.values(), tmp_path / "layer", "why")
    packed = layer.path.read_bytes()
    plain = gzip.decompress(packed)
    assert layer == Layer(tmp_path / "layer", hashlib.sha256(packed).hexdigest(), hashlib.sha256(plain).hexdigest(),
                          len(packed), len(plain), "why")


def test_equal_trees_become_equal_bytes_in_any_directory(tmp_path: Path) -> None:
    one, two = layout(tmp_path / "one", TREE), layout(tmp_path / "another", TREE)
    assert (one / "index.json").read_bytes() == (two / "index.json").read_bytes()


def test_a_name_becomes_one_that_registries_take() -> None:
    assert tag_of("My App!", "slim", "0123456789abcdef") == "unibeam/my-app:slim-0123456789ab"
    assert tag_of("___", "slim", "0123456789abcdef") == "unibeam/release:slim-0123456789ab"
