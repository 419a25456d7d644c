"""What the reading process says is believed only in the form that it must have."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.archives.filesystems import told
from backupsvc.archives.filesystems.wire import HEAD, MAX_FRAME, frame, read_frame

ENTRY = ["hosts", "file", 12, 20, 1773086402, 0o644, None, ""]
VOLUME = ["scsi0", 1, "gpt", "", 4096, "ext4", True, None, ""]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
)


def test_what_is_right_is_taken() -> None:
    assert told.entry(ENTRY).name == "hosts"
    assert told.volume(VOLUME).filesystem == "ext4"


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 5), (0, "x" * 3000), (1, "device"), (2, -1), (2, True), (3, 2**63), (3, 1.5), (5, 0o10000),
     (6, 7), (7, None)],
)  # fmt: skip
def test_an_entry_with_one_thing_wrong_is_not_taken(at: int, value: Any) -> None:
    with pytest.raises(ValueError):
        told.entry([*ENTRY[:at], value, *ENTRY[at + 1 :]])


@pytest.mark.parametrize("mtime", [None, "now", 2**70, -(2**70), True])
def test_a_time_that_is_none_is_none(mtime: Any) -> None:
    found = told.entry([*ENTRY[:4], mtime, *ENTRY[5:]])
    assert found.mtime is None and found.when is None


def test_a_time_beyond_the_calendar_is_no_date() -> None:
    assert told.entry([*ENTRY[:4], 2**39, *ENTRY[5:]]).when is None


@given(ANYTHING)
def test_whatever_is_told_it_is_taken_or_a_value_error(value: Any) -> None:
    for believed in (told.entry, told.volume, told.file_size, told.failure, told.flag_or_none):
        with suppress(ValueError):
            believed(value)
    with suppress(ValueError):
        told.items(value, 3)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\xff", "1" * 10_000])
def test_json_that_is_none_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        told.parsed(text.encode("latin-1"))
    assert told.parsed(json.dumps([1]).encode()) == [1]


@given(st.binary(max_size=40))
def test_frames_come_as_they_were_sent_or_are_refused(data: bytes) -> None:
    def reading(raw: bytes) -> Any:
        left = [raw]

        def take(size: int) -> bytes:
            part, left[0] = left[0][:size], left[0][size:]
            return part

        return take

    assert read_frame(reading(frame(b"D", data))) == (b"D", data)
    with suppress(ValueError):
        read_frame(reading(data))
    with pytest.raises(ValueError, match="cut"):
        read_frame(reading(frame(b"D", data + b"x")[:-1]))
    with pytest.raises(ValueError):
        read_frame(reading(HEAD.pack(b"D", MAX_FRAME + 1)))
