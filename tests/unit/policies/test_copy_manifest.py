"""The manifest that makes bytes a copy, and the names of what lies beside an archive."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.copy_manifest import (
    MOST,
    Manifest,
    attempts,
    manifest_name,
    numbered,
    part_name,
    read_manifest,
    sidecar_names,
)
from policies.pve.volid import parse_name

NAME = "vzdump-qemu-108-2026_03_09-21_00_02.vma.zst"
GOOD = Manifest(f"local:backup/{NAME}", NAME, 5, "ab" * 32, ((f"{NAME}.notes", f"{NAME}.notes~2"),))


@pytest.mark.parametrize(
    "name", [NAME, "vzdump-lxc-105-2026_03_09-21_00_02.tar.zst", "mine.tgz", "x.vma"]
)
def test_no_file_of_a_copy_is_listed_as_an_archive_before_it_is_one(name: str) -> None:
    assert parse_name(name) is not None
    for file in (part_name(name), manifest_name(name), *sidecar_names(name)):
        assert parse_name(file) is None and parse_name(numbered(file, 2)) is None
    assert parse_name(numbered(name, 2)) is None, (
        "what cannot be had back at an immutable target is no archive either"
    )


def test_what_lies_beside_an_archive_has_the_names_that_pve_has_for_it() -> None:
    stem = NAME.removesuffix(".vma.zst")
    assert sidecar_names(NAME) == (f"{NAME}.notes", f"{stem}.log", f"{NAME}.protected")
    assert (part_name(NAME), manifest_name(NAME)) == (f".{NAME}.part", f"{NAME}.copy.json")
    assert (numbered("a", 1), numbered("a", 2), numbered("a", 10)) == ("a", "a~2", "a~10")


def test_attempts_are_found_by_their_numbers_and_in_their_order() -> None:
    assert attempts("a.z", ["a.z~10", "b", "a.z~2", "a.z", "a.z~3"]) == [
        "a.z",
        "a.z~2",
        "a.z~3",
        "a.z~10",
    ]
    assert (
        attempts(
            "a.z",
            ["a.z~", "a.z~1", "a.z~02", "a.z~0", "axz", "a.z~2~2", "xa.z", "a.z~1234567", "a.z~x"],
        )
        == []
    )
    assert attempts("a.z", ["a.z~9", "a.z~11", "a.z~123456"]) == ["a.z~9", "a.z~11", "a.z~123456"]


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert read_manifest(GOOD.text()) == GOOD
    assert json.loads(GOOD.text())["sidecars"] == {f"{NAME}.notes": f"{NAME}.notes~2"}


def test_law_4_a_manifest_that_is_cut_anywhere_is_none() -> None:
    text = GOOD.text()
    assert [cut for cut in range(len(text)) if read_manifest(text[:cut])] == []


def test_what_a_later_release_adds_does_not_matter() -> None:
    text = json.dumps(json.loads(GOOD.text()) | {"age": "recipients"}).encode() + b"\n"
    assert read_manifest(text) == GOOD


@pytest.mark.parametrize(
    "change",
    [
        {"copy": 2},
        {"copy": None},
        {"volid": 108},
        {"file": None},
        {"file": "../etc/passwd"},
        {"file": ".."},
        {"file": "."},
        {"file": ""},
        {"file": "a\x00b"},
        {"file": "a" * 256},
        {"size": -1},
        {"size": "5"},
        {"size": 5.0},
        {"size": True},
        {"sha256": "AB" * 32},
        {"sha256": "ab" * 31},
        {"sha256": None},
        {"sidecars": []},
        {"sidecars": {"x": 5}},
        {"sidecars": {"x": "/etc/passwd"}},
    ],
)
def test_a_manifest_with_something_strange_in_it_is_none(change: dict[str, object]) -> None:
    assert read_manifest(json.dumps(json.loads(GOOD.text()) | change).encode() + b"\n") is None


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"[]\n", b"5\n", b"\xff\xfe\n", b"{\n", b"[" * 50_000 + b"\n"]
)
def test_what_is_no_manifest_is_none(text: bytes) -> None:
    assert read_manifest(text) is None


def test_a_manifest_is_short() -> None:
    assert MOST == 65536
    rest = MOST - len(json.dumps(json.loads(GOOD.text()) | {"more": ""})) - 1
    just = json.dumps(json.loads(GOOD.text()) | {"more": "x" * rest}).encode() + b"\n"
    assert len(just) == MOST and read_manifest(just) == GOOD


def test_a_manifest_without_an_end_is_none() -> None:
    long = json.dumps(json.loads(GOOD.text()) | {"more": "x" * MOST}).encode() + b"\n"
    assert read_manifest(long) is None


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 255))
def test_no_bytes_upset_the_reader(noise: bytes, at: int, byte: int) -> None:
    read_manifest(noise)
    text = bytearray(GOOD.text())
    text[at % len(text)] = byte
    found = read_manifest(bytes(text))
    assert found is None or "/" not in found.file
