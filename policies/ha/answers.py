"""Answers with a third value: None is what could not be told, and it never counts as yes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that speaks against a yes: surely (``surely``), or because it could not be read.
    ``action`` is what would mend it, "" where that is plain.
    """

    why: str
    surely: bool = True
    action: str = ""


def every(answers: Iterable[bool | None]) -> bool | None:
    """Given answers, return whether all are yes: one no is enough for no, else one None for
    None.
    """
    given = list(answers)
    return False if False in given else None if None in given else True


def any_of(answers: Iterable[bool | None]) -> bool | None:
    """Given answers, return whether one is yes; else None if one could not be told."""
    given = list(answers)
    return True if True in given else None if None in given else False


def without(doubts: Iterable[Doubt]) -> bool | None:
    """Given what speaks against a yes, return the answer."""
    return every(False if one.surely else None for one in doubts)
