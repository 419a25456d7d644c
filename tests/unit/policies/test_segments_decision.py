"""What an encrypted copy does with what it finds at its target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.copy_decision import Progress, Wanted
from policies.copy_decision import Seen as PlainSeen
from policies.copy_decision import decide as decide_plain
from policies.copy_manifest import part_name
from policies.segments import (
    Segment,
    SegmentManifest,
    Unreadable,
    manifest_name,
    packed,
    segment_name,
)
from policies.segments_decision import Decision, Seen, decide, label

NAME = "vzdump-qemu-108-2026_03_09-21_00_02.vma.zst"
VOLID = f"local:backup/{NAME}"
SHA = "ab" * 32
WANTED = Wanted(VOLID, NAME, 250, 1000)
KEYS = ("age1a", "age1b")
PARTS = tuple(
    Segment(segment_name(NAME, number), length + 200, SHA, start, length)
    for number, start, length in ((1, 0, 100), (2, 100, 100), (3, 200, 50))
)
NOTES = Segment(f"{NAME}.notes.age", 230, SHA, 0, 3)
MANIFEST = SegmentManifest(VOLID, NAME, 250, SHA, KEYS, PARTS, ((f"{NAME}.notes", NOTES),))
FILE = manifest_name(NAME)
THERE = MANIFEST.files() | {FILE: 900}
SENT = Progress(VOLID, 250, 1000, label(NAME), 200, "cd" * 32, KEYS, packed(PARTS[:2], hashes=True))


def found(
    files: dict[str, int],
    manifests: dict[str, SegmentManifest | Unreadable] | None = None,
    progress: Progress | None = None,
    wanted: Wanted = WANTED,
    **more: Any,
) -> Decision:
    seen = Seen(files, manifests or {})
    usual: dict[str, Any] = {"length": 100, "recipients": KEYS}
    return decide(wanted, seen=seen, progress=progress, **(usual | more))


def test_into_an_empty_folder_all_is_sent() -> None:
    decision = found({"somebody-elses.txt": 5})
    assert (decision.kept, decision.known, decision.remove, decision.litter) == ({}, 0, (), ())
    assert decision.refusal is None is decision.manifest


def test_a_manifest_with_all_its_segments_is_a_copy() -> None:
    decision = found(THERE, {FILE: MANIFEST})
    assert decision.manifest == MANIFEST and decision.remove == ()
    assert found(THERE, {FILE: MANIFEST}, wanted=replace(WANTED, sha256=SHA)).manifest
    # what stood beside the archive is no part of it
    files = {file: size for file, size in THERE.items() if file != NOTES.file}
    assert found(files, {FILE: MANIFEST}).manifest == MANIFEST


def test_a_copy_for_other_recipients_is_one_and_says_so() -> None:
    decision = found(THERE, {FILE: MANIFEST}, recipients=("age1a",))
    assert decision.manifest == MANIFEST and "other recipients" in decision.reasons[0]
    decision = found(THERE, {FILE: MANIFEST}, recipients=KEYS[::-1])
    assert "other recipients" not in decision.reasons[0]


@pytest.mark.parametrize("harm", [{PARTS[1].file: 299}, {PARTS[1].file: None}])
def test_a_manifest_without_a_segment_is_none_and_goes_first(harm: dict[str, int | None]) -> None:
    files = {file: size for file, size in (THERE | harm).items() if size}
    decision = found(files, {FILE: MANIFEST})
    assert decision.manifest is None is decision.refusal
    assert decision.remove[0] == FILE and set(decision.remove) == set(files)
    decision = found(files, {FILE: MANIFEST}, immutable=True)
    assert decision.remove == () and decision.manifest is None


def test_whole_segments_are_kept_by_what_was_recorded() -> None:
    files = {one.file: one.size for one in PARTS}
    decision = found(files, progress=SENT)
    assert {number: one.file for number, one in decision.kept.items()} == {
        1: PARTS[0].file,
        2: PARTS[1].file,
    }
    assert (decision.known, decision.remove) == (2, (PARTS[2].file,)), "half a one is none"
    decision = found(files, progress=SENT, refuted={PARTS[0].file})
    assert (list(decision.kept), decision.known) == ([2], 2)
    assert decision.remove == (PARTS[0].file, PARTS[2].file)
    decision = found(files | {PARTS[0].file: 1}, progress=SENT)
    assert list(decision.kept) == [2]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"file": part_name(NAME)}, "nothing of it was recorded"),
        ({"size": 251}, "has changed since"),
        ({"modified": 999}, "has changed since"),
        ({"volid": f"nas:backup/{NAME}"}, "has changed since"),
        ({"recipients": ("age1a",)}, "to other recipients"),
        ({"recipients": KEYS[::-1]}, "to other recipients"),
        ({"sent": 199}, "of another size"),
        ({"segments": ""}, "of another size"),
        ({"segments": packed((*PARTS, PARTS[0]), hashes=True)}, "of another size"),
        ({"segments": "300:ab"}, "of another size"),
    ],
)
def test_what_was_recorded_of_something_else_counts_for_nothing(
    change: dict[str, Any], why: str
) -> None:
    files = {one.file: one.size for one in PARTS}
    decision = found(files, progress=replace(SENT, **change))
    assert (decision.kept, decision.known) == ({}, 0) and why in decision.reasons[0]
    assert set(decision.remove) == set(files)
    assert not found(files, progress=SENT, length=50).kept, "in segments of another length"


def test_a_segment_of_which_no_hash_was_recorded_is_not_kept() -> None:
    files = {one.file: one.size for one in PARTS}
    bare = replace(SENT, segments=packed(PARTS[:2], hashes=False))
    assert found(files, progress=bare).kept == {}


def test_the_rest_of_a_plain_copy_goes_and_its_progress_counts_in_neither_way() -> None:
    plain = Progress(VOLID, 250, 1000, part_name(NAME), 200, SHA)
    files = {part_name(NAME): 200}
    assert found(files, progress=plain).remove == (part_name(NAME),)
    back = replace(SENT, file=part_name(NAME))
    decision = decide_plain(WANTED, PlainSeen(files, {}), back)
    assert decision.offset == 0 and "nobody recorded" in decision.reasons[0]


def test_what_counts_and_is_not_ours_is_left_alone() -> None:
    other = replace(MANIFEST, volid=f"nas:backup/{NAME}")
    for wanted in (WANTED, replace(WANTED, sha256="ef" * 32), replace(WANTED, size=251)):
        manifest = other if wanted == WANTED else MANIFEST
        decision = found(THERE, {FILE: manifest}, wanted=wanted)
        assert "a verified copy of another archive has the name" in str(decision.refusal)
    files = {file: size for file, size in THERE.items() if file != PARTS[0].file}
    assert "speaks of another archive" in str(found(files, {FILE: other}).refusal)
    later = Unreadable("is of another version than 1", later=True)
    assert "another release may have written" in str(found(THERE, {FILE: later}).refusal)
    decision = found(THERE, {FILE: Unreadable("is cut short")})
    assert decision.refusal is None and decision.remove[0] == FILE


def test_at_an_immutable_target_what_is_of_no_use_is_litter() -> None:
    second = f"{FILE}~2"
    files = THERE | {f"{PARTS[0].file}~2": 5, second: 900}
    manifests: dict[str, SegmentManifest | Unreadable] = {
        FILE: Unreadable("is cut short"),
        second: MANIFEST,
    }
    decision = found(files, manifests, immutable=True)
    assert decision.manifest == MANIFEST and set(decision.litter) == {
        FILE,
        f"{PARTS[0].file}~2",
    }
    files = {one.file: one.size for one in PARTS}
    decision = found(files, progress=SENT, immutable=True)
    assert (decision.litter, decision.remove) == ((PARTS[2].file,), ())
    assert list(decision.kept) == [1, 2]


@given(
    st.dictionaries(st.sampled_from([*THERE, part_name(NAME), NAME, "other"]), st.integers(0, 900)),
    st.sampled_from([None, SENT, replace(SENT, recipients=("x",))]),
    st.booleans(),
    st.sampled_from([{}, {FILE: MANIFEST}, {FILE: Unreadable("is cut short")}]),
)
def test_whatever_lies_there_nothing_that_is_kept_or_not_ours_is_removed(
    files: dict[str, int],
    progress: Progress | None,
    immutable: bool,
    manifests: dict[str, SegmentManifest | Unreadable],
) -> None:
    manifests = {file: one for file, one in manifests.items() if file in files}
    decision = found(files, manifests, progress, immutable=immutable)
    kept = {one.file for one in decision.kept.values()}
    assert not kept & {*decision.remove, *decision.litter} and kept <= set(files)
    assert not {NAME, "other"} & {*decision.remove, *decision.litter}
    assert not (immutable and decision.remove)
    if decision.manifest:
        assert all(files.get(one.file) == one.size for one in decision.manifest.segments)


# --- in place of a damaged copy -------------------------------------------------------------------

BAD = tuple(one.file for one in PARTS)
ANEW = replace(MANIFEST, segments=tuple(replace(one, file=f"{one.file}~2") for one in PARTS))


def test_a_damaged_copy_is_none_and_stays_until_another_one_is_there() -> None:
    decision = found(THERE, {FILE: MANIFEST}, damaged=BAD)
    assert (decision.manifest, decision.refusal, decision.kept) == (None, None, {})
    assert decision.remove == (), "neither its segments, nor its manifest, nor what is beside it"
    half = f"{NAME}.00001.age~2"
    assert found(THERE | {half: 7}, {FILE: MANIFEST}, damaged=BAD).remove == (half,)


def test_when_another_one_is_there_the_damaged_one_goes() -> None:
    both = THERE | ANEW.files()
    decision = found(both, {FILE: ANEW}, damaged=BAD)
    assert decision.manifest == ANEW and set(decision.remove) == set(BAD)


def test_at_an_immutable_target_the_damaged_one_is_litter_and_the_last_manifest_counts() -> None:
    both, second = THERE | ANEW.files() | {f"{FILE}~2": 900}, f"{FILE}~2"
    decision = found(both, {FILE: MANIFEST, second: ANEW}, immutable=True, damaged=BAD)
    assert (decision.manifest, decision.remove) == (ANEW, ())
    assert set(decision.litter) == {*BAD, FILE}
    assert found(both, {FILE: MANIFEST, second: ANEW}, immutable=True).manifest == ANEW
    first = found(THERE, {FILE: MANIFEST}, immutable=True, damaged=BAD)
    assert (first.manifest, first.remove, set(first.litter)) == (None, (), set(THERE))


def test_another_archives_manifest_is_not_taken_for_the_damaged_one() -> None:
    other = replace(MANIFEST, sha256="cd" * 32)
    decision = found(THERE, {FILE: other}, wanted=replace(WANTED, sha256=SHA), damaged=BAD)
    assert decision.refusal and "another archive" in decision.refusal
