"""What a vzdump task log says about one guest: its warnings, its consistency, the disks that were left out.

The task's exit status speaks of the whole task, and ``job errors`` hides good guests, so the log is read guest by guest.
Line forms: pve-manager PVE/VZDump.pm and qemu-server PVE/VZDump/QemuServer.pm (PVE 7.2 to 9.2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_START = re.compile(r"^INFO: Starting Backup of VM (\d+) ")
_FAILED = re.compile(r"^ERROR: Backup of VM (\d+) failed - (.*)$")
_EXCLUDED = re.compile(r"^INFO: exclude disk '([^']+)'")
_MODE = re.compile(r"^INFO: (?:backup mode: (\w+)|status = (\w+))")
_LEFT_OUT_MOUNT = re.compile(r"^INFO: excluding .*mount point (\S+)")


class Consistency(StrEnum):
    """What state of the file systems an archive holds."""

    FROZEN = "frozen"
    CRASH = "crash-consistent"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DumpReport:
    """One guest's part of a vzdump log. ``failure`` is PVE's text when its backup failed, else None."""

    seen: bool
    consistency: Consistency
    excluded: tuple[str, ...]
    warnings: tuple[str, ...]
    failure: str | None


def read(log: Sequence[str], vmid: int) -> DumpReport:
    """Given a task's log lines and a VMID, return what they say about that guest."""
    lines, seen = _section(log, vmid)
    failure = next((m[2] for line in log if (m := _FAILED.match(line)) and int(m[1]) == vmid), None)
    excluded = tuple(m[1] for line in lines if (m := _EXCLUDED.match(line) or _LEFT_OUT_MOUNT.match(line)))
    warnings = tuple(line.removeprefix("WARN: ") for line in lines if line.startswith("WARN: "))
    return DumpReport(seen, _consistency(lines), excluded, warnings, failure)


def _section(log: Sequence[str], vmid: int) -> tuple[list[str], bool]:
    lines: list[str] = []
    current: int | None = None
    for line in log:
        if started := _START.match(line):
            current = int(started[1])
        if current == vmid:
            lines.append(line)
    return lines, bool(lines)


def _consistency(lines: Sequence[str]) -> Consistency:
    text = "\n".join(lines)
    if "issuing guest-agent 'fs-thaw' command" in text and "fs-freeze' failed" not in text:
        return Consistency.FROZEN
    modes = [m[1] or m[2] for line in lines if (m := _MODE.match(line))]
    if "stop" in modes or "stopped" in modes:
        return Consistency.STOPPED
    return Consistency.CRASH if modes else Consistency.UNKNOWN
