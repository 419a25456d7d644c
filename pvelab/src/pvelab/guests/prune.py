"""Which archives PVE's retention would remove: the lab's own reading of pve-facts 6, checked
against PVE's vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

RULES = ("keep-last", "keep-hourly", "keep-daily", "keep-weekly", "keep-monthly", "keep-yearly")
Mark = str
_PERIODS: Mapping[str, Callable[[datetime], object]] = {
    "keep-hourly": lambda t: (t.hour, t.day, t.month, t.year),
    "keep-daily": lambda t: (t.day, t.month, t.year),
    "keep-weekly": lambda t: t.isocalendar()[:2],
    "keep-monthly": lambda t: (t.month, t.year),
    "keep-yearly": lambda t: t.year,
}


@dataclass(frozen=True)
class Candidate:
    """An archive as pruning sees it: group None (no standard name) is out of every group; ``ctime``
    in epoch seconds.
    """

    group: tuple[str, int] | None
    ctime: int
    protected: bool = False


def parse_keep(text: str) -> dict[str, int]:
    """Given a checked property string (``keep-last=3,keep-daily=7``), return its positive rules;
    empty means keep everything.
    """
    pairs = (part.split("=", 1) for part in text.split(",") if part)
    return {key: int(value) for key, value in pairs if key in RULES and int(value) > 0}


def prune(archives: Sequence[Candidate], keep: Mapping[str, int], tz: str) -> list[Mark]:
    """Return a mark for each archive, in the same order: ``keep``, ``remove``, ``protected`` or
    ``renamed``.
    """
    marks: list[Mark | None] = [
        "protected" if a.protected else "renamed" if a.group is None else None for a in archives
    ]
    groups: dict[object, list[int]] = {}
    for index, archive in enumerate(archives):
        if marks[index] is None:
            groups.setdefault(archive.group, []).append(index)
    zone = ZoneInfo(tz)
    for members in groups.values():
        members.sort(key=lambda i: archives[i].ctime, reverse=True)
        for rule in filter(keep.get, RULES):
            times = [archives[index].ctime for index in members]
            ids: list[object] = (
                [*times]
                if rule == "keep-last"
                else [_PERIODS[rule](datetime.fromtimestamp(time, zone)) for time in times]
            )
            # a period of which an earlier rule keeps an archive needs none by this one
            represented = {
                id for index, id in zip(members, ids, strict=True) if marks[index] == "keep"
            }
            taken: set[object] = set()
            for index, id in zip(members, ids, strict=True):
                if marks[index] is not None or id in represented:
                    continue
                if id in taken:
                    marks[index] = "remove"
                elif len(taken) == keep[rule]:
                    break
                else:
                    taken.add(id)
                    marks[index] = "keep"
    return [mark or ("remove" if keep else "keep") for mark in marks]
