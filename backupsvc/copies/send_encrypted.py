"""Bring one archive to one target encrypted, in segments, and show that it is there. Killed
anywhere, it is decided anew by the next attempt.

What is decided stands in ``policies/segments_decision.py``. Nothing leaves but encrypted bytes and a
manifest; each segment is read back at the target before the next one is sent, and the manifest
comes last.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import BinaryIO

from backupsvc.copies import age
from backupsvc.copies.pace import Pace
from backupsvc.copies.send import SEE_WHAT, Order, Verified, Watch, changed, of_one_archive
from backupsvc.copies.small import content, put
from backupsvc.copies.sources import Source
from backupsvc.copies.target import CHUNK, Target, Writing, needs
from backupsvc.errors import ArchiveError, BackupsvcError, CopyError, NoRoom
from policies import segments
from policies.copy_decision import Progress, Wanted, free_name
from policies.copy_manifest import attempts, sidecar_names
from policies.segments import MOST, Segment, SegmentManifest, Stored, Unreadable
from policies.segments_decision import Decision, Seen, decide, label

_HEADER = 4096  # bytes that a file of age has before its data, and more


def send_encrypted(
    source: Source, target: Target, order: Order, watch: Watch | None = None
) -> Verified:
    """Given an archive, a target and an order with recipients, bring it there encrypted unless it
    is there, and return the copy, verified: each of its files was read back by its hash.

    One at a time an archive and target. Raise as ``send`` does; then no manifest is at the target
    that was not there before, and what lies there of segments is kept for the next attempt.
    """
    return _Sending(source, target, order, watch or Watch()).run()


class _Sending:
    """One attempt."""

    def __init__(self, source: Source, target: Target, order: Order, watch: Watch) -> None:
        self._source, self._target, self._order, self._watch = source, target, order, watch
        self._stat = source.stat()
        size = self._stat.size
        self._wanted = Wanted(order.volid, source.name, size, self._stat.modified, order.sha256)
        self._begun = Progress(
            order.volid, size, self._stat.modified, label(source.name), 0, "", order.recipients
        )
        # of an archive beyond measure the segments are longer
        self._length = order.segment * max(1, -(-size // (order.segment * segments.MOST_SEGMENTS)))
        self._known = order.progress
        bad = order.damaged
        held = segments.unpacked(bad.file, bad.segments) if bad else []
        self._damaged = frozenset(one.file for one in held)
        # what manifests speak of that stay there: a segment sent again may have as many bytes as the
        # one before, and under its name it would pass for that
        self._spoken: set[str] = set()
        self._moved, self._began = 0, watch.clock.monotonic()
        self._pace = Pace(order.bandwidth, watch.clock, watch.alive)
        self._how = ""

    def run(self) -> Verified:
        """Look, decide and act, until a verified copy is there."""
        refuted: set[str] = set()
        reasons: list[str] = []
        while True:
            decision = self._decide(refuted)
            reasons += decision.reasons
            if decision.refusal:
                raise CopyError(f"{self._target.what}: {decision.refusal}", SEE_WHAT)
            for file in decision.remove:
                self._target.remove(file)
            if decision.manifest is not None:
                return self._verified(decision.manifest, "its manifest matches", reasons, decision)
            gone = set()  # of the kept segments those that do not hold what was sent to them
            for one in decision.kept.values():
                digest = self._target.digest(one.file, self._came)
                self._how = digest.how
                if (digest.size, digest.sha256) != (one.size, one.sha256):
                    gone.add(one.file)
            if gone:
                refuted |= gone
            elif manifest := self._brought(decision):
                how = f"encrypted; each segment {self._how}"
                return self._verified(manifest, how, reasons, decision)
            else:
                # the segments that were kept are not of the archive as it is now
                self._known = None

    def _decide(self, refuted: set[str]) -> Decision:
        files, name = self._target.files(), segments.manifest_name(self._wanted.name)
        found: dict[str, SegmentManifest | Unreadable] = {
            file: segments.read_manifest(content(self._target, file, MOST))
            for file in attempts(name, files)
        }
        decision = decide(
            self._wanted,
            self._order.recipients,
            Seen(files, found),
            self._known,
            length=self._length,
            immutable=self._order.immutable,
            refuted=refuted,
            damaged=self._damaged,
        )
        self._spoken = {
            spoken
            for file, one in found.items()
            if isinstance(one, SegmentManifest) and file not in decision.remove
            for spoken in one.files()
        }
        return decision

    def _brought(self, decision: Decision) -> SegmentManifest | None:
        """Send what is missing and the manifest; return that. None if what was kept turns out to be
        of another archive.
        """
        parts = list(segments.ranges(self._wanted.size, self._length))
        # at most: age adds 16 bytes to each 64 KiB
        to_come = sum(
            count + count // 4096 + _HEADER
            for number, _, count in parts
            if number not in decision.kept
        )
        if refusal := needs(self._target.what, to_come, self._target.space()):
            raise refusal
        try:
            hashed, found = hashlib.sha256(), list[Segment]()
            with self._source.open() as stream:
                for number, start, count in parts:
                    kept = decision.kept.get(number)
                    found.append(self._segment(stream, hashed, number, start, count, kept))
                    before = self._known.sha256 if self._known else None
                    if number == decision.known and before != hashed.hexdigest():
                        return None
                    if number >= decision.known:
                        sent = replace(self._begun, sent=start + count, sha256=hashed.hexdigest())
                        packed = segments.packed(found, hashes=True)
                        self._watch.record(replace(sent, segments=packed))
                if stream.read(1):
                    raise changed(self._source)
            sha256 = of_one_archive(self._source, self._stat, self._wanted, hashed.hexdigest())
            beside = []
            for name in sidecar_names(self._wanted.name):
                if (data := self._source.sidecar(name)) is not None:
                    plain = _Plain(io.BytesIO(data), len(data), hashlib.sha256(), self._watch.alive)
                    one = self._encrypted(f"{name}{segments.END}", plain, 0, len(data))
                    beside.append((name, one))
        except (ArchiveError, NoRoom):
            # it can never go on; or it is in the way of others. What stays is no more than litter
            if not self._order.immutable:
                with suppress(BackupsvcError):
                    for file in segments.own_files(self._wanted.name, self._target.files()):
                        self._target.remove(file)
            raise
        return self._published(sha256, found, tuple(beside))

    def _segment(
        self,
        stream: BinaryIO,
        hashed: hashlib._Hash,
        number: int,
        start: int,
        count: int,
        kept: Stored | None,
    ) -> Segment:
        """Have the archive's next bytes there; they are read for their hash in any case."""
        plain = _Plain(stream, count, hashed, self._watch.alive)
        if kept:
            while plain.read(CHUNK):
                pass
            found = Segment(kept.file, kept.size, kept.sha256, start, count)
        else:
            name = segments.segment_name(self._wanted.name, number)
            found = self._encrypted(name, plain, start, count)
        # no longer as large as it was: it is being written, or is another file by now
        if plain.left:
            raise changed(self._source)
        return found

    def _encrypted(self, name: str, plain: _Plain, start: int, count: int) -> Segment:
        """Write an encrypted file there, and read it back; return what it is."""
        file = free_name(name, self._spoken | set(self._target.files()))
        with self._target.write(file) as writing:
            cipher = _Cipher(writing, self._sent)
            age.encrypt(plain.read, cipher.write, self._order.recipients)
            cipher.flush()
            writing.sync()
        sha256 = cipher.hashed.hexdigest()
        found = self._target.digest(file, self._came)
        self._how = found.how
        if (found.size, found.sha256) != (cipher.size, sha256):
            if not self._order.immutable:
                with suppress(BackupsvcError):
                    self._target.remove(file)
            raise CopyError(
                f"{self._target.what} does not hold what was sent to {file}: {found.size} bytes "
                f"with SHA-256 {found.sha256} ({found.how}), sent were {cipher.size} with {sha256}",
                "its disk or its memory changes data: trust no copy there until it is examined "
                "(SMART, memtest, a scrub)",
            )
        return Segment(file, cipher.size, sha256, start, count)

    def _published(
        self, sha256: str, found: list[Segment], beside: tuple[tuple[str, Segment], ...]
    ) -> SegmentManifest:
        wanted = self._wanted
        manifest = SegmentManifest(
            wanted.volid,
            wanted.name,
            wanted.size,
            sha256,
            self._order.recipients,
            tuple(found),
            beside,
        )
        # that they were written was told; here it is seen
        files = self._target.files()
        if gone := [one for one, size in manifest.files().items() if files.get(one) != size]:
            raise CopyError(
                f"{self._target.what} does not list {gone[0]} as it was written", "copy it again"
            )
        name = segments.manifest_name(wanted.name)
        # last: what has a manifest counts as a copy, whatever else lies there
        put(self._target, name, manifest.text(), immutable=self._order.immutable)
        # now that another copy has its manifest, what is left of the damaged one goes
        if self._damaged and not self._order.immutable:
            kept = {*manifest.files(), name}
            for file in segments.own_files(wanted.name, self._target.files()):
                if file not in kept:
                    self._target.remove(file)
        return manifest

    def _sent(self, count: int) -> None:
        self._moved += count
        self._pace.sent(count)

    def _came(self, count: int) -> None:
        self._pace.sent(count)
        self._watch.alive()

    def _verified(
        self, manifest: SegmentManifest, how: str, reasons: list[str], decision: Decision
    ) -> Verified:
        seconds = self._watch.clock.monotonic() - self._began
        return Verified(manifest, self._moved, seconds, how, tuple(reasons), decision.litter)


