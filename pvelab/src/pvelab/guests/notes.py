"""vzdump's notes template: variables and escapes (pve-manager PVE/VZDump.pm; texts recorded in
04_vzdump_errors).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

VARIABLES = ("cluster", "guestname", "node", "vmid")
_TOKEN = re.compile(r"\{\{(?P<name>.*?)\}\}|\\(?P<escape>.)")
_ESCAPES = {"n": "\n", "\\": "\\"}


def problem(template: str) -> str | None:
    """Return PVE's text for what is wrong with a template, None if nothing is."""
    if "\n" in template:
        return "contains a line feed\n"
    for found in _TOKEN.finditer(template):
        if found["name"] is not None and found["name"] not in VARIABLES:
            return f"found unknown: variable '{found['name']}' at char {found.start('name') + 2}\n"
        if found["escape"] is not None and found["escape"] not in _ESCAPES:
            return f"found unknown: escape sequence '\\{found['escape']}' at char {found.start()}\n"
    return None


def expand(template: str, values: Mapping[str, str]) -> str:
    """Given a template without problems and a value for each variable, return the notes."""
    return _TOKEN.sub(
        lambda found: (
            values[found["name"]] if found["name"] is not None else _ESCAPES[found["escape"]]
        ),
        template,
    )
