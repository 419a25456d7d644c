"""How languages write durations, sizes, times and lists, and French its no-break spaces."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from zoneinfo import ZoneInfo

from policies.amounts import apart

ENGLISH, FRENCH = "en", "fr"
LANGUAGES = (ENGLISH, FRENCH)
_UNITS = {
    ENGLISH: (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)),
    FRENCH: (("j", 86400), ("h", 3600), ("min", 60), ("s", 1)),
}
_NARROW, _WIDE = "\u202f", "\u00a0"


def language_of(name: str) -> str:
    """Given a language's name, return it if the tables have it, else English."""
    return name if name in LANGUAGES else ENGLISH


def duration(seconds: float, language: str) -> str:
    """Given seconds, return their two largest units, such as ``1 d 2 h``; below ten seconds with
    one decimal.
    """
    if 0 < seconds < 10:
        return _decimal(f"{seconds:.1f} s", language)
    # rounded before it is divided: 119.6 s is 2 min, not 1 min 60 s
    rest, units = int(abs(seconds) + 0.5), _UNITS[language_of(language)]
    largest = next((place for place, (_, size) in enumerate(units) if rest >= size), len(units) - 1)
    parts: list[str] = []
    for unit, size in units[largest : largest + 2]:
        count, rest = divmod(rest, size)
        if count or not parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts)


def sizes(language: str, *amounts: int) -> tuple[str, ...]:
    """Given bytes that one sentence compares, return each as ``size`` does, in so many digits that
    different ones differ.
    """
    return apart(*amounts, write=lambda octets, digits: size(octets, language, digits))


def size(octets: int, language: str, digits: int = 1) -> str:
    """Given bytes, return them in decimal units as PVE's own pages write them, such as ``21.5
    GB``.
    """
    value, unit = float(octets), 0
    # decimal, as PVE's own pages count: a reader compares the two
    while value >= 1000 and unit < 4:
        value, unit = value / 1000, unit + 1
    letter = "B" if language_of(language) == ENGLISH else "o"
    text = (
        f"{value:.0f} {letter}" if unit == 0 else f"{value:.{digits}f} {'kMGT'[unit - 1]}{letter}"
    )
    return _decimal(text, language)


def moment(epoch: int, timezone: str, language: str) -> str:
    """Given epoch seconds and a time zone, return local date and minute, as ``2026-03-09 21:00`` or
    ``09/03/2026 à 21:00``.
    """
    local = datetime.fromtimestamp(epoch, ZoneInfo(timezone))
    return local.strftime(
        "%d/%m/%Y à %H:%M" if language_of(language) == FRENCH else "%Y-%m-%d %H:%M"
    )


def day(text: str, language: str) -> str:
    """Given an ISO date, return it as the language writes it: ``2026-03-09``, in French
    ``09/03/2026``.
    """
    return (
        date.fromisoformat(text).strftime("%d/%m/%Y") if language_of(language) == FRENCH else text
    )


def names(items: Iterable[object]) -> str:
    """Given things, return them joined by commas."""
    return ", ".join(str(item) for item in items)


def typeset(text: str, language: str) -> str:
    """Given a sentence, return it with the no-break spaces of French typography; other languages
    come back unchanged.

    Lexique de l'Imprimerie nationale: a narrow one before ``; ! ?`` and ``%``, a full one before
    ``:`` and inside guillemets, and one between a number and its unit.
    """
    if language_of(language) != FRENCH:
        return text
    text = re.sub(r" ([;!?%])", _NARROW + r"\1", text)
    # a colon within a word is none of a sentence: that of a volid, or of a time
    text = re.sub(r" (:)(?=\s|$)", _WIDE + r"\1", text)
    text = text.replace("« ", f"«{_WIDE}").replace(" »", f"{_WIDE}»")
    return re.sub(r"(\d) (?=(?:[kMGT]?o|j|h|min|s|jours?|archives?|votes?)\b)", r"\1" + _WIDE, text)


def _decimal(text: str, language: str) -> str:
    return text.replace(".", ",") if language_of(language) == FRENCH else text
