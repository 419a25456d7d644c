"""What came back from a target is held against the catalog: what may have changed since is no
difference, and what may not is one.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.model import CopyTarget, Directory, SnapshotTrial, TrialState
from policies.snapshot_trial import (
    BUNDLE,
    CATALOG,
    DAY,
    EACH,
    KINDS,
    TOO_OLD,
    Compared,
    Fetched,
    Row,
    compare,
    compare_all,
    decide,
    due,
)

NOW = 1_800_000_000
USB, NAS = (CopyTarget(name, Directory(f"/mnt/{name}")) for name in ("usb", "nas"))
BACK = Fetched("backupsvc-catalog-x", NOW - 60, 9, "ab" * 32)
ROWS = [Row("a", 1, "fa", NOW - 9 * DAY, "1", "za"), Row("b", 2, "fb", NOW - DAY)]


def trial(target: CopyTarget = USB, what: str = CATALOG, **other: object) -> SnapshotTrial:
    found = SnapshotTrial(
        target.name, f"/mnt/{target.name}", NOW, what, "f", NOW, 1, "ab", TrialState.COMPARED, "", 1
    )
    return replace(found, **other)  # type: ignore[arg-type]


def test_a_snapshot_of_a_catalog_that_went_on_is_the_same() -> None:
    since = [*ROWS, Row("c", 3, "fc", NOW - 10)]
    since[0] = replace(since[0], version="2", final="other")  # another file under its name
    since[1] = replace(since[1], final="ended")
    found = compare("operations", ROWS, since, NOW - 60)
    assert found.same and found.count == 2 and len(found.digest) == 64
    assert str(found) == f"operations: 2, digest {found.digest[:16]}"
    assert compare("operations", ROWS[::-1], since, NOW).digest == found.digest


@pytest.mark.parametrize(
    ("past", "live", "lacking", "strange", "differing"),
    [
        (ROWS[1:], ROWS, "a", "", ""),  # a row in the midst of it is missing
        ([], ROWS, "a", "", ""),  # its end is cut off: only the last day's may be younger than it
        (ROWS, ROWS[:1], "", "b", ""),  # the catalog knows it no more
        (ROWS, [replace(ROWS[0], frozen="other"), ROWS[1]], "", "", "a"),
        (ROWS, [replace(ROWS[0], final="other"), ROWS[1]], "", "", "a"),
        ([], [replace(ROWS[0], at=None)], "", "", ""),  # when it was written is not known
    ],
)
def test_what_could_not_change_and_did_is_a_difference(
    past: list[Row], live: list[Row], lacking: str, strange: str, differing: str
) -> None:
    found = compare("archives", past, live, NOW)
    assert (found.lacking, found.strange, found.differing) == (
        tuple(lacking),
        tuple(strange),
        tuple(differing),
    )
    assert found.same is not bool(lacking + strange + differing)
    for key, words in (
        (lacking, "1 missing in the snapshot (a)"),
        (strange, "1 unknown to the catalog (b)"),
        (differing, "1 with other content (a)"),
    ):
        assert (words in str(found)) is bool(key)


def test_each_subject_is_compared() -> None:
    found = compare_all({"proofs": ROWS, "archives": []}, {"proofs": ROWS, "archives": []}, NOW)
    assert [(one.subject, one.count, one.same) for one in found] == [
        ("proofs", 2, True),
        ("archives", 0, True),
    ]
    assert str(found[1]) == "archives: 0"


GOOD, BAD = Compared("proofs", 2, "ab" * 32), Compared("proofs", 2, "ab" * 32, ("a",))
STRANGE, OTHER = replace(GOOD, strange=("a",)), replace(GOOD, differing=("a",))
AHEAD = replace(BACK, taken_at=NOW + 60)


@pytest.mark.parametrize(
    ("back", "recorded", "inside", "state", "said"),
    [
        (None, None, None, "missing", "there is none"),
        (
            BACK,
            "cd" * 32,
            None,
            "altered",
            "abababababababab came back, cdcdcdcdcdcdcdcd was written",
        ),
        (BACK, BACK.sha256, "no catalog", "unreadable", "no catalog"),
        (BACK, BACK.sha256, [GOOD, BAD], "differs", "1 missing in the snapshot (a)"),
        (BACK, None, None, "unknown", "nothing says what was written"),
        (BACK, BACK.sha256, None, "sealed", "its inside was not seen"),
        (BACK, None, [GOOD], "compared", "proofs: 2"),
        (BACK, BACK.sha256, [GOOD], "compared", "proofs: 2"),
        (replace(BACK, taken_at=NOW - TOO_OLD), BACK.sha256, [GOOD], "compared", "proofs: 2"),
        (replace(BACK, taken_at=NOW - TOO_OLD - 1), BACK.sha256, [GOOD], "old", "proofs: 2"),
        (replace(BACK, taken_at=NOW - TOO_OLD - 1), BACK.sha256, None, "old", "not of these days"),
        # its clock was ahead, so the catalog went on before the time that it names
        (AHEAD, BACK.sha256, [GOOD, BAD], "old", "1 missing in the snapshot (a)"),
        (AHEAD, BACK.sha256, [BAD, STRANGE], "differs", "1 unknown to the catalog (a)"),
        (AHEAD, BACK.sha256, [BAD, OTHER], "differs", "1 with other content (a)"),
        (AHEAD, BACK.sha256, [GOOD], "compared", "proofs: 2"),
        (AHEAD, BACK.sha256, None, "sealed", "its inside was not seen"),
        (replace(BACK, taken_at=NOW + DAY), BACK.sha256, [GOOD], "old", "not of these days"),
    ],
)
def test_what_came_back_is_good_only_where_all_that_can_be_seen_of_it_is(
    back: Fetched | None,
    recorded: str | None,
    inside: list[Compared] | str | None,
    state: str,
    said: str,
) -> None:
    found, words = decide(back, recorded, inside, NOW)
    assert found == state and said in words
    assert trial(state=found).good is (state in ("compared", "sealed"))


def test_what_a_stranger_wrote_is_said_so_that_any_catalog_and_terminal_takes_it() -> None:
    said = str(replace(GOOD, strange=("a\0\x1b[2J\ud800" + "b" * 999,)))
    assert "(a??[2J?" in said and said.isprintable() and len(said) < 300
    _, words = decide(BACK, None, "no\0\ncatalog" + "b" * 9999, NOW)
    assert words.startswith("no??catalogb") and len(words) == 1000


@pytest.mark.parametrize(
    ("trials", "again"),
    [
        ([], KINDS),
        ([trial(), trial(what=BUNDLE)], ()),
        ([trial()], (BUNDLE,)),
        ([trial(), trial(NAS, BUNDLE)], (BUNDLE,)),
        ([trial(), trial(what=BUNDLE, state=TrialState.SEALED)], ()),
        ([trial(), trial(what=BUNDLE, state=TrialState.DIFFERS)], (BUNDLE,)),
        ([trial(at=NOW - EACH + 1), trial(what=BUNDLE)], ()),
        ([trial(at=NOW - EACH), trial(what=BUNDLE)], (CATALOG,)),
        ([trial(at=NOW + 1), trial(what=BUNDLE)], (CATALOG,)),
    ],
)
def test_each_kind_is_tried_again_after_a_month_and_at_once_where_it_was_bad(
    trials: list[SnapshotTrial], again: tuple[str, ...]
) -> None:
    assert due([USB], trials, NOW) == ([(USB, again)] if again else [])
