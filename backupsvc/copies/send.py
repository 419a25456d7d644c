"""Bring one archive to one target, and show that it is there. Killed anywhere, it is decided anew
by the next attempt.

What is decided stands in ``policies/copy_decision.py``. Under the archive's name there is, at any
moment, nothing or all of it: the bytes are read back at the target before they are given that name,
and the manifest comes last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from backupsvc.clock import Clock, SystemClock
from backupsvc.copies.pace import Pace
from backupsvc.copies.small import content, put
from backupsvc.copies.sources import Source, Stat
from backupsvc.copies.target import CHUNK, Alive, Target, needs
from backupsvc.errors import ArchiveError, BackupsvcError, CopyError, NoRoom, TargetRefused
from policies import segments
from policies.copy_decision import (
    Action,
    Decision,
    Progress,
    Seen,
    Wanted,
    decide,
    holds,
)
from policies.copy_manifest import (
    MOST,
    Manifest,
    attempts,
    manifest_name,
    read_manifest,
    sidecar_names,
)
from policies.model import DamagedCopy
from policies.segments import SegmentManifest

CHECKPOINT = 256 << 20  # bytes after which what was sent is synced and recorded
SEE_WHAT = (
    "see what it is; nothing was overwritten. If it is not wanted, remove it there and copy again"
)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be copied, and how. ``sha256`` is what is known of the archive's bytes, if
    anything is; ``bandwidth`` in KiB/s.

    ``progress`` is what the last attempt recorded; ``checkpoint`` is after how many bytes this one
    does. ``recipients``: to whom it is encrypted (``send_encrypted``), in segments of so many bytes
    of the archive. ``damaged`` is an earlier copy that was found damaged: it is replaced once
    another one was read back.
    """

    volid: str
    sha256: str | None = None
    progress: Progress | None = None
    immutable: bool = False
    bandwidth: int | None = None
    checkpoint: int = CHECKPOINT
    recipients: tuple[str, ...] = ()
    segment: int = segments.LENGTH
    damaged: DamagedCopy | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """Who follows a copy. ``record`` keeps how far it came, for the next attempt; ``alive`` is
    called about each MiB.
    """

    record: Callable[[Progress], None] = lambda progress: None
    alive: Alive = lambda: None
    clock: Clock = field(default_factory=SystemClock)


@dataclass(frozen=True, slots=True)
class Verified:
    """A copy that is there. ``moved`` are the bytes that travelled this time, ``how`` is how it was
    shown to be whole.

    ``litter`` lies at an immutable target, is of no use, and is the far side's to remove.
    """

    manifest: Manifest | SegmentManifest
    moved: int
    seconds: float
    how: str
    reasons: tuple[str, ...]
    litter: tuple[str, ...] = ()


def send(source: Source, target: Target, order: Order, watch: Watch | None = None) -> Verified:
    """Given an archive, a target and the order, bring it there unless it is there, and return the
    copy, verified.

    One at a time an archive and target: that nobody else does the same meanwhile is the caller's
    lease.

    Raise ArchiveError if the archive cannot be read, changes or goes meanwhile, or is not what is
    known of it; NoRoom if it does not fit; CopyError if something else has its name there, or what
    was read back is not what was sent; and what the target and the way to the source raise. Then
    the target has nothing under the archive's name that it did not have before.
    """
    return _Sending(source, target, order, watch or Watch()).run()


def of_one_archive(source: Source, before: Stat, wanted: Wanted, sha256: str) -> str:
    """Given an archive, what it was before it was read, and the SHA-256 of what was read, return
    that. Raise ArchiveError if not all of it was of one archive, or not of the one that is known.
    """
    if source.stat() != before:
        raise changed(source)
    if wanted.sha256 not in (None, sha256):
        raise ArchiveError(
            f"{source.what} is not what was recorded of it: its SHA-256 is {sha256}, known is "
            f"{wanted.sha256}",
            "verify it with `backupsvc archive verify`; a copy of it would be worth no more than it "
            f"is: {wanted.name}",
        )
    return sha256


def changed(source: Source) -> ArchiveError:
    """Given an archive, return the error that says that it did not stand still."""
    return ArchiveError(
        f"{source.what} changed while it was copied",
        "is it still being written? Copy it again later",
    )


