"""Zstandard, frame by frame and block by block (RFC 8878), so that damage has an offset and no
input can swell in memory.

``backports.zstd`` decodes; this module walks the blocks for it. The ``zstandard`` package (0.25.0)
is no choice: it returns the first half of a truncated file without an error.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from backports.zstd import ZstdDecompressor, ZstdError

from backupsvc.archives.streams import ByteStream, Damage

MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = 0x184D2A50
BLOCK_MAX = 128 * 1024
PIECE = 32 * 1024  # the size of the first buffer that the decoder allocates
# vzdump's level 3 takes 2 MiB, `zstd -19` takes 8, and the decoder allocates what a frame asks for
MAX_WINDOW = 64 * 1024 * 1024
RLE, COMPRESSED = 1, 2
DICTIONARY_ID_BYTES = (0, 1, 2, 4)


class ZstdDecoder:
    """Given the file's bytes, iterate over the decoded ones, at most 32 KiB at a time. Raise Damage
    where decoding ends.

    ``checksummed`` is true when every frame carried a checksum of its content (zstd's default, so
    every archive of PVE's).
    """

    def __init__(self, source: ByteStream) -> None:
        self._source = source
        self._frames = 0
        self.checksummed = True

    def __iter__(self) -> Iterator[bytes]:
        source = self._source
        while magic := source.take(4):
            start = source.offset - len(magic)
            if magic == MAGIC:
                yield from self._frame()
                self._frames += 1
            elif len(magic) == 4 and struct.unpack("<I", magic)[0] & ~0xF == SKIPPABLE:
                (size,) = struct.unpack("<I", self._exactly(4))
                if source.skip(size) < size:
                    raise self._premature_end()
            elif self._frames:
                raise Damage(
                    start,
                    f"{len(magic) + source.drain()} bytes of garbage after the end of the zstd "
                    "data",
                )
            # fewer than four bytes, and right as far as they go
            elif MAGIC.startswith(magic):
                raise self._premature_end()
            else:
                raise Damage(start, "not zstd data: wrong magic number")

    def _frame(self) -> Iterator[bytes]:
        decoder = ZstdDecompressor()
        start = self._source.offset - len(MAGIC)
        header, has_checksum = self._header()
        self._decode(decoder, MAGIC + header, start)
        last = False
        while not last:
            start = self._source.offset
            block_header = self._exactly(3)
            word = int.from_bytes(block_header, "little")
            kind, size, last = word >> 1 & 3, word >> 3, bool(word & 1)
            if kind > COMPRESSED or size > BLOCK_MAX:
                raise Damage(start, "corrupt zstd block header")
            self._decode(decoder, block_header, start)
            if kind == RLE:  # one byte in the file, whatever size it is repeated to
                size = 1
            if not size:
                continue
            # taken out in pieces for which the decoder needs one buffer and no copy
            piece = self._decode(decoder, self._exactly(size), start)
            while piece:
                yield piece
                more = not (decoder.needs_input or decoder.eof)
                piece = self._decode(decoder, b"", start) if more else b""
        if has_checksum:
            start = self._source.offset
            self._decode(decoder, self._exactly(4), start)
        else:
            self.checksummed = False
        if not decoder.eof:
            raise Damage(self._source.offset, "the zstd frame does not end after its last block")

    def _header(self) -> tuple[bytes, bool]:
        """Return the rest of the frame header and whether a checksum will follow the blocks."""
        start = self._source.offset - len(MAGIC)
        descriptor = self._exactly(1)
        flags = descriptor[0]
        single_segment = flags >> 5 & 1
        content_size = (single_segment, 2, 4, 8)[flags >> 6]
        rest = self._exactly((1 - single_segment) + DICTIONARY_ID_BYTES[flags & 3] + content_size)
        if single_segment:  # its content is its window; a size of two bytes counts from 256
            window = int.from_bytes(rest[-content_size:], "little")
            window += 256 if content_size == 2 else 0
        else:  # RFC 8878, 3.1.1.1.2
            base = 1 << 10 + (rest[0] >> 3)
            window = base + base // 8 * (rest[0] & 7)
        if window > MAX_WINDOW:
            text = (
                f"its zstd data asks for {window} bytes of memory, of which {MAX_WINDOW} are given"
            )
            raise Damage(
                start, f"{text}; run `zstd -d --memory={window}` and check the decompressed file"
            )
        return descriptor + rest, bool(flags & 4)

    def _decode(self, decoder: ZstdDecompressor, data: bytes, offset: int) -> bytes:
        try:
            return decoder.decompress(data, PIECE)
        except (ZstdError, EOFError) as error:
            raise Damage(offset, f"corrupt zstd data: {error}") from error

    def _exactly(self, size: int) -> bytes:
        data = self._source.take(size)
        if len(data) < size:
            raise self._premature_end()
        return data

    def _premature_end(self) -> Damage:
        return Damage(
            self._source.offset, "the file ends in the middle of its zstd data (premature end)"
        )
