"""From a file's bytes to the VMA or tar stream inside: what the name says, and what the first bytes
say where it says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from backupsvc.archives import compression
from backupsvc.archives.pax import BLOCK
from backupsvc.archives.streams import ByteStream, Damage
from backupsvc.archives.tar import TarPass, looks_like_tar
from backupsvc.archives.vma import MAGIC, Sink, VmaPass
from policies.pve.volid import EXTENSION

# The deadline of every reader, counted in work so that a slow machine blames no archive: an archive
# may swell to 256 GiB, and to 4 KiB more with each byte of its file (zstd makes 32 KiB of zeros of
# one byte). Taking a header apart counts as 32 KiB; both are some ten microseconds. What reaches
# the end of that is no dump of a guest: what a dump stores of zeros are the masks and holes.
ROOM, SWELL, STEP = 256 * 1024**3, 4096, 32 * 1024


def extension_of(name: str) -> str:
    """Given a file name, return its format in PVE's words (``vma.zst``; ``tgz`` is ``tar.gz``), or
    "" for a foreign name.
    """
    match = EXTENSION.search(name)
    if not match:
        return ""
    return "tar.gz" if match[1] == "tgz" else match[1]


class Content:
    """An opened archive: ``raw`` is its VMA or tar stream, ``decoder`` what unwraps it.

    Given the file's bytes and name. The name's extension decides, as it does for PVE: a file that
    is not what its name says could not be restored. Raise Damage if the file is empty or if its
    compression cannot be read.
    """

    def __init__(self, file: ByteStream, name: str) -> None:
        head = file.peek(6)
        if not head:
            raise Damage(0, "the file is empty")
        extension = extension_of(name)
        self._kind, _, wrapped = extension.partition(".")
        self.compression = wrapped if extension else compression.recognise(head)
        # what lzop writes has no decoder here
        if self.compression == "lzo":
            raise Damage(
                0,
                "compressed with LZO, which is not read here; run `lzop -d` and check the "
                "decompressed file",
            )
        self.decoder = compression.DECODERS[self.compression](file)
        self.raw = ByteStream(self._bounded(file))

    def _bounded(self, file: ByteStream) -> Iterator[bytes]:
        """Yield the decoded chunks. Raise Damage when the work on them is out of all proportion to
        the file.
        """
        decoded = 0
        for chunk in self.decoder:
            decoded += len(chunk)
            if decoded + STEP * self.raw.steps > ROOM + SWELL * file.offset:
                text = (
                    f"{file.offset} bytes of the file swell to {decoded}, and on: no guest's dump "
                    "does, so it is not read further"
                )
                raise Damage(file.offset, text)
            yield chunk

    def kind(self) -> str:
        """Return ``vma`` or ``tar``. Raise Damage if the name does not tell and the content is
        neither.
        """
        if self._kind:
            return self._kind
        head = self.raw.peek(BLOCK)
        if head.startswith(MAGIC):
            return "vma"
        if looks_like_tar(head):
            return "tar"
        raise Damage(0, "neither a VMA nor a tar archive")

    def reader(self, sink: Sink | None = None, *, sampled: bool = False) -> VmaPass | TarPass:
        """Return the pass that reads ``raw``; only VMA streams know a sink. With ``sampled`` it
        looks at what some places hold.
        """
        if self.kind() == "vma":
            return VmaPass(sink, sampled=sampled)
        return TarPass(sampled=sampled)

    def format(self, kind: str) -> str:
        """Given the kind, return PVE's word for the format, such as ``vma.zst``."""
        return f"{kind}.{self.compression}" if self.compression else kind
