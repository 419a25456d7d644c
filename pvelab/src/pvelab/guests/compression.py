"""Compressed archives on disk: write them as vzdump's compressors do, read them as a restore's
decompressors do.

Failures carry the texts of the real programs, which PVE copies into its task logs
(04_vzdump_errors, 06_restore_errors).
"""

from __future__ import annotations

import errno
import gzip
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from backports import zstd

_CHUNK = 1024 * 1024
# what zstd prints for its error codes (zstd lib/common/error_private.c), as far as damaged archives
# meet them
_ZSTD_CODES = {"Restored data doesn't match checksum": 36, "Unknown frame descriptor": 10}
_ZSTD_LEVEL = 1
_ZSTD_BLOCK = 128 * 1024
SUFFIXES = {"0": "", "1": ".lzo", "gzip": ".gz", "lzo": ".lzo", "zstd": ".zst"}
COMMANDS = {".zst": "zstd -q -d -c", ".gz": "zcat", ".lzo": "lzop -d -c", ".bz2": "bzip2 -d -c"}


class CompressorFailed(Exception):
    """Writing an archive failed: ``raw`` is the compressor's own line, the text is what QEMU says
    of its broken pipe.
    """

    def __init__(self, text: str, raw: str | None = None) -> None:
        super().__init__(text)
        self.raw = raw


class Sink(Protocol):
    """Where an archive is written to."""

    def write(self, data: bytes, /) -> object:
        """Write some bytes."""
        ...


@contextmanager
def compressed(path: Path, suffix: str) -> Iterator[Sink]:
    """Write a new file, compressed as its ``suffix`` says; zstd makes one frame with a checksum and
    no content size.

    Raise CompressorFailed when the disk is full or the suffix has no compressor here.
    """
    try:
        with path.open("wb") as file:
            packer: AbstractContextManager[Sink]
            if suffix == ".zst":
                options: dict[int, int] = {
                    zstd.CompressionParameter.compression_level: _ZSTD_LEVEL,
                    # nothing else in an archive sees a flipped bit (pve-facts 10.2)
                    zstd.CompressionParameter.checksum_flag: 1,
                }
                packer = zstd.ZstdFile(file, "wb", options=options)
            elif suffix == ".gz":
                packer = gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=1)
            elif suffix:
                raise CompressorFailed(f"no compressor for '{suffix}' archives in the lab")
            else:
                packer = nullcontext(file)
            with packer as sink:
                yield sink
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        if suffix == ".zst":
            raw = "zstd: error 70 : Write error : cannot write block : No space left on device "
            raise CompressorFailed("vma_queue_write: write error - Broken pipe", raw) from error
        raise CompressorFailed("vma_queue_write: write error - No space left on device") from error


class Decompressed:
    """An archive's content as a stream. When the decompressor fails the stream just ends, and
    ``failure`` says what it printed.

    ``consumed`` counts the compressed bytes read so far.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self._file = path.open("rb")
        self._shown, self._suffix = shown, path.suffix if path.suffix in COMMANDS else ""
        self.failure: str | None = None
        self.consumed = 0
        if self._suffix == ".zst":
            self._chunks = self._unzstd()
        elif self._suffix == ".gz":
            self._chunks = self._gunzip()
        elif self._suffix:
            raise CompressorFailed(f"no decompressor for '{self._suffix}' archives in the lab")
        else:
            self._chunks = self._raw()
        self._buffer = bytearray()

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes, fewer only at the end of what could be decompressed."""
        while len(self._buffer) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._buffer += chunk
        out = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return out

    def drain(self) -> None:
        """Read to the end, so that a damaged end is noticed."""
        self._buffer.clear()
        for _ in self._chunks:
            pass

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Decompressed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _raw(self) -> Iterator[bytes]:
        while chunk := self._file.read(_CHUNK):
            self.consumed += len(chunk)
            yield chunk

    def _unzstd(self) -> Iterator[bytes]:
        """A damaged frame loses the block before the damage too: zstd writes it with the next one.
        A cut one loses nothing.
        """
        held, frame = b"", zstd.ZstdDecompressor()
        first = True
        for raw in self._raw():
            if first and raw[:4] != b"\x28\xb5\x2f\xfd":
                self.failure = f"zstd: {self._shown}: unsupported format "
                return
            first, data = False, raw
            while data or not (frame.eof or frame.needs_input):
                if frame.eof:
                    frame = zstd.ZstdDecompressor()
                try:
                    out = frame.decompress(data, _ZSTD_BLOCK)
                except zstd.ZstdError as error:
                    text = str(error).rpartition(": ")[2].rstrip(".")
                    code = _ZSTD_CODES.get(text, 20 if "corruption" in text else 36)
                    self.failure = f"{self._shown} : Decoding error ({code}) : {text} "
                    return
                data = frame.unused_data if frame.eof else b""
                if out:
                    yield held
                    held = out
        if first:
            self.failure = f"zstd: {self._shown}: unexpected end of file "
        elif not frame.eof:
            self.failure = f"{self._shown} : Read error (39) : premature end "
        yield held

    def _gunzip(self) -> Iterator[bytes]:
        unpacker = zlib.decompressobj(wbits=31)
        for raw in self._raw():
            try:
                yield unpacker.decompress(raw)
            except zlib.error:
                self.failure = f"gzip: {self._shown}: invalid compressed data--crc error"
                return
        if not unpacker.eof:
            self.failure = f"gzip: {self._shown}: unexpected end of file"
