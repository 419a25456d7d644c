"""Foreign text as what it is: characters that act on a terminal, hide or reorder what is read are
written out, not passed on.

Names, notes, logs, error texts and archives are written by others. A terminal obeys C0 and C1
controls (ECMA-48), a reader is misled by reversed text (UAX 9) and by what has no width; neither
belongs in an answer of this service, be it text, JSON or HTML.
"""

from __future__ import annotations

import json
import re
from typing import Any

# Unicode's categories Cc, Cf, Cs, Zl and Zp, and the letters and selectors that are drawn as
# nothing. New line and tab stay.
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BEYOND_ASCII = re.compile("[^\0-\x7f]")
_LAYOUT = {"\n": r"\n", "\t": r"\t"}


def visible(text: str) -> str:
    """Given a text, return it with every acting or hidden character written out, such as ``\\x1b``;
    new lines and tabs stay.
    """
    return _ACTING.sub(lambda found: _written(found[0]), text)


def one_line(text: str) -> str:
    """Given a text that stands within a line, such as a table's cell, return it visible, new lines
    and tabs written out too.
    """
    return re.sub(r"[\n\t]", lambda found: _LAYOUT[found[0]], visible(text))


def json_text(value: Any, indent: int | None = None, *, ascii: bool = False) -> str:
    """Given a value, return it as JSON in which acting and hidden characters are escaped; readers
    get them back.

    With ``ascii`` so is all that is not ASCII. Half a surrogate pair is no character, and strict
    readers refuse its escape (RFC 8259, 8.2): U+FFFD stands in its place.
    """
    text = _ACTING.sub(
        lambda found: _escaped(found[0]), json.dumps(value, indent=indent, ensure_ascii=False)
    )
    return _BEYOND_ASCII.sub(lambda found: _escaped(found[0]), text) if ascii else text


def _written(character: str) -> str:
    code = ord(character)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def _escaped(character: str) -> str:
    if "\ud800" <= character <= "\udfff":
        return "\ufffd"
    code = ord(character)
    # JSON's escapes are UTF-16 units: beyond the first plane it takes two
    units = (
        (code,)
        if code < 0x10000
        else (0xD800 + (code - 0x10000 >> 10), 0xDC00 + (code - 0x10000 & 0x3FF))
    )
    return "".join(f"\\u{unit:04x}" for unit in units)
