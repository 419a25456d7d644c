"""Where retention and law 3 turn: at the second, the byte and the archive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from policies.model import Archive, GuestType, Mark, Marked, PruneRules
from policies.pve.prune_backups import Keep, parse_keep, prunes
from policies.pve.volid import file_of, parse_name
from policies.retention import Guarded, decide, guard

NOW = 1_800_000_000
NAME = "local:backup/vzdump-qemu-108-2026_03_09-21_00_{:02d}.vma.zst"


def local_ctime(volid: str, tz: str) -> int | None:
    name = parse_name(file_of(volid))
    return name.ctime(ZoneInfo(tz)) if name else None


def archive(
    second: int, *, node: str = "a", size: int = 500, proven: bool = False, **more: Any
) -> Archive:
    proof = NOW if proven else None
    made = Archive(
        NAME.format(second),
        node,
        "local",
        108,
        GuestType.QEMU,
        NOW - 100 + second,
        size,
        proven_at=proof,
    )
    return replace(made, **more)


def guarded(
    *rows: tuple[Archive, Mark],
    in_use: tuple[str, ...] = (),
    before: int | None = None,
    now: int = NOW,
) -> Guarded:
    marked = [Marked(item, mark, ("decided",)) for item, mark in rows]
    return guard(marked, in_use=in_use, listed_before=before, now=now, rules=PruneRules(1.0))


def words(result: Guarded) -> list[str]:
    return [str(one.mark) for one in result.marked]


KEEP, REMOVE = Mark.KEEP, Mark.REMOVE


def test_law_3_an_archive_in_use_is_a_last_archive_too_while_it_stays() -> None:
    result = guarded((archive(1), REMOVE), (archive(2), REMOVE), in_use=(archive(1).volid,))
    assert words(result) == ["keep", "remove"]


@pytest.mark.parametrize(
    ("first", "second", "marks", "said"),
    [
        (archive(1), archive(1, node="b"), (KEEP, REMOVE), "a"),  # kept by retention there
        # kept by law 3 there
        (archive(1, proven=True), archive(1, node="b"), (REMOVE, REMOVE), "a"),
        (archive(1), archive(1, node="b", size=501), (KEEP, REMOVE), None),
        (archive(1), archive(2, node="b"), (KEEP, REMOVE), None),
    ],
)
def test_law_3_what_may_be_the_same_file_as_one_that_stays_stays(
    first: Archive, second: Archive, marks: tuple[Mark, Mark], said: str | None
) -> None:
    result = guarded((first, marks[0]), (second, marks[1]), (archive(50), KEEP))
    assert words(result) == ["keep", "keep" if said else "remove", "keep"]
    assert (f"may be the file that stays on {said}" in result.marked[1].reasons[-1]) is bool(said)


def test_namesakes_that_both_go_keep_nobody() -> None:
    assert words(
        guarded((archive(1), REMOVE), (archive(1, node="b"), REMOVE), (archive(50), KEEP))
    ) == [
        "remove",
        "remove",
        "keep",
    ]


def test_law_3_as_many_archives_as_before_is_no_listing_that_shrank() -> None:
    rows = ((archive(1), REMOVE), (archive(2), KEEP))
    assert guarded(*rows, before=2).refusal is None
    assert guarded(*rows, before=3).refusal is not None


@pytest.mark.parametrize(("ahead", "refused"), [(86400, False), (86401, True)])
def test_law_3_a_day_ahead_is_drift_and_a_second_more_is_a_wrong_clock(
    ahead: int, refused: bool
) -> None:
    rows = ((archive(1), REMOVE), (archive(2, ctime=NOW + ahead), KEEP))
    assert (guarded(*rows).refusal is not None) is refused


def reasons(*archives: Archive, keep: str = "keep-last=1", **only: Any) -> list[str | None]:
    return [
        one.reasons[0] if one else None
        for one in decide(archives, parse_keep(keep), "Europe/Paris", **only)
    ]


def test_what_retention_says_of_what_it_leaves_alone() -> None:
    renamed = archive(1, volid="local:backup/vzdump-qemu-108-before-upgrade.vma.zst")
    assert reasons(archive(1, protected=True)) == ["protected"]
    assert reasons(replace(renamed, protected=True)) == [
        "protected; renamed: name is not a vzdump name"
    ]
    assert reasons(renamed) == ["renamed: name is not a vzdump name"]
    assert reasons(archive(1), keep="keep-all=1") == ["keep-all"]


def test_a_name_that_is_of_no_kind_is_of_the_kind_unknown() -> None:
    strange = archive(1, volid="local:backup/what.vma.zst")
    month_13 = archive(1, volid="local:backup/vzdump-qemu-108-2026_13_09-21_00_00.vma.zst")
    assert [
        reasons(item, type="unknown") == [None] for item in (strange, month_13, archive(1))
    ] == [False, False, True]


def test_what_nobody_set_keeps_nothing_and_is_not_keep_all() -> None:
    assert not Keep().keep_all
    assert (
        prunes("keep-last=1")
        and not prunes("")
        and not prunes("keep-all=1")
        and prunes("keep-forever=1")
    )


def test_only_a_standard_name_gives_a_time() -> None:
    assert local_ctime(NAME.format(0), "Europe/Paris") == 1_773_086_400
    assert local_ctime("local:backup/vzdump-qemu-108-x.vma.zst", "Europe/Paris") is None
