"""Task logs of the real server, reduced to what does not depend on its guests, to compare the lab's
with.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_RECORDED = Path(__file__).parents[3] / "golden" / "recorded_real"
_REPLACED = (
    # none where it took less than a second
    (re.compile(r"(transferred .* in \S+ seconds) \(.*/s\)"), r"\1"),
    (re.compile(r"'?/\S+/(vzdump-qemu-)\d+-[\d_-]+"), r"\1N"),
    (re.compile(r"/var/tmp/vzdumptmp\d+"), "TMP"),
    (re.compile(r"'(?:local|scratch2|local-lvm):[^']*'"), "'VOLUME'"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}"), "UUID"),
    (re.compile(r"VM Name: .*"), "VM Name: NAME"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"CTIME: .*"), "CTIME"),
    (re.compile(r"starting new backup job: .*"), "starting new backup job"),
    (re.compile(r"(VM|VM ')\s?\d+"), r"\1 N"),
    (re.compile(r"<?\d+(?:\.\d+)?(?:e[+-]\d+)?(?: ?[KMGT]i?B|[KMGT]\b| B)?"), "#"),
    (re.compile(r"Formatting '.*|  Logical volume \".*"), "ALLOCATED"),
    (re.compile(r"to '/\S+'"), "to 'PATH'"),
)
_VARYING = re.compile(
    r"INFO: +#% |progress #%|trying to acquire lock| OK$|INFO: backup is sparse|space reduction"
)


def exchange(file: str, number: int) -> dict[str, Any]:
    """Return one recorded exchange."""
    entries = json.loads((_RECORDED / f"{file}.json").read_text())
    return next(e for e in entries if e["n"] == number)


def log(file: str, number: int) -> list[str]:
    """Return a recorded task log."""
    return [row["t"] for row in exchange(file, number)["response"]["json"]["data"]]


def lines() -> list[str]:
    """Return every line of every recorded task log."""
    entries = [
        entry
        for path in sorted(_RECORDED.glob("*.json"))
        for entry in json.loads(path.read_text())
        if "request" in entry
    ]
    logs = [
        entry["response"].get("json", {}).get("data")
        for entry in entries
        if "/log" in entry["request"]["path"]
    ]
    return [row["t"] for rows in logs if isinstance(rows, list) for row in rows if "t" in row]


def shape(lines: list[str]) -> list[str]:
    """Return a log with every name, number and time replaced, without the lines that come or stay
    out by chance.
    """
    shaped = []
    for line in lines:
        for pattern, replacement in _REPLACED:
            line = pattern.sub(replacement, line)
        if not _VARYING.match(line):
            shaped.append(line)
    return shaped
