"""What wraps the VMA or tar stream: which compression it is, and its decoder."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from backupsvc.archives.streams import ByteStream, Damage
from backupsvc.archives.zstd import ZstdDecoder

OUTPUT = 1024 * 1024
INPUT = 64 * 1024


class Decoder(Protocol):
    """Iterates over the decoded bytes and raises Damage where they end badly."""

    @property
    def checksummed(self) -> bool:
        """Whether all decoded bytes are covered by a checksum; true to rely on only after the whole
        iteration.
        """
        ...

    def __iter__(self) -> Iterator[bytes]: ...


class Plain:
    """No compression: nothing covers the data."""

    checksummed = False

    def __init__(self, source: ByteStream) -> None:
        self._source = source

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._source.some(OUTPUT):
            yield chunk


class _Member(Protocol):
    """One gzip or bzip2 member's decompressor, in the manner of ``bz2.BZ2Decompressor``."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gunzip:
    """zlib's decompressor in the same manner; it checks each member's CRC-32 and size."""

    def __init__(self) -> None:
        # 31: gzip's header and trailer, which has the checksum; zlib alone would not look at it
        self._zlib = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        # bounded: a few bytes may swell to gigabytes, and whoever reads decides how far it goes on
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


class Members:
    """gzip or bzip2: one member after another, each with its own checksum, and nothing after the
    last.
    """

    checksummed = True

    def __init__(
        self, source: ByteStream, word: str, magic: bytes, member: Callable[[], _Member]
    ) -> None:
        self._source, self._word, self._magic, self._member = source, word, magic, member

    def __iter__(self) -> Iterator[bytes]:
        # a name may promise what the file is not: else the decoder's own words would be the report
        if not self._source.peek(len(self._magic)).startswith(self._magic):
            raise Damage(0, f"not {self._word} data: wrong magic number")
        rest = b""
        # a file is a series of members (RFC 1952, 2.2), as that of bzip2 is
        while rest or self._source.peek(1):
            start = self._source.offset - len(rest)
            head = rest[: len(self._magic)]
            if start and not (head + self._source.peek(len(self._magic))).startswith(self._magic):
                raise Damage(
                    start,
                    f"{len(rest) + self._source.drain()} bytes of garbage after the end of the "
                    f"{self._word} data",
                )
            decompressor = self._member()
            while not decompressor.eof:
                start = self._source.offset - len(rest)
                if not rest and decompressor.needs_input:
                    rest = self._source.some(INPUT)
                    if not rest:
                        raise Damage(
                            start,
                            f"the file ends in the middle of its {self._word} data (premature end)",
                        )
                try:
                    chunk = decompressor.decompress(rest, OUTPUT)
                except (zlib.error, OSError, EOFError) as error:
                    raise Damage(start, f"corrupt {self._word} data: {error}") from error
                rest = b""
                if chunk:
                    yield chunk
            # what was read too far is of the next member
            rest = decompressor.unused_data


DECODERS: dict[str, Callable[[ByteStream], Decoder]] = {
    "": Plain,
    "zst": ZstdDecoder,
    "gz": lambda source: Members(source, "gzip", b"\x1f\x8b", _Gunzip),
    "bz2": lambda source: Members(source, "bzip2", b"BZh", bz2.BZ2Decompressor),
}
MAGICS = {b"\x28\xb5\x2f\xfd": "zst", b"\x1f\x8b": "gz", b"BZh": "bz2", b"\x89LZO": "lzo"}


def recognise(head: bytes) -> str:
    """Given a file's first bytes, return its compression, as an extension says it ("" when none is
    recognised).
    """
    return next((word for magic, word in MAGICS.items() if head.startswith(magic)), "")
