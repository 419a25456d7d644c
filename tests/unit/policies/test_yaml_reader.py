"""A value of a policy knows where it stands, and says in full what is wrong with it and what is
allowed there.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from policies.model import PolicyError
from policies.yaml_reader import Section, Value, read

DAY = 86400


def value(text: str) -> Value:
    """The value that stands under ``key`` in line 2."""
    return read(f"# a policy\nkey: {text}\n", "x.yaml").entries("a mapping")["key"][1]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(PolicyError) as refused:
        call()
    return str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "x.yaml:1: the policy is empty; allowed: a mapping with at least `site: NAME`"),
        (
            "a: b\n---\nc: d",
            "x.yaml:2: this is not YAML: expected a single document in the stream but found "
            "another document",
        ),
        (
            "a: [",
            "x.yaml:1: this is not YAML: while parsing a flow node expected the node content, but "
            "found '<stream end>'",
        ),
        (
            "a: 'b\n\n",
            "x.yaml:3: this is not YAML: while scanning a quoted scalar found unexpected end of "
            "stream",
        ),
        (
            "a: \x07",
            "x.yaml:1: this is not YAML: unacceptable character #x0007: special characters are "
            "not allowed",
        ),
        ("[" * 2000, "x.yaml:1: this is not YAML: maximum recursion depth exceeded"),
    ],
)
def test_what_is_no_policy_at_all_is_told_with_its_line(text: str, said: str) -> None:
    assert refusal(lambda: read(text, "x.yaml")).startswith(said)


def test_a_value_knows_its_line_its_name_and_what_it_is() -> None:
    root = read("a: 1\nb:\n  c: [x, y]\n  d:\n", "x.yaml")
    assert (root.line, root.path, root.is_mapping, root.is_list, root.is_null) == (
        1,
        "the policy",
        True,
        False,
        False,
    )
    b = root.entries("x")["b"][1]
    key, c = b.entries("x")["c"]
    assert (b.path, c.path, key.path, c.line, key.line) == ("b", "b.c", "b.c", 3, 3)
    assert (c.is_mapping, c.is_list, c.is_null) == (False, True, False)
    assert [(one.path, one.text()) for one in c.items("x")] == [("b.c[1]", "x"), ("b.c[2]", "y")]
    assert b.entries("x")["d"][1].is_null and not root.entries("x")["a"][1].is_null
    assert (
        str(c.wrong("it is odd", "what is even"))
        == "x.yaml:3: b.c: it is odd; allowed: what is even"
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "nothing"),
        ("null", "nothing"),
        ("''", "nothing"),
        ("'  '", "nothing"),
        ("[a]", "a list"),
        ("{a: b}", "a mapping"),
    ],
)
def test_where_a_text_is_wanted_nothing_a_list_and_a_mapping_are_told_apart(
    text: str, kind: str
) -> None:
    assert (
        refusal(lambda: value(text).text())
        == f"x.yaml:2: key: {kind} is written here; allowed: text"
    )


def test_a_text_is_read_as_it_was_written() -> None:
    assert [value(text).text() for text in ("21:00", "no", "'null '", "0105")] == [
        "21:00",
        "no",
        "null ",
        "0105",
    ]
    assert value("abc").matching(r"[a-c]+", "x") == "abc"
    assert (
        refusal(lambda: value("abcd").matching(r"[a-c]+", "a to c"))
        == "x.yaml:2: key: 'abcd'; allowed: a to c"
    )


def test_a_choice_is_one_of_those_or_the_nearest_is_proposed() -> None:
    choices = ("keep-all", "keep-last")
    assert value("keep-last").choice(choices) == "keep-last"
    said = (
        "x.yaml:2: key: 'KEEP_LAST' is unknown (did you mean 'keep-last'?); allowed: keep-all, "
        "keep-last"
    )
    assert refusal(lambda: value("KEEP_LAST").choice(choices)) == said
    assert "did you mean 'a-b-c-d'?" in refusal(lambda: value("A_B_C_D").choice(("a-b-c-d",)))
    assert (
        refusal(lambda: value("zzz").choice(choices))
        == "x.yaml:2: key: 'zzz' is unknown; allowed: keep-all, keep-last"
    )


def test_a_whole_number_may_be_the_least_and_the_most() -> None:
    assert [value(text).integer(-3, 7) for text in ("-3", "0", "7", "007")] == [-3, 0, 7, 7]
    allowed = "allowed: a whole number from -3 to 7 (MiB)"
    assert (
        refusal(lambda: value("8").integer(-3, 7, "(MiB)"))
        == f"x.yaml:2: key: 8 is out of range; {allowed}"
    )
    assert (
        refusal(lambda: value("-4").integer(-3, 7, "(MiB)"))
        == f"x.yaml:2: key: -4 is out of range; {allowed}"
    )
    for text in ("1.5", "1e3", "9" * 16, "+1", "--1"):
        assert f"'{text}' is not a whole number" in refusal(
            lambda text=text: value(text).integer(-3, 7)  # type: ignore[misc]
        )
    assert refusal(lambda: value("x").integer(1, 2)).endswith("allowed: a whole number from 1 to 2")


def test_true_and_false_have_three_words_each() -> None:
    assert [value(text).boolean() for text in ("true", "Yes", "ON", "false", "No", "off")] == [
        True
    ] * 3 + [False] * 3
    assert (
        refusal(lambda: value("1").boolean())
        == "x.yaml:2: key: '1' is neither true nor false; allowed: true or false"
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("1m", 60),
        ("1h", 3600),
        ("1d", DAY),
        ("1w", 7 * DAY),
        ("1h30m5s", 5405),
        ("36600d", 36600 * DAY),
    ],
)
def test_a_duration_has_units_and_lasts_at_most_a_hundred_years(text: str, seconds: int) -> None:
    assert value(text).duration() == seconds


@pytest.mark.parametrize(
    "text", ["0s", "0d0h", "36601d", "5", "5y", "1h 30m", "-5s", "1.5h", "9999999999s", "h"]
)
def test_what_is_no_duration_is_told_so(text: str) -> None:
    allowed = "allowed: a number with a unit (s, m, h, d, w), such as 90s, 15m, 24h, 7d"
    assert (
        refusal(lambda: value(text).duration())
        == f"x.yaml:2: key: {text!r} is not a duration; {allowed}"
    )


def test_what_another_reader_refuses_is_told_on_one_line_with_its_place() -> None:
    def reader(text: str) -> str:
        raise PolicyError(f"{text} is odd.\nvery odd.")

    assert refusal(lambda: value("a").checked(reader)) == "x.yaml:2: key: a is odd., very odd"
    assert (
        refusal(lambda: value("a").checked(reader, "even"))
        == "x.yaml:2: key: a is odd., very odd; allowed: even"
    )
    assert value("a").checked(str.upper) == "A"
    assert refusal(lambda: value("a b X").checked(reader)).startswith(
        "x.yaml:2: key: a b X is odd."
    )


def test_only_the_full_stop_of_another_readers_sentence_is_left_out() -> None:
    def reader(text: str) -> str:
        raise PolicyError("it must be X.")

    assert refusal(lambda: value("a").checked(reader)) == "x.yaml:2: key: it must be X"


def test_a_list_and_a_mapping_are_asked_for_by_name_and_a_key_stands_once() -> None:
    assert (
        refusal(lambda: value("a").items("a list of x"))
        == "x.yaml:2: key: this is not a list; allowed: a list of x"
    )
    assert (
        refusal(lambda: value("a").entries("a map of x"))
        == "x.yaml:2: key: this is not a mapping; allowed: a map of x"
    )
    twice = read("a: 1\nb: 2\na: 3\n", "x.yaml")
    said = (
        "x.yaml:3: the policy: the key 'a' is written twice, first in line 1; allowed: each key "
        "once"
    )
    assert refusal(lambda: twice.entries("x")) == said
    assert "a list is written here; allowed: a plain key" in refusal(
        lambda: read("? [a]\n: b\n", "x.yaml").entries("x")
    )


def test_a_section_knows_its_keys_and_what_is_missing() -> None:
    root = read("rpo: 1d\nrto:\n", "x.yaml")
    section = root.section("rpo", "rto", "depth")
    assert (
        isinstance(section, Section) and section.get("rto") is None and section.get("depth") is None
    )
    assert (
        section.take("rpo", Value.duration, 5) == DAY
        and section.take("rto", Value.duration, 5) == 5
    )
    assert section.need("rpo", "how much").text() == "1d"
    assert (
        refusal(lambda: section.need("rto", "how long"))
        == "x.yaml:1: the policy: the key 'rto' is missing; allowed: rto: how long"
    )
    said = "x.yaml:2: rto: the key 'rto' is unknown (did you mean 'rpo'?); allowed: rpo, depth"
    assert refusal(lambda: root.section("rpo", "depth")) == said
    assert refusal(lambda: value("a").section("b", "c")).endswith(
        "this is not a mapping; allowed: a mapping of b, c"
    )
