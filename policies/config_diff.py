"""What differs between two kept configurations, line by line; what one of them did not read is
neither added nor removed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from policies.cluster_config import ConfigSet
from policies.config_sources import OBJECTS


class Change(StrEnum):
    """What became of a file. ``UNKNOWN``: it was read on one of the days only."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One file that differs. ``added`` and ``removed`` are lines, each behind the section that it
    stands in; ``said`` is what else there is to know, "" if nothing.
    """

    file: str
    change: Change
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    said: str = ""


def diff(old: ConfigSet, new: ConfigSet) -> list[FileDiff]:
    """Given two kept configurations, the older one first, return what differs, file by file."""
    paths = {*old.files, *new.files, *old.not_read, *new.not_read, *old.in_part, *new.in_part}
    found: list[FileDiff] = []
    for path in sorted(paths):
        before, after = old.why_not_read(path), new.why_not_read(path)
        if before is None and after is None:
            if one := _of_read(path, old, new):
                found.append(one)
        elif before is not None and after is not None:
            continue  # not_compared tells of it
        # what is said of a folder is told once, not for each file below it
        elif path in old.not_read:
            said = f"it was not read before ({before})"
            found.append(FileDiff(path, Change.UNKNOWN, said=said))
        elif path in new.not_read:
            said = f"it was not read, and may be as it was ({after})"
            found.append(FileDiff(path, Change.UNKNOWN, said=said))
    return found


def not_compared(old: ConfigSet, new: ConfigSet) -> dict[str, str]:
    """Given two kept configurations, return what both did not read, or knew in part only, by path,
    and why: what may have changed there without being seen.
    """
    both = {
        path: why
        for path in sorted({*old.not_read, *new.not_read})
        if old.why_not_read(path) is not None and (why := new.why_not_read(path)) is not None
    }
    parts = {path: why for path, why in sorted(new.in_part.items()) if path in old.in_part}
    return both | parts


def _of_read(path: str, old: ConfigSet, new: ConfigSet) -> FileDiff | None:
    """A file that both read, or found not to be there."""
    lacking = new if path not in new.files else None
    lacking = old if path not in old.files else lacking
    if lacking and path not in lacking.in_part and (why := lacking.why_in_part(path)):
        return FileDiff(path, Change.UNKNOWN, said=f"it may be there on both days ({why})")
    was, came = _lines(path, old), _lines(path, new)
    parts = old.in_part.get(path), new.in_part.get(path)
    gone, more = _more(was, came), _more(came, was)
    # a line that is missing from what was told in part only may still be there
    removed = gone if parts[1] is None else _known(gone, came)
    added = more if parts[0] is None else _known(more, was)
    said: list[str] = []
    if hidden := {section for section, _ in {*more, *gone} - {*added, *removed}}:
        said.append(
            f"shown on one of the days, and maybe there on both: {', '.join(sorted(hidden))}"
        )
    if (parts[0] is None) != (parts[1] is None):
        said.append(f"on one of the days only a part was told ({parts[0] or parts[1]})")
    if turned := was == came and old.files.get(path) != new.files.get(path):
        said.append("the same lines stand in another order")
    if not (added or removed or said):
        return None
    change = Change.CHANGED if added or removed or turned else Change.UNKNOWN
    if lacking and (added or removed):
        change = Change.ADDED if lacking is old else Change.REMOVED
    return FileDiff(
        path,
        change,
        tuple(line for _, line in added),
        tuple(line for _, line in removed),
        "; ".join(said),
    )


Line = tuple[str, str]  # the section that it stands in, and how it is shown


def _lines(path: str, kept: ConfigSet) -> list[Line]:
    found, section = [], ""
    for line in kept.files.get(path, "").split("\n"):
        if line.startswith("\t"):
            found.append((section, f"{section}: {line[1:]}"))
        elif line:
            # an object has no sections: each of its keys may be told or not
            section = line.partition(":")[0] if path in OBJECTS else line
            found.append((section, line))
    # in which order PVE told them says nothing
    return sorted(found)


def _more(these: list[Line], those: list[Line]) -> list[Line]:
    """Those of these lines that do not stand among those, or not as often."""
    return sorted((Counter(these) - Counter(those)).elements())


def _known(lines: list[Line], those: list[Line]) -> list[Line]:
    """Those of the lines that stand in a section of which those, a part only, know."""
    sections = {section for section, _ in those}
    return [line for line in lines if line[0] in sections]