class _Plain:
    """The next ``left`` bytes of an archive, hashed as they are read."""

    def __init__(
        self, stream: BinaryIO, left: int, hashed: hashlib._Hash, alive: Callable[[], None]
    ) -> None:
        self._stream, self.left, self._hashed, self._alive = stream, left, hashed, alive
        self._piece, self._at = b"", 0

    def read(self, size: int) -> bytes:
        """Return up to so many bytes; none at the end."""
        if self._at == len(self._piece) and self.left:
            self._alive()
            # pyrage asks for a little at a time, the source is asked for much
            self._piece, self._at = self._stream.read(min(CHUNK, self.left)), 0
            self.left -= len(self._piece)
            self._hashed.update(self._piece)
        found = self._piece[self._at : self._at + size]
        self._at += len(found)
        return found


class _Cipher:
    """Encrypted bytes on their way to a target, hashed as they are sent."""

    def __init__(self, writing: Writing, sent: Callable[[int], None]) -> None:
        self._writing, self._sent = writing, sent
        self._held = bytearray()
        self.hashed, self.size = hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        """Take bytes; they go on in larger pieces."""
        self._held += data
        if len(self._held) >= CHUNK:
            self.flush()

    def flush(self) -> None:
        """Send what is held."""
        data, self._held = bytes(self._held), bytearray()
        if data:
            self._writing.write(data)
            self.hashed.update(data)
            self.size += len(data)
            self._sent(len(data))
