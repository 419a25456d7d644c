"""Which archives are suspicious beside the earlier ones of their guest, and what stays because of
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import archive_signs, copies_keep, prune_marks, retention
from policies.archive_signs import (
    DAY,
    Hold,
    Judged,
    ReadArchive,
    SignsVerdict,
    compare,
    empty_boot_disk,
    first_place,
    forgettable,
    holds,
    in_words,
    judge,
    looked_at,
)
from policies.copies_due import route_of
from policies.copy_manifest import manifest_name
from policies.model import (
    RANDOM,
    ZEROS,
    Archive,
    ArchiveCopy,
    CopyTarget,
    Directory,
    DiskSigns,
    Guest,
    GuestType,
    Job,
    Mark,
    Policy,
    PruneRules,
    Scratch,
    Suspicion,
    SuspicionKind,
)
from policies.pve.volid import file_of

GIB = 1 << 30
LEVEL = 4
PLACES = range(first_place(LEVEL), first_place(LEVEL) + (100 << LEVEL), 1 << LEVEL)


def disk(prints: Sequence[int], name: str = "drive-scsi0", stored: int | None = None) -> DiskSigns:
    """A disk of which a hundred places hold that, in this order."""
    seen = dict(zip(PLACES, prints, strict=True))
    held = sum(one != ZEROS for one in prints)
    return DiskSigns(
        name, 2 * GIB, held * GIB // 100 if stored is None else stored, LEVEL, 5.0, seen
    )


def readable(count: int, first: int = 1) -> list[int]:
    return list(range(first, first + count))


def random(count: int, first: int = 1) -> list[int]:
    return [RANDOM | one for one in readable(count, first)]


def read(
    night: float, *disks: DiskSigns, size: int = GIB, format: str = "vma.zst", right: bool = False
) -> ReadArchive:
    volid = f"local:backup/night-{night:g}.vma.zst"
    return ReadArchive(volid, int(night * DAY), size, format, disks, right)


def kinds(judged: Judged) -> list[SuspicionKind]:
    return [one.kind for one in judged.suspicions]


BEFORE = disk([*readable(60), *random(20, 100), *[ZEROS] * 20])


def test_the_first_archive_cannot_be_judged_and_the_same_data_are_usual() -> None:
    found = judge([read(0, BEFORE), read(1, BEFORE)])
    assert [one.verdict for one in found] == [SignsVerdict.NO_HISTORY, SignsVerdict.USUAL]
    assert judge([]) == []


def test_what_was_readable_and_looks_random_now_is_suspicious_with_disk_and_figures() -> None:
    now = disk([*random(60, 500), *random(20, 100), *[ZEROS] * 20])
    (_, judged) = judge([read(0, BEFORE), read(1, now)])
    assert judged.verdict is SignsVerdict.SUSPICIOUS
    [one] = judged.suspicions
    assert one == Suspicion(
        SuspicionKind.SEALED, "drive-scsi0", 0.25, 1.0, "local:backup/night-0.vma.zst"
    )
    assert in_words([one]) == (
        "of what drive-scsi0 holds, 100 % looks random, as encrypted data do; in "
        "local:backup/night-0.vma.zst 25 % did"
    )


def test_data_that_moved_or_were_added_are_not_sealed() -> None:
    moved = disk([*random(20, 100), *readable(60), *[ZEROS] * 20])
    added = disk([*readable(60), *random(40, 100)])
    for now in (moved, added):
        (_, judged) = judge([read(0, BEFORE), read(1, now, size=2 * GIB)])
        assert SuspicionKind.SEALED not in kinds(judged)


def test_it_stays_suspicious_beside_the_last_usual_one_until_it_is_acknowledged() -> None:
    now = disk([*random(60, 500), *random(20, 100), *[ZEROS] * 20])
    nights = [read(0, BEFORE), read(1, now), read(2, now), read(3, BEFORE)]
    verdicts = [one.verdict for one in judge(nights)]
    assert verdicts[1:] == [SignsVerdict.SUSPICIOUS, SignsVerdict.SUSPICIOUS, SignsVerdict.USUAL]
    nights[1] = replace(nights[1], acknowledged=True)
    found = judge(nights[:3])
    assert [one.verdict for one in found[1:]] == [SignsVerdict.USUAL, SignsVerdict.USUAL]
    assert found[1].suspicions == ()


def test_what_is_sealed_slowly_shows_beside_the_oldest_that_is_remembered() -> None:
    nights = [
        read(night, disk([*random(6 * night, 500), *readable(80)[6 * night :], *[ZEROS] * 20]))
        for night in range(7)
    ]
    found = judge(nights)
    at = next(index for index, one in enumerate(found) if one.suspicions)
    assert at == 4  # 24 of 80; from one to the next it is less than a tenth
    [one] = found[at].suspicions
    assert one.since == nights[0].volid and one.kind is SuspicionKind.SEALED
    # what was acknowledged is where it begins anew
    nights[4] = replace(nights[4], acknowledged=True)
    assert not judge(nights)[5].suspicions
    # beyond two months nothing of it can be said
    apart = [replace(one, ctime=one.ctime * 40) for one in nights[:4]]
    assert not any(one.suspicions for one in judge(apart))


def sealed(share: int) -> DiskSigns:
    """A disk of which so many of sixty readable places were sealed."""
    return disk(
        [*random(share, 500), *readable(60)[share:], *random(20, 100), *[ZEROS] * 20],
    )


def test_what_is_sealed_slowly_shows_beside_any_earlier_archive_not_the_oldest_alone() -> None:
    # what looked random at first was deleted before it began
    full = disk([*readable(60), *random(40, 100)])
    nights = [read(0, full), *(read(night, sealed(8 * (night - 1))) for night in range(1, 5))]
    found = judge(nights)
    assert [one.verdict is SignsVerdict.SUSPICIOUS for one in found] == [False] * 4 + [True]
    assert {one.since for one in found[4].suspicions} == {nights[1].volid}
    assert [one.verdict for one in judge([nights[0], *nights[3:]])][1:] == [SignsVerdict.USUAL] * 2


def test_what_was_found_suspicious_stays_so_and_is_nothing_to_compare_with() -> None:
    alarm = Suspicion(SuspicionKind.SEALED, "drive-scsi0", 0.1, 0.9, "gone")
    # what it was compared with is forgotten
    bad = replace(read(0, SEALED), found=(alarm,))
    found = judge([bad, read(1, BEFORE), read(2, SEALED)])
    assert found[0] == Judged(SignsVerdict.SUSPICIOUS, (alarm,))
    assert [one.verdict for one in found[1:]] == [
        SignsVerdict.NO_HISTORY,
        SignsVerdict.SUSPICIOUS,
    ]
    assert judge([read(-1, SEALED), bad])[1].suspicions == (alarm,)


SEALED = sealed(60)
OTHER = disk([*readable(60, 700), *[ZEROS] * 40])


def verdicts(*nights: ReadArchive) -> str:
    """A letter for each, after quiet nights: usual or suspicious."""
    quiet = [read(night, BEFORE) for night in (-3, -2, -1, 0)]
    return "".join(str(one.verdict)[0] for one in judge([*quiet, *nights])[4:])


def right(night: float, what: DiskSigns) -> ReadArchive:
    return read(night, what, right=True)


def test_a_guest_that_was_brought_back_after_its_bad_archive_was_acknowledged_is_usual() -> None:
    bad, back = right(1, SEALED), [read(night, BEFORE) for night in (3, 4)]
    assert verdicts(bad, read(2, SEALED), *back) == "uuuu"
    # and when it is struck once more, that shows
    assert verdicts(bad, *back, read(5, OTHER)) == "uuus"
    assert verdicts(bad, right(2, OTHER), *back) == "uuuu"
    assert verdicts(bad, *back, read(5, SEALED)) == "uuus"


def test_law_3_an_acknowledged_jump_excuses_no_other_one_however_late_it_comes() -> None:
    emptied = disk([7, *[ZEROS] * 99])
    for night in (2, 20, 90):
        known, now = right(night - 1, OTHER), read(night, disk([*readable(60, 900), *[ZEROS] * 40]))
        assert verdicts(known, now) == "us"
        assert verdicts(known, read(night, emptied)) == "us"
        assert verdicts(known, read(night, SEALED)) == "us"


def test_a_disk_that_was_left_out_of_some_archives_is_compared_with_the_last_that_had_it() -> None:
    other = disk(readable(100), name="drive-scsi1")
    found = judge([read(0, BEFORE, other), read(1, other), read(2, SEALED, other)])
    assert kinds(found[1]) == [] and kinds(found[2]) == [SuspicionKind.SEALED]
    assert found[2].suspicions[0].since == "local:backup/night-0.vma.zst"


def test_over_a_longer_time_more_must_be_sealed() -> None:
    now = disk([*random(15, 500), *readable(45), *random(20, 100), *[ZEROS] * 20])
    assert kinds(judge([read(0, BEFORE), read(1, now)])[1]) == [SuspicionKind.SEALED]
    assert kinds(judge([read(0, BEFORE), read(30, now)])[1]) == []


def test_a_disk_of_which_nearly_all_is_gone_is_emptied_and_said_in_sizes() -> None:
    now = disk([7, *[ZEROS] * 99])
    [one] = judge([read(0, BEFORE), read(1, now, size=1)])[1].suspicions
    assert (one.kind, one.was, one.now) == (
        SuspicionKind.EMPTIED,
        BEFORE.stored,
        GIB // 100,
    )
    assert in_words([one]).startswith("drive-scsi0 holds 10.7 MB, where it held 859.0 MB")
    trimmed = disk([*readable(30), *[ZEROS] * 70])
    assert judge([read(0, BEFORE), read(1, trimmed)])[1].suspicions == ()


def test_a_disk_of_other_data_is_replaced_unless_that_is_usual_or_long_ago() -> None:
    def night(number: int) -> ReadArchive:
        return read(number, disk([*readable(60, 1 + 100 * number), *[ZEROS] * 40]))

    still = read(-1, disk([*readable(60), *[ZEROS] * 40]))
    found = judge([still, replace(still, ctime=0), night(1)])
    [one] = found[2].suspicions
    assert (one.kind, one.was, one.now) == (SuspicionKind.REPLACED, 0.0, 1.0)
    assert "100 % is other data now, where 0 % is usual" in in_words([one])
    assert judge([still, replace(night(1), ctime=10 * DAY)])[1].suspicions == ()
    # acknowledged once, it is what is usual of that disk
    each = [night(0), replace(night(1), acknowledged=True), night(2), night(3)]
    assert [one.verdict for one in judge(each)[2:]] == [SignsVerdict.USUAL] * 2


def test_inside_an_encrypted_disk_what_is_rewritten_tells() -> None:
    def night(number: int, anew: int) -> ReadArchive:
        prints = [*random(anew, 500 * number + 1), *random(80, 100)[anew:], *[ZEROS] * 20]
        return read(number, disk(prints))

    usual = [night(1, 1), night(2, 2), night(3, 2)]
    (*_, judged) = judge([*usual, night(4, 50)])
    [one] = judged.suspicions
    assert (one.kind, round(one.now, 2)) == (SuspicionKind.REWRITTEN, 0.62)
    assert "of what looked random on drive-scsi0" in in_words([one])
    assert not judge([*usual, night(4, 20)])[-1].suspicions


def test_an_archive_that_grew_beyond_what_was_added_no_longer_compresses() -> None:
    [one] = judge([read(0, BEFORE), read(1, BEFORE, size=2 * GIB)])[1].suspicions
    assert (one.kind, one.disk) == (SuspicionKind.SWOLLEN, "")
    assert "its data no longer compress" in in_words([one])
    # a disk that came in place of another one may compress less
    other = replace(BEFORE, name="drive-scsi1")
    assert not judge([read(0, BEFORE), read(1, other, size=2 * GIB)])[1].suspicions
    # in another format nothing can be said of it, nor of a disk with hardly anything on it
    assert not judge([read(0, BEFORE), read(1, BEFORE, size=2 * GIB, format="vma")])[1].suspicions
    small = disk([*readable(10), *[ZEROS] * 90])
    assert not judge([read(0, small), read(1, small, size=2 * GIB)])[1].suspicions


def test_a_disk_with_little_on_it_is_not_judged_and_one_that_came_or_went_is_not_compared() -> None:
    small = disk([*readable(20), *[ZEROS] * 80])
    sealed = disk([*random(20), *[ZEROS] * 80])
    other = disk(readable(100), name="drive-scsi1")
    for pair in ((small, sealed), (BEFORE, other), (other, small)):
        assert judge([read(0, pair[0]), read(1, pair[1])])[1].suspicions == ()


def test_a_disk_that_grew_is_compared_where_both_samples_looked() -> None:
    coarse = replace(
        BEFORE,
        level=LEVEL + 1,
        prints={at: one for at, one in BEFORE.prints.items() if looked_at(at, LEVEL + 1)},
    )
    assert len(coarse.prints) == 50
    for pair in ((BEFORE, coarse), (coarse, BEFORE)):
        change = compare(*pair)
        assert change.changed == 0 and change.readable[0] == change.readable[1] == 30


def test_the_share_that_looks_random_is_none_of_an_empty_disk() -> None:
    assert disk([ZEROS] * 100).random_share is None
    assert disk([*readable(25), *random(25), *[ZEROS] * 50]).random_share == 0.5


CONFIG = """boot: order=scsi0;net0
scsi0: local:108/a.raw
scsi1: local:108/b.raw
#qmdump#map:scsi0:drive-scsi0:local:raw:
#qmdump#map:scsi1:drive-scsi1:local:raw:
"""


def test_an_empty_disk_is_said_only_where_the_guest_boots_from_nothing_else() -> None:
    empty, full = disk([ZEROS] * 100), disk([*readable(100)])
    assert empty_boot_disk([empty], CONFIG) == "drive-scsi0"
    assert empty_boot_disk([full], CONFIG) is None
    second = replace(full, name="drive-scsi1")
    both = CONFIG.replace("order=scsi0", "order=scsi0;scsi1")
    assert empty_boot_disk([empty, second], both) is None
    old = CONFIG.replace("boot: order=scsi0;net0", "boot: c\nbootdisk: scsi0")
    assert empty_boot_disk([empty], old) == "drive-scsi0"
    assert empty_boot_disk([empty], "name: x") is None


def test_the_newest_are_remembered_and_of_two_months_the_first_of_each_week() -> None:
    week = archive_signs.WEEK
    nights = [100 * week + night * DAY for night in range(90)]
    gone = set(forgettable(nights))
    left = [(at - nights[0]) // DAY for index, at in enumerate(nights) if index not in gone]
    assert left == [35, 42, 49, 56, 63, 70, *range(74, 90)]
    assert forgettable(nights[:16]) == [] and forgettable([]) == []
    assert forgettable(nights[:17]) == [] and forgettable(nights[:18]) == [1]
    # the next night one of the newest becomes one of a week that has its first
    again = [at for index, at in enumerate(nights) if index not in gone]
    assert forgettable([*again, nights[-1] + DAY]) == [6]


# --- what stays -----------------------------------------------------------------------------------

SUSPICION = Suspicion(SuspicionKind.SEALED, "drive-scsi0", 0.1, 0.9, "local:backup/before")
NOW = 1_775_000_000


def archive(
    night: int, vmid: int | None = 108, *, storage: str = "local", bad: bool = False
) -> Archive:
    volid = f"{storage}:backup/vzdump-qemu-108-2026_03_{night + 1:02d}-20_00_00.vma.zst"
    at = 1_772_395_200 + night * DAY  # 2026-03-01 20:00 UTC
    found = Archive(volid, "clovis", storage, vmid, GuestType.QEMU, at, 100, "vma.zst")
    return replace(found, suspicious=(SUSPICION,) if bad else ())


def test_all_that_is_older_than_the_newest_suspicious_one_is_held() -> None:
    held = [archive(0), archive(1, bad=True), archive(2), archive(3, bad=True), archive(4)]
    assert holds(held) == {108: Hold(held[1].volid, held[3].ctime)}
    assert holds([archive(0), archive(1, None, bad=True)]) == {}
    assert f"backupsvc archive acknowledge {held[1].volid}" in holds(held)[108].reason


POLICY = Policy(
    "s",
    "UTC",
    "en",
    (Job("nightly", "21:00", "local", keep="keep-last=1"),),
    {},
    {},
    Scratch(9000, 9009),
    "standard",
    prune=PruneRules(max_share=1.0),
)
GUEST = (Guest(108, "Debian", "clovis"),)


def decided(archives: Sequence[Archive]) -> list[Mark]:
    marked = prune_marks.decide_all(archives, GUEST, POLICY)
    guarded = retention.guard(
        marked,
        in_use=(),
        listed_before=None,
        now=NOW,
        rules=POLICY.prune,
        holds=holds(archives),
    )
    assert guarded.refusal is None
    return [one.mark for one in guarded.marked]


def test_law_3_a_suspicious_archive_is_put_aside_and_older_ones_stay_with_the_reason() -> None:
    held = [archive(0), archive(1), archive(2, bad=True)]
    assert decided(held) == [Mark.KEEP] * 3
    marked = prune_marks.decide_all(held, GUEST, POLICY)
    assert "it is suspicious (of what drive-scsi0 holds, 90 %" in marked[2].reasons[0]
    guarded = retention.guard(
        marked, in_use=(), listed_before=None, now=NOW, rules=POLICY.prune, holds=holds(held)
    )
    assert "until somebody acknowledges" in guarded.marked[0].reasons[-1]
    # acknowledged, it is the newest, and the older ones go
    right = [replace(one, suspicious=()) for one in held]
    assert decided(right) == [Mark.REMOVE, Mark.REMOVE, Mark.KEEP]


def test_law_3_newer_archives_go_by_the_rules_among_themselves() -> None:
    held = [archive(0), archive(1, bad=True), archive(2), archive(3), archive(4)]
    assert decided(held) == [Mark.KEEP, Mark.KEEP, Mark.REMOVE, Mark.REMOVE, Mark.KEEP]


histories = st.lists(
    st.tuples(st.integers(0, 25), st.sampled_from(["local", "nas"]), st.booleans(), st.booleans()),
    unique_by=lambda one: one[:2],
    max_size=20,
)


@given(histories)
def test_law_3_nothing_older_than_an_unacknowledged_suspicion_is_ever_removed(
    drawn: list[tuple[int, str, bool, bool]],
) -> None:
    held = [
        replace(archive(night, storage=storage, bad=bad), proven_at=NOW if proven else None)
        for night, storage, bad, proven in drawn
    ]
    marks = decided(held)
    newest = max((one.ctime for one in held if one.suspicious), default=-1)
    for one, mark in zip(held, marks, strict=True):
        assert mark is not Mark.REMOVE or one.ctime >= newest
        assert mark is not Mark.REMOVE or not one.suspicious


USB = CopyTarget("usb", Directory("/mnt/usb"), keep="keep-last=1")


@given(histories, st.sets(st.integers(0, 25)))
def test_law_3_copies_obey_the_same_hold_whether_the_suspicious_one_was_copied_or_not(
    drawn: list[tuple[int, str, bool, bool]], not_copied: set[int]
) -> None:
    held = [archive(night, bad=bad) for night, storage, bad, _ in drawn if storage == "local"]
    copied = [one for one in held if (one.ctime - 1_772_395_200) // DAY not in not_copied]
    copies = [
        ArchiveCopy(route_of(one, USB), file_of(one.volid), one.size, "ab", NOW, "read back", "01")
        for one in copied
    ]
    files = {one.file: one.size for one in copies}
    files |= {manifest_name(one.file): 1 for one in copies}
    policy = replace(POLICY, copies=(USB,))
    kept = copies_keep.decide(copies, held, GUEST, policy, USB, files=files, in_use=(), now=NOW)
    origin = {route_of(one, USB): one for one in copied}
    newest = max((one.ctime for one in held if one.suspicious), default=-1)
    for copy in kept.going(108):
        assert origin[copy.route].ctime >= newest and not origin[copy.route].suspicious


@pytest.mark.parametrize("kind", SuspicionKind)
def test_every_kind_has_its_sentence(kind: SuspicionKind) -> None:
    said = in_words([replace(SUSPICION, kind=kind), SUSPICION])
    assert "{" not in said and "; " in said
    assert archive_signs.sentence(replace(SUSPICION, kind=kind)).key == f"suspicion.{kind}"
