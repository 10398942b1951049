"""Tiny kernels: compiled on this host from the distribution's source, with what a BEAM on microvm needs and no more.

What that is stands in ``kernel_options/*.config``: ``base``, one profile (``boot`` or ``size``), and the options that
are asked for. A kernel is made once for a source, a configuration and a compiler; the same three give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from unibeam_nb.errors import UsageError
from unibeam_nb.image import kbuild, kconfig, linux_source, vmlinux
from unibeam_nb.image.kconfig import Setting
from unibeam_nb.image.kernels import KIND, Kernel, known_kernels, load_kernel
from unibeam_nb.jsonable import dump
from unibeam_nb.progress import note, step
from unibeam_nb.store import Store, digest, digest_file

FRAGMENTS = Path(__file__).parent / "kernel_options"
PROFILES = ("boot", "size")
"""What a kernel is made for: to be ready soonest, or to have the fewest bytes."""

OPTIONS = ("block", "clouds", "efi", "ipv6", "pci", "smp", "xen")
"""What can be had on top, beside any CONFIG_NAME=value."""

USUAL = {"linux": "tiny", "disk": "tiny+clouds+efi+pci+smp"}
"""The tiny kernel of each target, where none is named."""

COMPRESSIONS = {"boot": ("lz4", "zstd", "xz", "none"), "size": ("lz4", "xz", "none")}
"""How an initramfs may be packed for the kernels of each profile."""

MOUNTS = ("none", "lz4")
"""How an EROFS root may be packed for the kernels that mount one."""

TARGETS = {"boot": "vmlinux", "size": "bzImage"}
"""What is compiled for each profile: one that is entered directly (:mod:`.vmlinux`), or one that unpacks itself. A
firmware takes only the latter."""

OBJECTS = {"": 790, "block": 160, "clouds": 420, "efi": 190, "ipv6": 60, "pci": 180, "smp": 15, "xen": 230}
"""About how many files are compiled, for the progress bar: of the smallest kernel, and more for each option."""

LAYOUT = 2
"""Counts up whenever the same settings would give another kernel, so that old ones are not taken for new ones."""

PROCESSOR_MINUTES = 15
"""About how long one processor compiles."""

_NAME = re.compile(r"tiny(?:-(size))?((?:\+[a-z0-9]+)*)")


def is_tiny(name: str) -> bool:
    """Whether ``name`` could be the name of a tiny kernel: ``tiny``, ``tiny-size``, ``tiny+ipv6``."""
    return _NAME.fullmatch(name) is not None


def profiled(name: str, optimise: str) -> str:
    """The name of the kernel with the same options in another profile."""
    return name.replace("tiny-size", "tiny").replace("tiny", "tiny-size" if optimise == "size" else "tiny", 1)


def for_target(name: str, target: str) -> str:
    """The name of the tiny kernel that ``name`` means for a target: ``tiny`` alone is the usual one."""
    plain = name in ("tiny", "tiny-size")
    return profiled(USUAL[target], "size" if name == "tiny-size" else "boot") if plain and target in USUAL else name


def name_of(optimise: str, extras: Iterable[str]) -> str:
    """What the kernel of this profile with these options is called: ``tiny-size+block+ipv6``."""
    words = [word for word in extras if not word.startswith("CONFIG_")]
    own = digest(sorted(set(extras) - set(words)))[:6]
    return "+".join(("tiny-size" if optimise == "size" else "tiny", *sorted(set(words)),
                     *([own] if len(set(words)) < len(set(extras)) else [])))


def tiny_from_name(store: Store, name: str) -> Kernel:
    """The tiny kernel called ``name``: one that was compiled with settings of its own, whose name does not say which
    (:func:`name_of`), or else the one with these options. Raises UsageError for options it does not know."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(f"{name!r} is not the name of a tiny kernel.", "Write tiny, tiny-size or tiny+ipv6+block.")
    extras = tuple(found[2].split("+")[1:])
    own = [kernel for kernel in known_kernels(store) if kernel.name == name] if set(extras) - set(OPTIONS) else []
    return own[-1] if own else build_tiny(store, found[1] or "boot", extras)


def settings_of(optimise: str, extras: Iterable[str]) -> tuple[Setting, ...]:
    """The settings of a profile with options, in the order in which they are merged."""
    if optimise not in PROFILES:
        raise UsageError(f"{optimise!r} is nothing a kernel can be optimised for.",
                         f"Choose one of {', '.join(PROFILES)}.")
    settings = [*_fragment("base"), *_fragment(optimise)]
    for extra in sorted(set(extras)):
        if extra.startswith("CONFIG_"):
            settings += kconfig.parse(extra, repr(extra))
        elif extra in OPTIONS:
            settings += _fragment(extra)
        else:
            raise UsageError(f"{extra!r} is not an option of tiny kernels.",
                             f"The options are {', '.join(OPTIONS)}; any other is written CONFIG_NAME=y.")
    # The last word on an option holds, as in a .config.
    return tuple({setting.name: setting for setting in settings}.values())


def _fragment(name: str) -> tuple[Setting, ...]:
    return kconfig.parse((FRAGMENTS / f"{name}.config").read_text(encoding="utf-8"), f"{name}.config")


def build_tiny(store: Store, optimise: str = "boot", extras: Iterable[str] = ()) -> Kernel:
    """The tiny kernel of a profile with options, compiled where the store does not have it yet.

    Raises UsageError for an option that does not exist, ToolMissing without a compiler, ImageError when the source
    cannot be had or does not compile; nothing is kept of a build that failed or was stopped.
    """
    extras = tuple(sorted(set(extras)))
    settings = settings_of(optimise, extras)
    kbuild.require_programs()
    source = linux_source.linux_source(store)
    tool = kbuild.compiler()
    name = name_of(optimise, extras)
    key = digest(name, str(source), [str(setting) for setting in settings], tool, kbuild.ENVIRONMENT, LAYOUT)[:32]

    def make(place: Path) -> None:
        minutes = max(round(PROCESSOR_MINUTES / kbuild.processors()), 1)
        note(f"Compiling the kernel {name} takes about {minutes} min on this host, once.")
        with step(f"Making the kernel {name}"), store.scratch() as scratch:
            linux_source.unpack(source, scratch / "linux")
            config = kbuild.configure(scratch / "linux", settings, source.kernel)
            kbuild.close_gaps(scratch / "linux", config)
            objects = sum(OBJECTS.get(word, 0) for word in ("", *extras))
            target = "bzImage" if "efi" in extras else TARGETS[optimise]
            kernel = kbuild.compile_tree(scratch / "linux", target, objects).read_bytes()
            (place / "kernel").write_bytes(vmlinux.pack(kernel) if target == "vmlinux" else kernel)
            (place / "config").write_text(config)
            version = kbuild.release_of(scratch / "linux")
        about = {"name": name, "version": version, "sha256": digest_file(place / "kernel"),
                 "source": f"{source} ({tool})", "modules": None, "platform": "pci" if "pci" in extras else "mmio",
                 "processors": None if "smp" in extras else 1, "unpacks": COMPRESSIONS[optimise],
                 "mounts": MOUNTS if any(str(setting) == "CONFIG_EROFS_FS=y" for setting in settings) else ()}
        (place / "kernel.json").write_text(dump(about))

    return load_kernel(store.build(KIND, key, make)[0])
