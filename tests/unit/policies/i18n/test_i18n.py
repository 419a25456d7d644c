"""How durations, sizes and times are written, and the spaces of French typography."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import i18n
from policies.compliance.findings import RULES
from policies.i18n.sentences import (
    MAX_NAMED,
    Day,
    Duration,
    Joined,
    Listed,
    Moment,
    Sentence,
    Size,
    Steps,
    Word,
)


@pytest.mark.parametrize(
    ("seconds", "english", "french"),
    [
        (0, "0 s", "0 s"),
        (4.25, "4.2 s", "4,2 s"),
        (0.5, "0.5 s", "0,5 s"),
        (9.9, "9.9 s", "9,9 s"),
        (10, "10 s", "10 s"),
        (41.5, "42 s", "42 s"),
        (60, "1 min", "1 min"),
        (3599.7, "1 h", "1 h"),
        (3661, "1 h 1 min", "1 h 1 min"),
        (86400 + 7200 + 60, "1 d 2 h", "1 j 2 h"),
        (86400 + 60, "1 d", "1 j"),
        (30 * 86400, "30 d", "30 j"),
    ],
)
def test_durations_are_their_two_largest_units(seconds: float, english: str, french: str) -> None:
    assert (i18n.duration(seconds, "en"), i18n.duration(seconds, "fr")) == (english, french)


@given(st.floats(0, 10**9))
def test_a_duration_is_never_empty_and_never_more_than_two_parts(seconds: float) -> None:
    assert 2 <= len(i18n.duration(seconds, "en").split()) <= 4


def test_sizes_are_decimal_with_the_languages_own_unit_and_comma() -> None:
    assert (i18n.size(21_474_836_480, "en"), i18n.size(21_474_836_480, "fr")) == (
        "21.5 GB",
        "21,5 Go",
    )
    assert (i18n.size(512, "en"), i18n.size(5 * 10**15, "en")) == ("512 B", "5000.0 TB")


def test_moments_are_local_in_summer_and_in_winter() -> None:
    assert i18n.moment(1_773_086_400, "Europe/Paris", "en") == "2026-03-09 21:00"
    assert i18n.moment(1_784_055_600, "Europe/Paris", "fr") == "14/07/2026 à 21:00"


def test_french_gets_its_no_break_spaces_and_english_and_addresses_are_left_alone() -> None:
    text = "Attention : 85 % de 12 Go ; dit « jamais » !"
    assert i18n.typeset(text, "fr") == (
        "Attention\u00a0: 85\u202f% de 12\u00a0Go\u202f; dit «\u00a0jamais\u00a0»\u202f!"
    )
    assert i18n.typeset(text, "en") == text
    assert (
        i18n.typeset("http://192.168.10.4:80/ local:backup/x", "fr")
        == "http://192.168.10.4:80/ local:backup/x"
    )


def test_an_unknown_language_is_english() -> None:
    assert i18n.language_of("de") == "en" and i18n.word("none", "de") == "none"


def test_days_are_written_as_the_language_writes_them_and_an_unknown_one_is_english() -> None:
    assert [i18n.day("2026-03-09", language) for language in ("en", "fr", "de")] == [
        "2026-03-09",
        "09/03/2026",
        "2026-03-09",
    ]


def test_what_is_not_known_is_told_with_what_it_is_of() -> None:
    assert all("clovis" in i18n.gap("node", "clovis", language) for language in ("en", "fr"))


def listed(items: Sequence[object], language: str = "en") -> str:
    return str(i18n.rendered(Listed(items), language, "UTC"))


def test_of_very_many_only_the_first_are_named_and_the_rest_is_counted() -> None:
    said = listed(range(MAX_NAMED + 3))
    assert said.endswith(f"{MAX_NAMED - 1} and 3 more")
    assert listed([1, 2], "fr") == "1, 2"
    assert listed(range(20)).endswith(", 19") and listed(range(21)).endswith(", 19 and 1 more")


@pytest.mark.parametrize("language", ["en", "fr", "de"])
def test_each_value_is_written_as_the_language_writes_it(language: str) -> None:
    def told(value: object) -> object:
        return i18n.rendered(value, language, "Europe/Paris")

    assert told(Moment(1_773_086_400)) == i18n.moment(1_773_086_400, "Europe/Paris", language)
    assert told(Duration(90061)) == i18n.duration(90061, language)
    assert told(Day("2026-03-09")) == i18n.day("2026-03-09", language)
    assert told(Word("none")) == i18n.word("none", language)
    assert (told(Size(1_020_000_000)), told(Size(1_020_000_000, (1_000_000_000,)))) == (
        i18n.size(1_020_000_000, language),
        i18n.sizes(language, 1_020_000_000, 1_000_000_000)[0],
    )
    assert told((1, Word("none"))) == f"1, {i18n.word('none', language)}"
    assert told(("a", "b")) == "a, b" and told(()) == "" and told("a") == "a" and told(None) is None
    inner = Sentence("down.reach", {"nodes": ("a", "b")})
    assert told(inner) == i18n.reason("down.reach", language, nodes="a, b")
    assert told(Joined((inner, "x"))) == f"{told(inner)} x"
    assert told(Steps((inner, "x"))) == f"1. {told(inner)}\n2. x"


def test_each_finding_has_a_title_in_both_languages() -> None:
    told = [(i18n.title(rule.id, "en"), i18n.title(rule.id, "fr")) for rule in RULES]
    assert all(english and french and english != french for english, french in told)
    assert len({english for english, _ in told}) == len({french for _, french in told}) == len(told)
    assert i18n.title("archive-changed", "fr") == "Archive modifiée"
