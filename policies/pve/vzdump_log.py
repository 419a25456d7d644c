"""Read a vzdump task log about one guest: its warnings, its consistency, the disks that were left
out.

The task's exit status speaks of the whole task, and ``job errors`` hides good guests, so the log is
read guest by guest. Nor does ``TASK OK`` say that all went well: only ``WARN:`` lines are counted,
and a failed freeze or thaw is an ``ERROR:`` line. The texts and their sources: policies.pve.texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from policies.pve import texts


class Consistency(StrEnum):
    """What state of the file systems an archive holds."""

    FROZEN = "frozen"
    CRASH = "crash-consistent"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


class Freeze(StrEnum):
    """What became of the freeze. NONE: the log tells of none, as of a stopped guest or one without
    an agent.
    """

    FROZEN = "frozen"
    FAILED = "failed"
    SILENT = "agent-silent"
    OFF = "switched-off"
    BY_OTHERS = "already-frozen"
    NONE = "none"

    @property
    def tried(self) -> bool:
        """Whether the dump asked the guest to freeze, so that it may have left it frozen."""
        return self in (Freeze.FROZEN, Freeze.FAILED)


_SKIPPED = (  # what PVE says when it does not even try
    (texts.FREEZE_NO_AGENT, Freeze.SILENT),
    (texts.FREEZE_OFF, Freeze.OFF),
    (texts.FREEZE_BY_OTHERS, Freeze.BY_OTHERS),
)


@dataclass(frozen=True, slots=True)
class DumpReport:
    """One guest's part of a vzdump log. ``failure`` is PVE's text when its backup failed, else
    None.

    ``warnings`` are its lines that PVE marks WARN, and those marked ERROR that did not fail the
    backup. ``thaw_failed`` is what PVE said when the thaw failed, else None.
    """

    seen: bool
    consistency: Consistency
    excluded: tuple[str, ...]
    warnings: tuple[str, ...]
    failure: str | None
    freeze: Freeze = Freeze.NONE
    thaw_failed: str | None = None


def read(log: Sequence[str], vmid: int) -> DumpReport:
    """Given a task's log lines and a VMID, return what they say about that guest."""
    lines = _section(log, vmid)
    done = any(int(one[1]) == vmid for one in texts.GUEST_DONE.among(tuple(log)))
    failures = [one[2] for one in texts.GUEST_FAILED.among(tuple(log)) if int(one[1]) == vmid]
    # PVE's last word counts: an agent's error may run over lines that look just like it
    failure = failures[-1] if failures and not done else None
    out = (texts.DISK_EXCLUDED.search(line) or texts.MOUNT_EXCLUDED.search(line) for line in lines)
    freeze, thaw_failed = _freeze(lines)
    modes = {m[1] or m[2] for m in texts.MODE.among(tuple(lines))}
    # the mode says what was wanted, the freeze what was reached
    if freeze is Freeze.FROZEN:
        consistency = Consistency.FROZEN
    elif modes & {"stop", "stopped"}:
        consistency = Consistency.STOPPED
    else:
        consistency = Consistency.CRASH if modes else Consistency.UNKNOWN
    return DumpReport(
        bool(lines), consistency, tuple(m[1] for m in out if m), _warnings(lines, failure), failure,
        freeze, thaw_failed,
    )  # fmt: skip


def archives_begun(log: Sequence[str], vmid: int) -> tuple[str, ...]:
    """Given a task's log lines and a VMID, return the names that PVE gave to the archives of that
    guest: mostly one.
    """
    return tuple(found[1] for found in texts.ARCHIVE_BEGUN.among(_section(log, vmid)))


def _section(log: Sequence[str], vmid: int) -> list[str]:
    lines: list[str] = []
    current: int | None = None
    for line in log:
        if started := texts.GUEST_BEGINS.search(line):
            current = int(started[1])
        if current == vmid:
            lines.append(line)
    return lines


def _warnings(lines: Sequence[str], failure: str | None) -> tuple[str, ...]:
    """What PVE warned of and complained of. The reason of a failed backup is told twice, and is no
    warning; nor are the job's.
    """
    found: list[str] = []
    ended = False
    for line in lines:
        ended = ended or bool(texts.GUEST_ENDS.search(line))
        if warned := texts.WARNED.search(line):
            found.append(warned[1])
        elif not ended and (said := texts.COMPLAINED.search(line)):
            last_word = texts.GUEST_FAILED.search(line) if failure is not None else None
            found += (
                [] if said[1] == failure or (last_word and last_word[2] == failure) else [said[1]]
            )
    return tuple(found)


def _freeze(lines: Sequence[str]) -> tuple[Freeze, str | None]:
    """What became of the freeze and, if it failed, of the thaw: frozen is only what nothing was
    complained of until the thaw.
    """
    freeze, thaw_failed = Freeze.NONE, None
    tried = thawing = complained = False
    for line in lines:
        if texts.FREEZE_TRIED.search(line):
            # until the thaw is reached without a complaint
            freeze, tried, complained = Freeze.FAILED, True, False
        elif tried and texts.THAW_TRIED.search(line):
            freeze, tried, thawing = (Freeze.FAILED if complained else Freeze.FROZEN), False, True
        elif tried:
            complained = complained or bool(
                texts.COMPLAINED.search(line) or texts.WARNED.search(line)
            )
        elif thawing and thaw_failed is None and (said := texts.THAW_FAILED.search(line)):
            thaw_failed = said[1]
        else:
            freeze = next((what for text, what in _SKIPPED if text.search(line)), freeze)
    return freeze, thaw_failed
