"""What decisions say, in English and French: the sentences in ``en`` and ``fr``, and how values are
written into them.

Both catalogues have the same keys, and each key the same placeholders (a test holds it).
"""

from __future__ import annotations

from policies.i18n.formats import (
    ENGLISH,
    FRENCH,
    LANGUAGES,
    day,
    duration,
    language_of,
    moment,
    names,
    size,
    sizes,
    typeset,
)
from policies.i18n.sentences import all_rendered, finding, gap, reason, rendered, title, word

__all__ = [
    "ENGLISH",
    "FRENCH",
    "LANGUAGES",
    "all_rendered",
    "day",
    "duration",
    "finding",
    "gap",
    "language_of",
    "moment",
    "names",
    "reason",
    "rendered",
    "size",
    "sizes",
    "title",
    "typeset",
    "word",
]
