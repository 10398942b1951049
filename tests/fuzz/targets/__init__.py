"""The readers of the package, one target each, by what they read."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import archives, disks, guest, guest_init, programs, records, releases, words

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (releases, programs, disks, archives, records, words, guest, guest_init)
    for target in module.TARGETS
}
"""Every target by its name."""
