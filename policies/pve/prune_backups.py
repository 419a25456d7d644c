"""PVE's retention option ``prune-backups``, such as ``keep-last=3,keep-daily=7``: read as PVE reads
it, refused in its words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from policies.model import PolicyError
from policies.pve import property_string


@dataclass(frozen=True, slots=True)
class Keep:
    """How many periods each rule keeps. ``keep_all`` keeps everything and stands alone."""

    keep_all: bool = False
    keep_last: int = 0
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0

    def counts(self) -> list[tuple[str, int]]:
        """Return the rules that keep anything, in the order in which they apply, by their PVE
        names.
        """
        named = [
            (field.name.replace("_", "-"), getattr(self, field.name)) for field in fields(self)[1:]
        ]
        return [(name, count) for name, count in named if count]

    def __str__(self) -> str:
        return (
            "keep-all=1"
            if self.keep_all
            else ",".join(f"{name}={count}" for name, count in self.counts())
        )

    def describe(self) -> str:
        """Return the rules in plain English, such as ``of each guest, keep 3 last, 7 daily, 4
        weekly archives``.
        """
        if self.keep_all:
            return "keep every archive"
        counts = ", ".join(f"{count} {name.removeprefix('keep-')}" for name, count in self.counts())
        return f"of each guest, keep {counts} archives"


def parse_keep(text: str) -> Keep:
    """Given a prune-backups string, return the Keep that PVE makes of it. Raise PolicyError with
    PVE's own text if refused.

    Nothing positive (no rule, or zeros only) means keep-all, as PVE has it (pve-facts 6.2).
    """
    options = property_string.parse(text)
    counts = _checked(options)
    everything = counts.pop("keep-all", 0)
    # before the contradiction: keep-all beside zeros is none (pve-facts 6.2)
    if not any(counts.values()):
        return Keep(keep_all=True)
    if everything:
        raise PolicyError("keep-all cannot be set together with other options.")
    return Keep(False, *(counts.get(field.name.replace("_", "-"), 0) for field in fields(Keep)[1:]))


def prunes(text: str) -> bool:
    """Given the retention that stands in PVE, return whether PVE would remove anything by it after
    a dump.

    One that cannot be read, such as a rule of a newer PVE, counts as one that removes: then it is
    overruled, and told.
    """
    try:
        return not parse_keep(text).keep_all
    except PolicyError:
        return True


def _checked(options: dict[str, str]) -> dict[str, int]:
    """Given options, return their values. Raise PolicyError naming every wrong one, as PVE's schema
    check does.
    """
    allowed = {field.name.replace("_", "-") for field in fields(Keep)}
    found: dict[str, int] = {}
    wrong: list[str] = []
    for name, value in sorted(options.items()):
        kind = "boolean" if name == "keep-all" else "integer"
        number: int | None = None
        if name == "keep-all":
            number = property_string.boolean(value)
        elif re.fullmatch(r"[+-]?[0-9]+", value):
            # a longer number keeps no more archives, and int() refuses the very long
            digits = value.lstrip("+-0")[:18] or "0"
            number = -int(digits) if value.startswith("-") else int(digits)
        if name not in allowed:
            wrong.append(
                f"{name}: property is not defined in schema and the schema does not allow "
                "additional properties"
            )
        elif number is None:
            wrong.append(f"{name}: type check ('{kind}') failed - got '{value}'")
        elif number < 0:
            wrong.append(f"{name}: value must have a minimum value of 0")
        else:
            found[name] = number
    if wrong:
        raise PolicyError("\n".join(["format error", *wrong]))
    return found
