"""Text of strangers made fit to be seen: what a guest printed, what an archive calls its files, what a journal says.

A terminal obeys control characters, and a reader is deceived by those that reorder text (Unicode's bidirectional
controls, UAX #9). So whatever is shown goes through :func:`visible` first; HTML is escaped besides.
"""

from __future__ import annotations

import re
import unicodedata

REPLACED = "\N{REPLACEMENT CHARACTER}"

SUSPECT = re.compile(rb"\\[ubfr]|\x7f|\xc2[\x80-\x9f]|\xe2\x80[\x8b-\x8f\xaa-\xae]|\xe2\x81[\xa0-\xaf]|\xef\xbb\xbf"
                     rb"|\xf3\xa0")
"""What of it JSON's text may hold, as bytes: escapes, and UTF-8. Found in text that was written by
:func:`~unibeam_nb.jsonable.dump` only where there was something to replace, or a backslash."""


def visible(text: str) -> str:
    """``text`` in which every character that cannot be seen is replaced, but for line ends and tabs."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else REPLACED for c in text)


def visible_values(value: object) -> object:
    """The same for every text in what was read from JSON, keys included."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [visible_values(one) for one in value]
    if isinstance(value, dict):
        return {visible_values(key): visible_values(one) for key, one in value.items()}
    return value
