"""Rehearse the worst day: the newest snapshot of the catalog and the newest bundle at a target are
brought back, opened in a folder of their own, and held against the catalog that still is. What came
of it is kept as evidence.

The live catalog is only read, and nothing of the bundle is used but the catalog in it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from backports import zstd

from backupsvc.catalog import Catalog
from backupsvc.catalog.snapshot_opening import HINT, opened
from backupsvc.copies import age, bundles, snapshots
from backupsvc.copies.opening import open_target
from backupsvc.copies.pace import Pace
from backupsvc.copies.target import CHUNK, Alive, Target
from backupsvc.engine.context import CancelAsked
from backupsvc.errors import (
    ArchiveError,
    BackupsvcError,
    CatalogUnreachable,
    CopyError,
    NoRoom,
    UsageError,
)
from backupsvc.operations.copy.work_folder import REHEARSAL, work_folder
from backupsvc.services import Nodes
from policies import snapshot_trial
from policies.copy_folders import folder_of
from policies.model import CopyTarget, SnapshotPut, SnapshotTrial
from policies.snapshot_trial import BUNDLE, CATALOG, KINDS, Compared, Fetched, Row

FILES: Mapping[str, str] = {CATALOG: snapshots.CATALOG, BUNDLE: snapshots.BUNDLE}
_AGE = ".age"
# what a stranger's file may ask for of our memory: 128 MiB
_NARROW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 27}


def remember(
    service: Nodes, found: Sequence[tuple[CopyTarget, snapshots.Put | BackupsvcError]]
) -> None:
    """Given what was brought to targets, write down what lies at those of the policy: where it is
    encrypted, nothing else tells later whether it is still that.
    """
    at = int(service.clock.now())
    # a folder that somebody named once is never looked at again
    ours = {folder_of(target) for target in service.policy.copies}
    service.catalog.snapshot_trials.record_put(
        [
            SnapshotPut(folder_of(target), put.file, at, put.size, put.sha256)
            for target, put in found
            if isinstance(put, snapshots.Put) and folder_of(target) in ours
        ]
    )


def due(service: Nodes) -> list[tuple[CopyTarget, tuple[str, ...]]]:
    """Return the targets whose snapshots were not all found good within a month, each with the kinds
    that were not.
    """
    trials = service.catalog.snapshot_trials.last()
    return snapshot_trial.due(service.policy.copies, trials, int(service.clock.now()))


def newest(service: Nodes, target: CopyTarget) -> dict[str, str]:
    """Given a target, look there and return the name of the newest file of each kind. Raise what the
    way to the target raises.
    """
    with open_target(target, service.nodes, service.settings.ssh) as folder:
        names = folder.files()
    found = {what: snapshots.newest(names, file) for what, file in FILES.items()}
    return {what: one[0] for what, one in found.items() if one}


def try_target(
    service: Nodes,
    target: CopyTarget,
    identities: age.Identities | None = None,
    alive: Alive = lambda: None,
    kinds: Sequence[str] = KINDS,
) -> list[SnapshotTrial]:
    """Given a target, who can open what is encrypted there (None: nobody) and the kinds, bring the
    newest of each back, record what came of it and return that. ``alive`` is called again and again.

    Raise what the way to the target raises, NoRoom, CatalogUnreachable if the catalog itself does
    not answer, UsageError if none of the identities opens it or PostgreSQL's client is missing; then
    nothing is recorded: what could not be tried is not called bad.
    """
    found = []
    with open_target(target, service.nodes, service.settings.ssh) as folder:
        for what in kinds:
            trial = _try(service, target, folder, what, identities, alive)
            service.catalog.snapshot_trials.record(trial)
            found.append(trial)
    return found


def _try(
    service: Nodes,
    target: CopyTarget,
    folder: Target,
    what: str,
    identities: age.Identities | None,
    alive: Alive,
) -> SnapshotTrial:
    began, at = time.monotonic(), int(service.clock.now())
    there = folder.files()
    name, taken_at = snapshots.newest(there, FILES[what]) or ("", None)
    fetched, recorded, inside = None, None, None
    state = service.settings.state_dir
    if taken_at is not None:
        recorded = service.catalog.snapshot_trials.sha256_of(folder_of(target), name)
        try:
            with work_folder(state, REHEARSAL) as scratch:
                _must_fit(scratch, there[name])
                pace = Pace(target.bandwidth, service.clock, alive)
                size, sha256 = _fetch(folder, name, there[name], scratch / name, pace, alive)
                fetched = Fetched(name, taken_at, size, sha256)
                # what is not what was written is nobody's to open
                if recorded in (None, sha256):
                    inside = _inside(service, scratch / name, taken_at, identities, alive)
        except OSError as error:
            raise NoRoom(
                f"{name} could not be brought back under {state}: {error.strerror}",
                "it takes several times the room of the catalog there (BACKUPSVC_STATE_DIR)",
            ) from None
    found, said = snapshot_trial.decide(fetched, recorded, inside, at)
    return SnapshotTrial(
        target=target.name,
        folder=folder_of(target),
        at=at,
        what=what,
        file=name,
        taken_at=taken_at,
        size=fetched.size if fetched else 0,
        sha256=fetched.sha256 if fetched else "",
        state=found,
        said=said,
        seconds=round(time.monotonic() - began, 3),
    )


def _fetch(
    folder: Target, name: str, listed: int, to: Path, pace: Pace, alive: Alive
) -> tuple[int, str]:
    """Bring a file here, and no more of it than was listed; return how many bytes came, and their
    SHA-256.
    """
    sha256, size = hashlib.sha256(), 0
    with folder.read(name) as source, to.open("xb") as file:
        while size < listed and (data := source.read(min(CHUNK, listed - size))):
            file.write(data)
            sha256.update(data)
            size += len(data)
            pace.sent(len(data))
            alive()
    return size, sha256.hexdigest()


def _inside(
    service: Nodes, path: Path, taken_at: int, identities: age.Identities | None, alive: Alive
) -> tuple[Compared, ...] | str | None:
    """How what is in the file compares with the catalog; why it cannot be read; None where it is
    encrypted and there is no key.
    """
    if path.name.endswith(_AGE) and identities is None:
        return None
    # what fails here is ours, and below it is the file's
    live = service.catalog.contents.rows()
    try:
        return snapshot_trial.compare_all(_rows(path, identities, alive), live, taken_at)
    except (ArchiveError, CatalogUnreachable, CopyError) as error:
        _must_be_its_own(error)
        return error.message
    except (BackupsvcError, CancelAsked, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - a stranger wrote it: there is no end of what it raises
        _must_be_its_own(error)
        return f"it holds no catalog of ours ({type(error).__name__})"


def _must_be_its_own(error: BaseException) -> None:
    """Raise OSError where it was not the file that failed, but our disk or memory."""
    if isinstance(error, MemoryError):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    cause: BaseException | None = error
    while cause is not None:
        # what SQLAlchemy and the catalog raise was raised while they handled SQLite's own
        if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        cause = cause.__context__


def _rows(path: Path, identities: age.Identities | None, alive: Alive) -> dict[str, list[Row]]:
    """The rows of the catalog in a snapshot or a bundle, which is brought to this version first."""
    if path.name.endswith(_AGE) and identities is not None:
        path = _decrypted(path, identities, alive)
    scratch = path.parent
    if path.name.startswith(snapshots.BUNDLE):
        with path.open("rb") as stream:
            names = bundles.unpack(stream, path.name, scratch / "bundle")
        inside = [one for one in names if one.startswith(f"{bundles.CATALOG}.")]
        if len(inside) != 1:
            raise ArchiveError(f"{path.name} holds no catalog", HINT)
        plain = scratch / "bundle" / inside[0]
    else:
        plain = _unpacked(path, scratch / "plain", alive)
    _must_fit(scratch, 2 * plain.stat().st_size)

    def going_on() -> None:
        alive()
        # a dump is packed: how large it becomes shows while it is read
        _must_fit(scratch, CHUNK)

    with Catalog.open(opened(plain, scratch / "catalog.db", going_on)) as catalog:
        return catalog.contents.rows()


def _decrypted(path: Path, identities: age.Identities, alive: Alive) -> Path:
    plain = path.with_name(path.name.removesuffix(_AGE))

    def read(size: int) -> bytes:
        alive()
        return file.read(size)

    try:
        with path.open("rb") as file, plain.open("xb") as written:
            age.decrypt(read, written.write, identities)
    except age.WrongKey:
        raise UsageError(
            f"none of the identities opens {path.name}", "take the kit of one of its recipients"
        ) from None
    except age.NotAge as error:
        raise ArchiveError(f"{path.name} {error}", HINT) from None
    return plain


def _unpacked(path: Path, to: Path, alive: Alive) -> Path:
    try:
        with zstd.open(path, "rb", options=_NARROW) as packed, to.open("xb") as file:
            while data := packed.read(CHUNK):
                # a small file may hold any number of zeros
                _must_fit(to.parent, len(data))
                file.write(data)
                alive()
    except (zstd.ZstdError, EOFError) as error:
        raise ArchiveError(f"{path.name} is damaged: {error}", HINT) from None
    return to


def _must_fit(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    # the service itself lives on that disk
    if size > free - bundles.SPARE:
        raise NoRoom(
            f"{size} bytes of a snapshot are to come into {folder.parent}, and {free} are free",
            "make room there: it takes several times that of the catalog (BACKUPSVC_STATE_DIR)",
        )
