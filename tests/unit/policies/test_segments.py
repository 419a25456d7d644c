"""The files of an encrypted copy: their names, their manifest both ways, and as the catalog keeps
them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.copy_manifest import manifest_name as plain_manifest
from policies.copy_manifest import numbered
from policies.copy_manifest import read_manifest as read_plain
from policies.pve.volid import parse_name
from policies.segments import (
    MOST,
    MOST_SEGMENTS,
    Segment,
    SegmentManifest,
    Stored,
    Unreadable,
    manifest_name,
    own_files,
    packed,
    ranges,
    read_manifest,
    segment_name,
    unpacked,
)

NAME = "vzdump-qemu-108-2026_03_09-21_00_02.vma.zst"
SHA = "ab" * 32
FIRST = Segment(segment_name(NAME, 1), 1250, SHA, 0, 1000)
SECOND = Segment(f"{segment_name(NAME, 2)}~3", 300, "cd" * 32, 1000, 50)
NOTES = Segment(f"{NAME}.notes.age", 260, SHA, 0, 10)
GOOD = SegmentManifest(
    f"local:backup/{NAME}",
    NAME,
    1050,
    SHA,
    ("age1a", "age1b"),
    (FIRST, SECOND),
    ((f"{NAME}.notes", NOTES),),
)


@pytest.mark.parametrize("name", [NAME, "vzdump-lxc-105-2026_03_09-21_00_02.tar.zst", "mine.tgz"])
def test_no_file_of_an_encrypted_copy_is_listed_as_an_archive(name: str) -> None:
    for file in (segment_name(name, 1), manifest_name(name), f"{name}.notes.age"):
        assert parse_name(file) is None and parse_name(numbered(file, 2)) is None
    assert plain_manifest(name) != manifest_name(name)
    assert read_plain(GOOD.text()) is None, "and none is a plain copy's manifest"


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert read_manifest(GOOD.text()) == GOOD
    empty = replace(GOOD, size=0, segments=(replace(FIRST, length=0, size=250),), sidecars=())
    assert read_manifest(empty.text()) == empty
    assert GOOD.files() == {FIRST.file: 1250, SECOND.file: 300, NOTES.file: 260}


def test_the_largest_manifest_fits() -> None:
    parts = tuple(
        Segment(f"{segment_name(NAME, one)}~99", (1 << 30) + 500_000, SHA, one - 1 << 30, 1 << 30)
        for one in range(1, MOST_SEGMENTS + 1)
    )
    text = replace(GOOD, size=MOST_SEGMENTS << 30, segments=parts).text()
    assert len(text) < MOST and not isinstance(read_manifest(text), Unreadable)


@given(st.integers(0, len(GOOD.text()) - 1))
def test_no_manifest_that_is_cut_short_is_one(length: int) -> None:
    assert isinstance(read_manifest(GOOD.text()[:length]), Unreadable)


@given(st.binary(max_size=300))
def test_whatever_a_file_holds_it_is_read_or_refused(text: bytes) -> None:
    read_manifest(text)
    read_manifest(text + b"\n")
    assert isinstance(read_manifest(GOOD.text() + text), SegmentManifest) is (text == b"")


Lines = list[dict[str, Any]]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d[0].update(encrypted_copy=2), "is of another version"),
        (lambda d: d[0].update(encrypted_copy=True), "is of another version"),
        (lambda d: d[0].pop("encrypted_copy"), "is no manifest of an encrypted copy"),
        (lambda d: d[0].update(volid=1), "names no archive"),
        (lambda d: d[0].update(volid="a\nb"), "names no archive"),
        (lambda d: d[0].update(file="../x"), "names no file in its own folder"),
        (lambda d: d[0].update(file=None), "names no file in its own folder"),
        (lambda d: d[0].update(size=-1), "tells no size"),
        (lambda d: d[0].update(size=True), "tells no size"),
        (lambda d: d[0].update(size=1 << 51), "tells no size"),
        (lambda d: d[0].update(size=1050.0), "tells no size"),
        (lambda d: d[0].update(sha256="AB" * 32), "tells no SHA-256"),
        (lambda d: d[0].update(recipients=[]), "tells no recipients"),
        (lambda d: d[0].update(recipients="age1a"), "tells no recipients"),
        (lambda d: d[0].update(recipients=["age1a\n"]), "tells no recipients"),
        (lambda d: d[0].update(recipients=["a"] * 65), "tells no recipients"),
        (lambda d: d[0].update(sidecars=[f"{NAME}.exe"]), "names other files beside"),
        (lambda d: d[0].update(sidecars=[f"{NAME}.notes"] * 2), "names other files beside"),
        (lambda d: d[0].update(sidecars=[["x"]]), "names other files beside"),
        (lambda d: d[0].update(segments=1), "is cut short, or has too much in it"),
        (lambda d: d[0].update(segments=10_001), "tells no number of segments"),
        (lambda d: d.pop(), "is cut short, or has too much in it"),
        (lambda d: d.append(d[1]), "is cut short, or has too much in it"),
        (
            lambda d: (d[0].update(segments=0, size=0, sidecars=[]), d[1:].clear()),
            "is cut short, or has too much in it",
        ),
        (lambda d: d[1].pop("file"), "has a line that describes no segment"),
        (lambda d: d[1].update(file="/etc/passwd"), "has a line that describes no segment"),
        (lambda d: d[1].update(sha256="x"), "has a line that describes no segment"),
        (lambda d: d[1].update(size="1250"), "has a line that describes no segment"),
        (lambda d: d[1].update(length=-1), "has a line that describes no segment"),
        (lambda d: d[1].update(file=SECOND.file), "names a segment wrongly"),
        (lambda d: d[1].update(file=f"{FIRST.file}~1"), "names a segment wrongly"),
        (lambda d: d[1].update(file=f"{FIRST.file}~02"), "names a segment wrongly"),
        (lambda d: d[2].update(start=999), "has a gap between segments"),
        (lambda d: d[1].update(length=0), "has a gap between segments"),
        (lambda d: d[1].update(length=1001), "has a gap between segments"),
        (lambda d: d[2].update(length=51), "does not cover the archive"),
        (lambda d: d[1].update(size=1000), "tells sizes that cannot be"),
        (lambda d: d[1].update(size=1 << 20), "tells sizes that cannot be"),
        (lambda d: d[3].update(file="x.notes.age"), "names a file beside the archive wrongly"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_reason(
    change: Callable[[Lines], object], why: str
) -> None:
    lines = [json.loads(one) for one in GOOD.text().splitlines()]
    change(lines)
    found = read_manifest(b"".join(json.dumps(one).encode() + b"\n" for one in lines))
    assert isinstance(found, Unreadable) and why in found.why
    assert found.later is ("another version" in why)


def test_a_manifest_beyond_measure_is_refused_before_it_is_read() -> None:
    for text, why in (
        (b"x" * MOST + b"\n", "is longer than"),
        (b'{"encrypted_copy": 1, "x": "' + b"x" * 20_000 + b'"}\n', "is no manifest"),
        (b"[" * 10_000 + b"\n", "is no manifest"),
        (b"[]\n", "is no manifest"),
        (b'{"encrypted_copy": 1}\n' + b"\n" * 20_000, "cut short|names no archive"),
        (b"", "is cut short"),
        (b"\n", "is no manifest"),
    ):
        found = read_manifest(text)
        assert isinstance(found, Unreadable) and any(one in found.why for one in why.split("|"))


def test_the_files_of_a_copy_are_found_and_no_others() -> None:
    mine = [FIRST.file, SECOND.file, NOTES.file, manifest_name(NAME), f"{manifest_name(NAME)}~2"]
    other = NAME.replace("108", "109")
    others = [
        NAME,
        f"{NAME}.notes",
        plain_manifest(NAME),
        segment_name(other, 1),
        manifest_name(other),
        f"{FIRST.file}.part",
        f"{NAME}.1.age",
        f"x{FIRST.file}",
        f"{FIRST.file}~1",
        f"{FIRST.file}~0",
    ]
    assert own_files(NAME, [*others, *mine]) == sorted(mine)


@given(st.integers(0, 10_000), st.integers(1, 700))
def test_ranges_cover_all_of_an_archive_in_order(size: int, length: int) -> None:
    found = list(ranges(size, length))
    assert found[0][:2] == (1, 0) and sum(count for _, _, count in found) == size
    for (number, start, count), after in pairwise(found):
        assert after[:2] == (number + 1, start + count) and count == length
    assert 0 <= found[-1][2] <= length and (found[-1][2] > 0 or size == 0)


@given(st.lists(st.tuples(st.integers(1, 10**13), st.integers(1, 999_999)), max_size=20))
def test_what_the_catalog_keeps_says_what_it_was_made_of(parts: list[tuple[int, int]]) -> None:
    stored = [
        Stored(numbered(segment_name(NAME, number), attempt), size, SHA)
        for number, (size, attempt) in enumerate(parts, 1)
    ]
    assert unpacked(NAME, packed(stored, hashes=True)) == stored
    bare = [replace(one, sha256="") for one in stored]
    assert unpacked(NAME, packed(stored, hashes=False)) == bare


@pytest.mark.parametrize("text", ["", "x", "1 x", "1~1", "1~01", "1:ab", "-1", "1 2~"])
def test_what_the_catalog_does_not_keep_so_is_no_segment(text: str) -> None:
    assert unpacked(NAME, text) == []
