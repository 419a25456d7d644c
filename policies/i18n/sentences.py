"""Look up a sentence in a language's catalogue and fill in its values.

Decisions name a sentence by its key and give plain values; whatever a language writes in its own
way (a time, a size, a word, a sentence within the sentence) is one of the values of this module,
and is written out by ``rendered``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType

from policies.i18n import en, formats, fr
from policies.i18n.formats import ENGLISH, FRENCH, language_of, typeset

MAX_NAMED = 20  # names that one sentence lists
_CATALOGUES = {ENGLISH: en, FRENCH: fr}


@dataclass(frozen=True, slots=True)
class Moment:
    """Epoch seconds, told as the site's local time."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Duration:
    """A number of seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes. ``beside``: the other amounts of the sentence, from which it must be told
    apart.
    """

    octets: int
    beside: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Day:
    """An ISO date."""

    iso: str


@dataclass(frozen=True, slots=True)
class Word:
    """A key of WORDS."""

    key: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A key of REASONS and its values."""

    key: str
    values: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Listed:
    """Things in one line; of very many only the first, and how many more there are."""

    items: Sequence[object]


@dataclass(frozen=True, slots=True)
class Joined:
    """Values one after another, with a blank between them."""

    items: Sequence[object]


@dataclass(frozen=True, slots=True)
class Steps:
    """What to do one after another: a numbered line each."""

    items: Sequence[object]


def rendered(value: object, language: str, timezone: str) -> object:
    """Given a value, the language and the time zone, return it as the language writes it; plain
    values come back as they are.
    """
    match value:
        case Moment(epoch):
            return formats.moment(epoch, timezone, language)
        case Duration(seconds):
            return formats.duration(seconds, language)
        case Size(octets, beside):
            # Amounts that one sentence compares get as many digits as tell them apart.
            return formats.sizes(language, octets, *beside)[0]
        case Day(iso):
            return formats.day(iso, language)
        case Word(key):
            return word(key, language)
        case Sentence(key, values):
            return reason(key, language, **all_rendered(values, language, timezone))
        case Listed(items):
            shown = formats.names(rendered(item, language, timezone) for item in items[:MAX_NAMED])
            more = len(items) - MAX_NAMED
            return shown if more <= 0 else f"{shown} {reason('more', language, count=more)}"
        case Joined(items):
            return " ".join(str(rendered(item, language, timezone)) for item in items)
        case Steps(items):
            return "\n".join(
                f"{number}. {rendered(item, language, timezone)}"
                for number, item in enumerate(items, 1)
            )
        case tuple():
            return formats.names(rendered(item, language, timezone) for item in value)
    return value


def all_rendered(values: Mapping[str, object], language: str, timezone: str) -> dict[str, object]:
    """Given a sentence's values by name, return them as the language writes them."""
    return {name: rendered(value, language, timezone) for name, value in values.items()}


def word(key: str, language: str) -> str:
    """Given a key of WORDS, return the word."""
    return str(_catalogue(language).WORDS[key])


def reason(key: str, language: str, **values: object) -> str:
    """Given a key of REASONS and its values, return the sentence."""
    return _filled(_catalogue(language).REASONS[key], language, values)


def finding(key: str, language: str, **values: object) -> tuple[str, str]:
    """Given a key of FINDINGS and its values, return detail and action."""
    detail, action = _catalogue(language).FINDINGS[key]
    return _filled(detail, language, values), _filled(action, language, values)


def title(id: str, language: str) -> str:
    """Given a finding's id, return what it is called in a heading."""
    return _filled(_catalogue(language).TITLES[id], language, {})


def gap(kind: str, subject: str, language: str) -> str:
    """Given a gap, return what it is that is not known."""
    return _filled(_catalogue(language).GAPS[kind], language, {"subject": subject})


def _catalogue(language: str) -> ModuleType:
    return _CATALOGUES[language_of(language)]


def _filled(template: str, language: str, values: Mapping[str, object]) -> str:
    return typeset(template.format(**values), language)