class _Sending:
    """One attempt."""

    def __init__(self, source: Source, target: Target, order: Order, watch: Watch) -> None:
        self._source, self._target, self._order, self._watch = source, target, order, watch
        self._stat = source.stat()
        self._wanted = Wanted(
            order.volid, source.name, self._stat.size, self._stat.modified, order.sha256
        )
        bad = order.damaged
        self._damaged = bad.file if bad and not bad.segments else ""
        self._files: Mapping[str, int] = {}
        self._moved, self._began = 0, watch.clock.monotonic()

    def run(self) -> Verified:
        """Look, decide and act, until a verified copy is there."""
        refuted: set[str] = set()
        reasons: list[str] = []
        while True:
            self._files = files = self._target.files()
            names = attempts(manifest_name(self._wanted.name), files)
            # what is longer than any of ours is none
            names = [one for one in names if files[one] <= MOST]
            told = {name: read_manifest(content(self._target, name, MOST)) for name in names}
            found = {name: manifest for name, manifest in told.items() if manifest}
            decision = decide(
                self._wanted,
                Seen(files, found),
                self._order.progress,
                immutable=self._order.immutable,
                refuted=refuted,
                damaged=self._damaged,
            )
            reasons += decision.reasons
            for file in decision.remove:
                self._target.remove(file)
            if decision.manifest is not None:
                return self._verified(
                    decision.manifest, "its manifest matches", reasons, decision.litter
                )
            if decision.action is Action.REFUSE:
                raise CopyError(f"{self._target.what}: {'; '.join(decision.reasons)}", SEE_WHAT)
            if decision.action is not Action.CHECK:
                sha256 = self._brought(decision)
            else:  # all is there: of the archive only its hash as it is now is wanted
                hashed = hashlib.sha256()
                with self._source.open() as stream:
                    for data in self._pieces(stream, self._wanted.size):
                        hashed.update(data)
                sha256 = of_one_archive(self._source, self._stat, self._wanted, hashed.hexdigest())
            how = sha256 and self._read_back(decision, sha256)
            if sha256 and how:
                return self._verified(
                    self._published(decision.file, sha256), how, reasons, decision.litter
                )
            refuted.add(decision.file)

    def _brought(self, decision: Decision) -> str | None:
        """Send what is missing; return the SHA-256 of the whole archive, None if what is there is
        not its beginning after all.
        """
        # what lies there already takes no more room
        there = max(decision.offset, self._files.get(decision.file, 0)) if decision.offset else 0
        if refusal := needs(self._target.what, self._wanted.size - there, self._target.space()):
            raise refusal
        hashed = hashlib.sha256()
        try:
            with self._source.open() as stream:
                if decision.offset:
                    # read for its hash in any case
                    for data in self._pieces(stream, decision.offset):
                        hashed.update(data)
                    known = self._order.progress
                    if known is None or not holds(self._wanted, known, hashed.hexdigest()):
                        return None
                self._pour(stream, decision, hashed)
            return of_one_archive(self._source, self._stat, self._wanted, hashed.hexdigest())
        except TargetRefused:
            if decision.action is Action.RESUME and not self._moved:
                return None  # it lets nobody write on
            raise
        except (ArchiveError, NoRoom):
            self._discard(decision.file)  # it can never go on; or it is in the way of others
            raise

    def _pace(self) -> Pace:
        return Pace(self._order.bandwidth, self._watch.clock, self._watch.alive)

    def _pour(self, stream: BinaryIO, decision: Decision, hashed: hashlib._Hash) -> None:
        sent = recorded = decision.offset
        pace = self._pace()
        with self._target.write(decision.file, decision.offset) as writing:
            for data in self._pieces(stream, self._wanted.size - sent):
                writing.write(data)
                hashed.update(data)
                sent += len(data)
                self._moved += len(data)
                pace.sent(len(data))
                # synced before it is recorded: the next attempt goes on from what is recorded
                if sent - recorded >= self._order.checkpoint and sent < self._wanted.size:
                    writing.sync()
                    self._record(decision.file, sent, hashed)
                    recorded = sent
            # no longer as large as it was: it is being written, or is another file by now
            if sent < self._wanted.size or stream.read(1):
                raise changed(self._source)
            writing.sync()
        self._record(decision.file, sent, hashed)

    def _pieces(self, stream: BinaryIO, count: int) -> Iterator[bytes]:
        """The next bytes of the archive, as many as are asked for if it has them."""
        while count > 0 and (data := stream.read(min(CHUNK, count))):
            count -= len(data)
            self._watch.alive()
            yield data

    def _record(self, file: str, sent: int, hashed: hashlib._Hash) -> None:
        wanted = self._wanted
        self._watch.record(
            Progress(wanted.volid, wanted.size, wanted.modified, file, sent, hashed.hexdigest())
        )

    def _read_back(self, decision: Decision, sha256: str) -> str | None:
        """Read the bytes at the target; return how, None if they are not the archive's and there is
        another way.
        """
        pace = self._pace()

        def came(count: int) -> None:
            pace.sent(count)
            self._watch.alive()

        found = self._target.digest(decision.file, came)
        if (found.size, found.sha256) == (self._wanted.size, sha256):
            return found.how
        # what lay there before may have rotted: then it is sent anew
        if decision.action is not Action.SEND:
            return None
        self._discard(decision.file)
        raise CopyError(
            f"{self._target.what} does not hold what was sent to it: {found.size} bytes with "
            f"SHA-256 {found.sha256} ({found.how}), sent were {self._wanted.size} with {sha256}",
            "its disk or its memory changes data: trust no copy there until it is examined "
            "(SMART, memtest, a scrub)",
        )

    def _published(self, file: str, sha256: str) -> Manifest:
        """Put beside it what stands beside the archive, give it its name, and say in its manifest
        what it is; return that.
        """
        beside = tuple(
            (name, put(self._target, name, data, immutable=self._order.immutable))
            for name in sidecar_names(self._wanted.name)
            if (data := self._source.sidecar(name)) is not None
        )
        if not self._order.immutable and file != self._wanted.name:
            if self._damaged == self._wanted.name:
                self._target.remove(self._damaged)  # the bytes that replace it were read back
            self._target.rename(file, self._wanted.name)
            file = self._wanted.name
        # that it was renamed was told; here it is seen
        if self._target.files().get(file) != self._wanted.size:
            raise CopyError(
                f"{self._target.what} does not list {file} with its {self._wanted.size} bytes",
                "copy it again",
            )
        manifest = Manifest(self._wanted.volid, file, self._wanted.size, sha256, beside)
        # last: what has a manifest counts as a copy, whatever else lies there
        name = manifest_name(self._wanted.name)
        put(self._target, name, manifest.text(), immutable=self._order.immutable)
        return manifest

    def _discard(self, file: str) -> None:
        """Remove what will never be a copy. That it stays is no more than litter: the fault that
        led here is told.
        """
        if not self._order.immutable:
            with suppress(BackupsvcError):
                self._target.remove(file)

    def _verified(
        self, manifest: Manifest, how: str, reasons: list[str], litter: tuple[str, ...]
    ) -> Verified:
        seconds = self._watch.clock.monotonic() - self._began
        return Verified(manifest, self._moved, seconds, how, tuple(reasons), litter)
