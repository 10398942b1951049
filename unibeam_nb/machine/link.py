"""A machine's own link to this host: two addresses, for runners that give a guest a network card of the host's.

Every machine gets a network of two hosts out of 198.18.0.0/15, which is set aside for measuring between devices
(RFC 2544, appendix C.2.2) and so is nobody's else. It needs neither a bridge nor DHCP, and nothing beyond this host
can reach it. Pure: from a machine's id to addresses.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
NETWORK = ipaddress.ip_network("198.18.0.0/15")
BITS = 30
"""The length of a link's network prefix: four addresses, of which two are hosts'."""


@dataclass(frozen=True)
class Link:
    """``host`` and ``guest`` are addresses of one network of :data:`BITS` bits, ``mac`` is the guest's card, locally
    administered, and ``device`` a name for the host's end, at most 15 letters as Linux wants it."""

    host: str
    guest: str
    mac: str
    device: str


def link_of(machine_id: str) -> Link:
    """The link of a machine by its id, eight hex digits. Ids are random, and there are 32768 links."""
    number = int(machine_id, 16)
    count = 1 << (BITS - NETWORK.prefixlen)
    first = NETWORK.network_address + (number % count << (32 - BITS))
    mac = ":".join(f"{byte:02x}" for byte in (2, 0x75, *number.to_bytes(4, "big")))
    return Link(str(first + 1), str(first + 2), mac, f"ub{machine_id}")
