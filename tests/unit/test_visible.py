"""Foreign text is shown as what it is: nothing in it acts, hides or reorders, and JSON stays
JSON.
"""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.visible import json_text, one_line, visible

ACTING = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def test_every_control_format_and_separator_character_of_unicode_is_written_out() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in ACTING and character not in "\n\t":
            assert visible(character).isascii() and visible(character).isprintable(), hex(code)


@pytest.mark.parametrize(
    "text",
    ["Débian n° 5", "日本語", "naïve – “quoted” …", "12 GiB", "C:\\x", "😀\ufe0f", "a\nb\tc"],
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_escapes_are_written_as_python_writes_them() -> None:
    assert (
        visible("\x1b[31m\x9b2J\u202e\U000e0041\r\x7f") == r"\x1b[31m\x9b2J\u202e\U000e0041\x0d\x7f"
    )
    assert one_line("a\nb\tc\x07") == r"a\nb\tc\x07"


@pytest.mark.parametrize("hidden", ["\u3164", "\u115f", "\u034f", "\ufe00", "\U000e0100"])
def test_letters_that_are_drawn_as_nothing_are_shown_too(hidden: str) -> None:
    assert visible(f"web{hidden}").startswith("web\\")


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_that_was_made_visible_changes_once_more(text: str) -> None:
    once = visible(text)
    assert visible(once) == once
    once.encode()


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda of: st.lists(of) | st.dictionaries(st.text(), of),
    )
)
def test_json_acts_on_no_terminal_and_is_read_back_as_it_was(value: object) -> None:
    plain, told = json_text(value, ascii=True), json_text(value, indent=2)
    assert plain.isascii() and json.loads(plain) == value
    assert not [c for c in told if unicodedata.category(c) in ACTING and c != "\n"]
    assert json.loads(told) == value


@pytest.mark.slow
def test_half_a_surrogate_pair_is_no_character_and_is_replaced_in_json() -> None:
    assert json.loads(json_text({"file": "a\udcff"})) == {"file": "a\ufffd"}
