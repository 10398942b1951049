"""A journal inside an HTML page: compressed, behind a link that also saves it to disk.

The link carries the sha256 of the journal's text. A page whose journal was changed, by hand or by a mail program, is
refused; one whose looks alone were changed is read as before. Nothing of the page but that link is looked at.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import zlib

from unibeam_nb.errors import BenchError

LARGEST = 1 << 30
"""Bytes that an unpacked journal may have: some three million boots. A page from elsewhere may not fill the memory."""

_LINK = re.compile(rb'<a [^<>]*?data-unibeam-sha256="([0-9a-f]{64})" '
                   rb'href="data:application/gzip;base64,([A-Za-z0-9+/]+={0,2})"')


def link_attributes(journal: bytes, name: str) -> str:
    """The attributes of the ``<a>`` that holds ``journal``; the same journal gives the same text."""
    content = base64.b64encode(gzip.compress(journal, 9, mtime=0)).decode()
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return (f'download="{safe}.jsonl.gz" data-unibeam-sha256="{hashlib.sha256(journal).hexdigest()}" '
            f'href="data:application/gzip;base64,{content}"')


def is_page(text: bytes) -> bool:
    """Whether this is HTML and not a journal."""
    return text.lstrip()[:1] == b"<"


def unpack(page: bytes, name: str) -> bytes:
    """The journal inside a page called ``name``. Raises BenchError where there is none or it was changed."""
    found = _LINK.search(page)
    if found is None:
        raise BenchError(f"{name} is not a report with an experiment inside.",
                         "Reports written by %unibeam report have one; older ones had not.")
    journal = _decompressed(found[2])
    if journal is None or hashlib.sha256(journal).hexdigest() != found[1].decode():
        raise BenchError(f"The experiment inside {name} was changed after it was written: its sha256 does not match.",
                         "Ask for the report again, as a file that no program has rewritten.")
    return journal


def _decompressed(content: bytes) -> bytes | None:
    stream = zlib.decompressobj(wbits=31)
    try:
        journal = stream.decompress(base64.b64decode(content, validate=True), LARGEST)
    except (ValueError, zlib.error):
        return None
    return journal if stream.eof else None
