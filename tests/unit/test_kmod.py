"""Which kernel modules a machine needs."""

from __future__ import annotations

import gzip
import lzma
import struct
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from unibeam_nb.errors import ImageError
from unibeam_nb.image import kmod

PACKERS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor().compress}


def module_bytes(name: str, depends: list[str]) -> bytes:
    """A small but whole relocatable ELF64 with a ``.modinfo`` section, as a module has."""
    info = f"license=GPL\0depends={','.join(depends)}\0name={name}\0".encode()
    names = b"\0.modinfo\0.shstrtab\0"
    sections = 64 + len(info) + len(names)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 1, 62, 1, 0, 0, sections, 0, 64, 0, 0, 64, 3, 2)
    entry = struct.Struct("<IIQQQQIIQQ")
    table = entry.pack(*[0] * 10) + entry.pack(1, 1, 2, 0, 64, len(info), 0, 0, 1, 0)
    return header + info + names + table + entry.pack(10, 3, 0, 0, 64 + len(info), len(names), 0, 0, 1, 0)


def modules(root: Path, graph: dict[str, list[str]], builtin: tuple[str, ...] = (), suffix: str = "") -> kmod.Modules:
    for name, depends in graph.items():
        path = root / "kernel/drivers" / f"{name.replace('_', '-')}.ko{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PACKERS[suffix](module_bytes(name, depends)))
    (root / "modules.builtin").write_text("".join(f"kernel/drivers/{name}.ko\n" for name in builtin))
    return kmod.Modules(root)


def names(found: tuple[kmod.Module, ...]) -> list[str]:
    return [module.name for module in found]


def test_what_a_module_depends_on_loads_before_it(tmp_path: Path) -> None:
    made = modules(tmp_path, {"virtio_net": ["net_failover", "virtio"], "net_failover": ["failover"], "failover": [],
                              "virtio": ["virtio_ring"], "virtio_ring": []})
    assert names(made.closure(["virtio_net"])) == ["failover", "net_failover", "virtio_ring", "virtio", "virtio_net"]


@given(st.dictionaries(st.integers(0, 9), st.sets(st.integers(0, 9))))
def test_every_module_comes_once_and_after_its_dependencies(tmp_path_factory: pytest.TempPathFactory,
                                                            graph: dict[int, set[int]]) -> None:
    plain = {f"m{n}": [f"m{d}" for d in sorted(needs) if d < n and d in graph] for n, needs in graph.items()}
    order = names(modules(tmp_path_factory.mktemp("kmod"), plain).closure(plain))
    assert sorted(order) == sorted(plain)
    for name, needs in plain.items():
        assert all(order.index(needed) < order.index(name) for needed in needs)


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_packed_module_is_unpacked(tmp_path: Path, suffix: str) -> None:
    found = modules(tmp_path, {"virtio_rng": []}, suffix=suffix).closure(["virtio-rng"])
    assert [(module.name, module.data) for module in found] == [("virtio_rng", module_bytes("virtio_rng", []))]


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst", ""])
def test_a_damaged_module_is_named(tmp_path: Path, suffix: str) -> None:
    made = modules(tmp_path, {"virtio": []}, suffix=suffix)
    path = made.files["virtio"]
    path.write_bytes(b"garbage")
    with pytest.raises(ImageError) as caught:
        made.closure(["virtio"])
    assert caught.value.message.startswith(f"{path} is not a whole kernel module (")


def test_what_the_kernel_has_built_in_is_left_out(tmp_path: Path) -> None:
    made = modules(tmp_path, {"virtio_net": ["virtio"]}, builtin=("virtio", "virtio-pci"))
    assert names(made.closure(["virtio_pci", "virtio_net"])) == ["virtio_net"]
    assert made.missing(["virtio_pci", "virtio_net", "virtio_blk"]) == ("virtio_blk",)


def test_a_missing_dependency_is_named_with_who_needs_it(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        modules(tmp_path, {"virtio_net": ["net_failover"]}).closure(["virtio_net"])
    assert caught.value.message == f"The kernel module virtio_net needs net_failover, which is not in {tmp_path}."


def test_a_kernel_without_listing_of_built_in_modules_is_fine(tmp_path: Path) -> None:
    made = modules(tmp_path, {"virtio": []})
    (tmp_path / "modules.builtin").unlink()
    assert names(made.closure(["virtio"])) == ["virtio"]
