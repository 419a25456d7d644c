"""What a copy does with what it finds at its target, case by case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from policies.copy_decision import (
    Action,
    Decision,
    Progress,
    Seen,
    Wanted,
    decide,
    free_name,
    holds,
)
from policies.copy_manifest import Manifest, manifest_name, part_name

NAME = "vzdump-qemu-108-2026_03_09-21_00_02.vma.zst"
PART, MANIFEST = part_name(NAME), manifest_name(NAME)
WANTED = Wanted(f"local:backup/{NAME}", NAME, 100, 1_000)
MINE = Manifest(WANTED.volid, NAME, 100, "ab" * 32)
OTHER = replace(MINE, volid="local:backup/other", sha256="cd" * 32)
FAR = Progress(WANTED.volid, 100, 1_000, PART, 40, "ef" * 32)


def found(
    files: Mapping[str, int],
    *manifests: Manifest,
    progress: Progress | None = None,
    refuted: str = "",
) -> Decision:
    seen = Seen(files, {manifest_name(one.file): one for one in manifests})
    return decide(WANTED, seen, progress, refuted={refuted} - {""})


def kept(
    files: Mapping[str, int],
    *manifests: Manifest,
    progress: Progress | None = None,
    refuted: str = "",
) -> Decision:
    """As ``found``, at an immutable target."""
    seen = Seen(files, {manifest_name(one.file): one for one in manifests})
    return decide(WANTED, seen, progress, immutable=True, refuted={refuted} - {""})


# --- a target where files can be renamed and removed ----------------------------------------------


def test_where_nothing_is_all_is_sent() -> None:
    assert found({"another": 5}) == Decision(Action.SEND, PART, ("nothing of it is there",))


def test_a_part_goes_on_where_it_was_recorded_to_be() -> None:
    assert found({PART: 40}, progress=FAR) == Decision(
        Action.RESUME, PART, ("40 bytes of it are there",), offset=40
    )
    assert found({PART: 70}, progress=FAR).offset == 40, "what came after was not synced"
    assert found({PART: 100}, progress=FAR).offset == 40
    assert found({PART: 1}, progress=replace(FAR, sent=1)).offset == 1
    assert found({PART: 100}, progress=replace(FAR, sent=100)).offset == 100


@pytest.mark.parametrize(
    ("there", "progress", "why"),
    [
        (40, None, "nobody recorded how far it came"),
        (40, replace(FAR, file=NAME), "nobody recorded how far it came"),
        (40, replace(FAR, volid="other"), "of an archive that has changed since"),
        (40, replace(FAR, size=101), "of an archive that has changed since"),
        (40, replace(FAR, modified=1_001), "of an archive that has changed since"),
        (39, FAR, "has 39 bytes, recorded are 40 of 100"),
        (101, FAR, "has 101 bytes, recorded are 40 of 100"),
        (40, replace(FAR, sent=0), "has 40 bytes, recorded are 0 of 100"),
    ],
)
def test_a_part_that_may_be_of_something_else_is_removed(
    there: int, progress: Progress | None, why: str
) -> None:
    one = found({PART: there}, progress=progress)
    assert (one.action, one.file, one.offset, one.remove, one.litter) == (
        Action.SEND,
        PART,
        0,
        (PART,),
        (),
    )
    assert why in one.reasons[0]


def test_a_part_that_turned_out_to_hold_other_bytes_is_removed() -> None:
    one = found({PART: 40}, progress=FAR, refuted=PART)
    assert (one.action, one.remove) == (
        Action.SEND,
        (PART,),
    ) and "does not hold what was sent" in one.reasons[0]


def test_a_copy_with_its_manifest_is_done() -> None:
    one = found({NAME: 100, MANIFEST: 9}, MINE)
    assert one == Decision(Action.DONE, NAME, (f"a verified copy is there: {NAME}",), manifest=MINE)
    assert found({NAME: 100, MANIFEST: 9, PART: 3}, MINE).remove == (PART,)


def test_law_4_an_archive_without_a_manifest_that_fits_is_checked_before_it_counts() -> None:
    for manifests in ((), (OTHER,), (replace(MINE, size=99),), (replace(MINE, file="another"),)):
        one = found({NAME: 100}, *manifests)
        assert (one.action, one.file, one.remove) == (
            Action.CHECK,
            NAME,
            (),
        ) and "in full length" in one.reasons[0]


def test_a_manifest_beside_it_that_speaks_of_another_file_is_not_this_archives() -> None:
    other = replace(MINE, file="another")
    assert (
        decide(WANTED, Seen({NAME: 100, "another": 100}, {MANIFEST: other}), None).action
        is Action.CHECK
    )
    assert (
        decide(WANTED, Seen({"another": 100}, {MANIFEST: other}), None, immutable=True).action
        is Action.SEND
    )


def test_law_4_a_manifest_without_its_bytes_is_no_copy() -> None:
    assert found({MANIFEST: 9}, MINE).action is Action.SEND
    assert found({NAME: 99, MANIFEST: 9}, MINE).action is Action.REFUSE


def test_a_manifest_of_other_bytes_than_are_known_of_the_archive_is_no_copy() -> None:
    seen = Seen({NAME: 100}, {MANIFEST: MINE})
    assert decide(replace(WANTED, sha256="ab" * 32), seen, None).action is Action.DONE
    assert decide(replace(WANTED, sha256="cd" * 32), seen, None).action is Action.CHECK


def test_what_has_the_archives_name_is_never_overwritten() -> None:
    one = found({NAME: 99, PART: 40}, progress=FAR)
    assert one == Decision(
        Action.REFUSE, NAME, (f"{NAME} is there already with 99 bytes, not 100",)
    )
    one = found({NAME: 100}, refuted=NAME)
    assert one == Decision(
        Action.REFUSE,
        NAME,
        (f"{NAME} is there already, as long as the archive and with other bytes",),
    )


# --- an immutable one -----------------------------------------------------------------------------


def test_on_an_immutable_target_the_bytes_go_under_the_archives_own_name() -> None:
    assert kept({"another": 5}) == Decision(Action.SEND, NAME, ("nothing of it is there",))


def test_on_an_immutable_target_a_copy_goes_on_where_it_was_recorded_to_be() -> None:
    one = kept({NAME: 70}, progress=replace(FAR, file=NAME))
    assert one == Decision(Action.RESUME, NAME, ("40 bytes of it are there",), offset=40)


def test_on_an_immutable_target_what_cannot_go_on_is_litter_and_the_next_name_is_taken() -> None:
    one = kept({NAME: 70, f"{NAME}.notes": 5}, progress=FAR)
    assert (one.action, one.file, one.remove) == (Action.SEND, f"{NAME}~2", ())
    assert one.litter == (NAME, f"{NAME}.notes") and "nobody recorded" in one.reasons[0]
    one = kept({NAME: 70, f"{NAME}~2": 50}, progress=replace(FAR, file=f"{NAME}~2"))
    assert (one.action, one.file, one.offset, one.litter) == (
        Action.RESUME,
        f"{NAME}~2",
        40,
        (NAME,),
    )
    assert len(one.reasons) == 2
    one = kept(
        {NAME: 70, f"{NAME}~2": 50}, progress=replace(FAR, file=f"{NAME}~2"), refuted=f"{NAME}~2"
    )
    assert (one.action, one.file, one.litter) == (Action.SEND, f"{NAME}~3", (NAME, f"{NAME}~2"))


def test_law_5_what_was_read_back_as_other_bytes_is_no_copy_whatever_a_manifest_says_of_it() -> (
    None
):
    one = kept({NAME: 100}, MINE, refuted=NAME)
    assert (one.action, one.file) == (Action.SEND, f"{NAME}~2")
    assert found({NAME: 100}, MINE, refuted=NAME).action is Action.REFUSE


def test_on_an_immutable_target_what_is_there_in_full_length_is_checked_first() -> None:
    one = kept({NAME: 70, f"{NAME}~2": 100}, progress=FAR)
    assert (one.action, one.file, one.litter) == (Action.CHECK, f"{NAME}~2", (NAME,))
    assert kept({NAME: 100}, progress=replace(FAR, file=NAME)).action is Action.CHECK
    one = kept({NAME: 100}, progress=replace(FAR, file=NAME), refuted=NAME)
    assert (one.action, one.file, one.litter) == (Action.SEND, f"{NAME}~2", (NAME,))


def test_on_an_immutable_target_a_copy_with_its_manifest_is_done_and_all_else_of_it_is_litter() -> (
    None
):
    second = replace(MINE, file=f"{NAME}~2", sidecars=((f"{NAME}.notes", f"{NAME}.notes~2"),))
    files = {
        NAME: 70,
        f"{NAME}~2": 100,
        f"{NAME}.notes": 3,
        f"{NAME}.notes~2": 5,
        f"{MANIFEST}~2": 9,
        MANIFEST: 4,
        "another": 1,
    }
    one = decide(WANTED, Seen(files, {f"{MANIFEST}~2": second}), None, immutable=True)
    assert (one.action, one.file, one.manifest, one.remove) == (
        Action.DONE,
        f"{NAME}~2",
        second,
        (),
    )
    assert one.litter == (NAME, MANIFEST, f"{NAME}.notes")


def test_on_an_immutable_target_a_second_copy_counts_beside_another_archives() -> None:
    second = replace(MINE, file=f"{NAME}~2")
    done = kept({NAME: 100, second.file: 100, PART: 40}, OTHER, second)
    assert (done.action, done.file, done.manifest) == (Action.DONE, second.file, second)
    assert done.remove == ()


def test_on_an_immutable_target_a_verified_copy_of_something_else_has_the_name() -> None:
    one = kept({NAME: 100, MANIFEST: 9}, OTHER)
    assert one.action is Action.REFUSE and "local:backup/other" in one.reasons[0]
    assert kept({NAME: 5, MANIFEST: 9}, OTHER).action is Action.SEND, "its bytes are not there"


def test_what_is_to_be_done_is_said_in_plain_words() -> None:
    assert [str(action) for action in Action] == ["send", "resume", "check", "done", "refuse"]


# --- names and prefixes ---------------------------------------------------------------------------


def test_a_free_name_is_the_first_that_nobody_has() -> None:
    assert free_name("a", []) == "a"
    assert free_name("a", ["a", "a~3", "b"]) == "a~2"
    assert free_name("a", ["a", "a~2"]) == "a~3"


def test_what_was_sent_is_still_the_archives_if_its_first_bytes_have_the_recorded_hash() -> None:
    assert holds(WANTED, FAR, "ef" * 32)
    assert not holds(WANTED, FAR, "00" * 32)
    assert not holds(replace(WANTED, modified=5), FAR, "ef" * 32)


# --- in place of a damaged copy -------------------------------------------------------------------


def anew(
    files: Mapping[str, int],
    *manifests: Manifest,
    progress: Progress | None = None,
    refuted: str = "",
    immutable: bool = False,
    damaged: str = NAME,
) -> Decision:
    seen = Seen(files, {manifest_name(one.file): one for one in manifests})
    return decide(
        WANTED, seen, progress, immutable=immutable, refuted={refuted} - {""}, damaged=damaged
    )


def test_a_damaged_copy_is_no_copy_and_not_in_the_way() -> None:
    there = {NAME: 100, MANIFEST: 9}
    assert found(there, MINE).action is Action.DONE
    decision = anew(there, MINE)
    assert (decision.action, decision.file, decision.remove) == (Action.SEND, PART, ())
    assert anew({NAME: 7, MANIFEST: 9}, MINE).action is Action.SEND, "one that is short"
    assert anew({NAME: 100, PART: 40}, MINE, progress=FAR).action is Action.RESUME


def test_what_was_renamed_in_its_place_is_read_before_it_is_sent_again() -> None:
    sent = replace(FAR, sent=100)
    assert anew({NAME: 100, PART: 100}, MINE, progress=sent).action is Action.RESUME
    assert anew({NAME: 100}, MINE, progress=sent).action is Action.CHECK
    assert anew({NAME: 100}, MINE, progress=sent, refuted=NAME).action is Action.SEND
    assert anew({NAME: 100}, MINE, progress=FAR).action is Action.SEND
    assert anew({NAME: 99}, MINE, progress=sent).action is Action.SEND


def test_at_an_immutable_target_another_number_replaces_it_and_the_last_manifest_counts() -> None:
    there = {NAME: 100, MANIFEST: 9}
    decision = anew(there, MINE, immutable=True)
    assert (decision.action, decision.file) == (Action.SEND, f"{NAME}~2")
    assert set(decision.litter) == {NAME, MANIFEST}
    second = replace(MINE, file=f"{NAME}~2")
    both = there | {f"{NAME}~2": 100, f"{MANIFEST}~2": 9}
    seen = Seen(both, {MANIFEST: MINE, f"{MANIFEST}~2": second})
    assert decide(WANTED, seen, None, immutable=True).manifest == second
    assert decide(WANTED, seen, None, immutable=True, damaged=NAME).manifest == second
    assert decide(WANTED, seen, None, immutable=True, damaged=f"{NAME}~2").manifest == MINE
