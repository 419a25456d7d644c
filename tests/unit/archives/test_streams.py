"""The counted stream and the file that is hashed while it is read."""

import hashlib
import io
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.archives.streams import CHUNK, ByteStream, HashedSource

from .build import unhurried

PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=12)


@unhurried
@given(
    pieces=PIECES,
    steps=st.lists(
        st.tuples(st.sampled_from(["take", "skip", "peek", "some"]), st.integers(0, 60)),
        max_size=20,
    ),
)
def test_it_gives_the_same_bytes_as_one_buffer_however_they_arrive(
    pieces: list[bytes], steps: list[tuple[str, int]]
) -> None:
    stream, whole, at = ByteStream(pieces), b"".join(pieces), 0
    for step, size in steps:
        rest = whole[at:]
        if step == "take":
            assert stream.take(size) == rest[:size]
            at += min(size, len(rest))
        elif step == "skip":
            assert stream.skip(size) == min(size, len(rest))
            at += min(size, len(rest))
        elif step == "peek":
            assert stream.peek(size) == rest[:size]
        else:
            part = stream.some(size + 1)
            assert rest.startswith(part) and len(part) <= size + 1 and bool(part) is bool(rest)
            at += len(part)
        assert stream.offset == at
    assert stream.drain() == len(whole) - at
    assert stream.offset == len(whole)


def test_hash_size_and_progress_are_those_of_the_whole_file() -> None:
    data = bytes(range(256)) * (CHUNK // 100)
    told: list[int] = []
    with HashedSource(io.BytesIO(data), told.append) as source:
        assert b"".join(source) == data
    assert (source.sha256, source.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert told[-1] == len(data) and told == sorted(told)


def test_what_reading_raises_comes_out_where_it_is_iterated() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"), HashedSource(Broken()) as source:
        list(source)


def test_a_reader_that_is_left_in_the_middle_lets_its_thread_go() -> None:
    before = threading.active_count()
    with pytest.raises(KeyError), HashedSource(io.BytesIO(bytes(20 * CHUNK))) as source:
        next(iter(source))
        raise KeyError
    assert threading.active_count() == before
    assert source.size < 20 * CHUNK, "it stopped reading"
