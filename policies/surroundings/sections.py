"""Reads the text of a kept configuration back: sections, their fields, and which of these may stand
in a command.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from policies.surroundings.model import plain


@dataclass(frozen=True, slots=True)
class Section:
    """One row of a list: ``word: name`` and its fields, each with its lines."""

    word: str
    name: str
    fields: Mapping[str, tuple[str, ...]]

    def get(self, key: str) -> str:
        """Return a field's value, "" if it has none."""
        return "\n".join(self.fields.get(key, ()))

    def listed(self, key: str) -> tuple[str, ...]:
        """Return the members of a field that is a list."""
        return split(self.get(key))


@dataclass(frozen=True, slots=True)
class Taken:
    """The fields of a section that go into a call; those that do not and may be missing there
    (``by_hand``); those without which the call would do something else (``lost``).
    """

    params: tuple[tuple[str, str], ...]
    by_hand: tuple[str, ...]
    lost: tuple[str, ...]


def sections(text: str) -> tuple[Section, ...]:
    """Given the text of a list, return its rows."""
    found: list[tuple[str, str, dict[str, list[str]]]] = []
    for line in text.split("\n"):
        if line.startswith("\t") and found:
            key, _, value = line[1:].partition(" ")
            found[-1][2].setdefault(key, []).append(value)
        elif line and not line.startswith("\t"):
            word, _, name = line.partition(": ")
            found.append((word, name, {}))
    return tuple(
        Section(word, name, {key: tuple(lines) for key, lines in fields.items()})
        for word, name, fields in found
    )


def pairs(text: str) -> dict[str, str]:
    """Given the text of an object, return its fields; notes are left out."""
    found = (line.partition(":") for line in text.split("\n") if not line.startswith("#"))
    return {key: value.removeprefix(" ") for key, colon, value in found if colon}


def split(text: str) -> tuple[str, ...]:
    """Given a list as PVE writes it, return its members."""
    return tuple(one for one in re.split(r"[,;\s]+", text) if one)


def take(
    fields: Mapping[str, str],
    allowed: Collection[str],
    free: Collection[str] = (),
    ignored: Collection[str] = (),
) -> Taken:
    """Given a row's fields, those that a call takes, those of them without which it does the same
    but for what people read, and those that are no part of it, return what goes into the call.
    """
    params: list[tuple[str, str]] = []
    by_hand: list[str] = []
    lost: list[str] = []
    for key, value in fields.items():
        if key in ignored or not value:
            continue
        if key in allowed and plain(value):
            params.append((key, value))
        else:
            (by_hand if key in free or key not in allowed else lost).append(key)
    return Taken(tuple(params), tuple(by_hand), tuple(lost))


def values(section: Section) -> dict[str, str]:
    """Given a row, return its fields, each as one text."""
    return {key: section.get(key) for key in section.fields}


def named(rows: Iterable[Section], name: str) -> Section | None:
    """Given rows and a name, return the row of that name, None if there is none."""
    return next((row for row in rows if row.name == name), None)
