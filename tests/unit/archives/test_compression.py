"""Decoders: damage is found and has an offset."""

import bz2
import gzip
import io
import struct
import subprocess

import pytest
from backports.zstd import CompressionParameter, ZstdCompressor, compress, decompress
from hypothesis import given
from hypothesis import strategies as st

from backupsvc.archives.compression import DECODERS, recognise
from backupsvc.archives.content import Content
from backupsvc.archives.streams import ByteStream, Damage
from backupsvc.archives.zstd import ZstdDecoder

from .build import pattern, unhurried, zst

DATA = pattern(300_000)
PACKED = {"zst": zst(DATA), "gz": gzip.compress(DATA), "bz2": bz2.compress(DATA)}
each = pytest.mark.parametrize("word", list(PACKED))


def decode(word: str, data: bytes, chunk: int = 1000) -> bytes:
    source = ByteStream(data[at : at + chunk] for at in range(0, len(data), chunk))
    return b"".join(DECODERS[word](source))


@each
def test_the_content_comes_out_however_the_file_arrives(word: str) -> None:
    for chunk in (7, 4096, 10**6):
        assert decode(word, PACKED[word], chunk) == DATA


@each
def test_several_members_are_one_content(word: str) -> None:
    assert decode(word, PACKED[word] * 3) == DATA * 3


@each
def test_nothing_but_the_wrong_magic_is_told_of_another_format(word: str) -> None:
    with pytest.raises(Damage, match="wrong magic") as caught:
        decode(word, b"VMA\0" + bytes(1000))
    assert caught.value.offset == 0


@each
@unhurried
@given(data=st.data())
def test_a_file_cut_anywhere_is_found_at_its_end(word: str, data: st.DataObject) -> None:
    packed = PACKED[word]
    cut = data.draw(st.integers(4, len(packed) - 1))
    with pytest.raises(Damage, match="premature end") as caught:
        decode(word, packed[:cut])
    assert caught.value.offset == cut


@each
@unhurried
@given(data=st.data())
def test_a_flipped_bit_is_found_or_changes_no_byte_of_the_content(
    word: str, data: st.DataObject
) -> None:
    packed = bytearray(PACKED[word])
    bit = data.draw(st.integers(0, 8 * len(packed) - 1))
    packed[bit // 8] ^= 1 << bit % 8
    try:
        assert decode(word, bytes(packed)) == DATA
    except Damage as damage:
        assert 0 <= (damage.offset or 0) <= len(packed)


@each
@pytest.mark.parametrize("garbage", [b"\0", b"trailing", b"\x28\xb5\x2f", bytes(5000)])
def test_garbage_after_the_end_is_found_where_it_starts(word: str, garbage: bytes) -> None:
    with pytest.raises(Damage, match="garbage after the end") as caught:
        decode(word, PACKED[word] + garbage)
    assert caught.value.offset == len(PACKED[word])
    assert str(len(garbage)) in str(caught.value)


def test_a_damaged_block_is_told_with_its_own_offset() -> None:
    packed = bytearray(zst(DATA * 2))
    first = 6  # magic, descriptor, window
    size = int.from_bytes(packed[first : first + 3], "little") >> 3
    second = first + 3 + size
    packed[second] |= 0b110  # a block of the reserved kind
    with pytest.raises(Damage) as caught:
        decode("zst", bytes(packed))
    assert caught.value.offset == second


def test_a_wrong_checksum_is_told_where_it_stands() -> None:
    packed = PACKED["zst"][:-1] + bytes([PACKED["zst"][-1] ^ 1])
    with pytest.raises(Damage, match="checksum") as caught:
        decode("zst", packed)
    assert caught.value.offset == len(packed) - 4


def test_a_frame_without_checksum_is_read_and_known_as_such() -> None:
    for data, expected in (
        (zst(DATA), True),
        (zst(DATA, checksum=False), False),
        (zst(DATA) + zst(DATA, checksum=False), False),
    ):
        decoder = ZstdDecoder(ByteStream([data]))
        assert b"".join(decoder) == decompress(data)
        assert decoder.checksummed is expected


def test_skippable_frames_are_passed_over() -> None:
    skippable = struct.pack("<II", 0x184D2A53, 5) + b"hello"
    assert decode("zst", skippable + zst(DATA) + skippable) == DATA
    with pytest.raises(Damage, match="premature end"):
        decode("zst", zst(DATA) + skippable[:-1])


def test_what_the_command_line_tool_writes_is_read() -> None:
    packed = subprocess.run(
        ["zstd", "-3", "--threads=2", "-c"], input=DATA * 10, stdout=subprocess.PIPE, check=True
    ).stdout
    assert decode("zst", packed) == DATA * 10


@pytest.mark.slow
def test_a_gibibyte_of_zeros_never_takes_more_than_a_piece_at_a_time() -> None:
    packed = subprocess.run(
        "head -c 1G /dev/zero | zstd -c", shell=True, stdout=subprocess.PIPE, check=True
    ).stdout
    assert len(packed) < 100_000
    total = 0
    for piece in ZstdDecoder(ByteStream([packed])):
        assert len(piece) <= 32 * 1024
        total += len(piece)
    assert total == 2**30


@pytest.mark.parametrize("name", ["vzdump-qemu-100-2024_01_01-00_00_00.vma.lzo", "of another name"])
def test_lzo_is_refused_with_a_way_out(name: str) -> None:
    with pytest.raises(Damage, match="lzop -d"):
        Content(ByteStream([b"\x89LZO\0"]), name)


def test_compressions_are_recognised_by_their_first_bytes() -> None:
    assert {word: recognise(packed) for word, packed in PACKED.items()} == {
        word: word for word in PACKED
    }
    assert recognise(b"VMA\0") == recognise(io.BytesIO().read()) == ""


def framed(window: int, data: bytes) -> bytes:
    options: dict[int, int] = {
        CompressionParameter.window_log: window,
        CompressionParameter.content_size_flag: False,
    }
    # which knows no size, else it would take a smaller window
    compressor = ZstdCompressor(options=options)
    return compressor.compress(data) + compressor.flush()


def test_a_window_that_would_take_the_machines_memory_is_refused_with_a_way_out() -> None:
    assert decode("zst", framed(26, DATA)) == DATA
    with pytest.raises(
        Damage, match=r"asks for 134217728 bytes of memory.*zstd -d --memory=134217728"
    ) as caught:
        decode("zst", framed(27, DATA))
    assert caught.value.offset == 0


def test_a_frame_in_one_segment_has_its_content_for_a_window() -> None:
    header = struct.pack("<IBQ", 0xFD2FB528, 0b1110_0000, 2**40)
    with pytest.raises(Damage, match="asks for 1099511627776 bytes"):
        decode("zst", header + b"\x01\0\0")


def test_empty_frames_and_empty_last_blocks_are_no_damage() -> None:
    assert decode("zst", compress(b"") * 3 + PACKED["zst"] + zst(b"", checksum=False)) == DATA
    streamed = ZstdCompressor()
    parts = streamed.compress(DATA, mode=ZstdCompressor.FLUSH_BLOCK) + streamed.flush()
    assert decode("zst", parts) == DATA
