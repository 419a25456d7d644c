"""Rehearse that encrypted copies can be read again: one is brought back from its target, decrypted
with the key of a person, read whole, and thrown away; that it went well is kept as evidence.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from backupsvc.archives.verify import verify_file
from backupsvc.copies.age import Identities
from backupsvc.copies.decrypt import TAKE_ANOTHER, decrypt_files
from backupsvc.copies.opening import open_target
from backupsvc.copies.pace import Pace
from backupsvc.copies.small import content
from backupsvc.errors import ArchiveError, CopyError, NoRoom
from backupsvc.operations.copy.work_folder import REHEARSAL, work_folder
from backupsvc.services import Nodes
from policies import age_keys
from policies.copy_folders import folder_of
from policies.copy_manifest import attempts
from policies.model import ArchiveCopy, CopyTarget, Rehearsal
from policies.segments import MOST, SegmentManifest, manifest_name, read_manifest


@dataclass(frozen=True, slots=True)
class Choice:
    """A copy that was chosen at random among so many; with the same ``seed`` it is chosen again."""

    copy: ArchiveCopy
    target: CopyTarget
    seed: int
    among: int


def choose(
    service: Nodes, targets: Sequence[CopyTarget], vmids: Collection[int], seed: int
) -> Choice:
    """Given targets, guests (none: all) and a seed, return one of the verified encrypted copies
    there. Raise CopyError if there is none.
    """
    by_folder = {folder_of(target): target for target in targets}
    found = [
        copy
        for copy in service.catalog.copies.find()
        if copy.encrypted
        and copy.route.folder in by_folder
        and (not vmids or copy.route.vmid in vmids)
    ]
    if not found:
        names = ", ".join(target.name for target in targets)
        raise CopyError(
            f"no encrypted copy is known at {names}" + " of those guests" * bool(vmids),
            "make one with `backupsvc copy run`; after the catalog was lost, it finds those that "
            "are there",
        )
    # in an order of their own, so that one seed chooses the same copy again
    found.sort(key=lambda copy: (copy.route.folder, copy.file, copy.route.archive))
    copy = random.Random(seed).choice(found)
    return Choice(copy, by_folder[copy.route.folder], seed, len(found))


def rehearse(
    service: Nodes,
    choice: Choice,
    identities: Identities,
    came: Callable[[int], None] = lambda count: None,
) -> Rehearsal:
    """Given a copy and identities, bring it back, decrypt it, read it whole and record that the key
    works; return that. ``came`` is told how many bytes more have come. Nothing stays on this machine.

    Raise CopyError if its manifest is not that of the copy, UsageError if none of the identities
    opens it, ArchiveError if it is not the archive or that is not intact, NoRoom, and what the way
    to the target raises; then nothing is recorded.
    """
    copy, target, began = choice.copy, choice.target, time.monotonic()
    state = service.settings.state_dir
    try:
        with work_folder(state, REHEARSAL) as scratch:
            recipient = _brought_back(service, choice, identities, scratch, came)
    except OSError as error:
        raise NoRoom(
            f"no copy could be brought back under {state}: {error.strerror}",
            "it takes as much room there as the archive (BACKUPSVC_STATE_DIR)",
        ) from None
    rehearsal = Rehearsal(
        target=target.name,
        folder=folder_of(target),
        at=int(service.clock.now()),
        vmid=copy.route.vmid,
        volid=copy.route.volid,
        file=copy.file,
        size=copy.size,
        sha256=copy.sha256,
        key=age_keys.fingerprint(recipient),
        seconds=round(time.monotonic() - began, 3),
    )
    service.catalog.copies.record_rehearsal(rehearsal)
    return rehearsal


def _brought_back(
    service: Nodes,
    choice: Choice,
    identities: Identities,
    scratch: Path,
    came: Callable[[int], None],
) -> str:
    """Bring it back, and see that it is the archive; return the public key that opened it."""
    copy, target = choice.copy, choice.target
    # the target's own pace holds on the way back, too
    pace = Pace(target.bandwidth, service.clock, lambda: None)

    def read(count: int) -> None:
        pace.sent(count)
        came(count)

    with open_target(target, service.nodes, service.settings.ssh) as folder:
        names = attempts(manifest_name(copy.file), folder.files())
        found = (read_manifest(content(folder, name, MOST)) for name in names)
        # the one that speaks of what was verified there: whoever may write there could have put
        # another archive in its place
        wanted = copy.route.volid, copy.file, copy.size, copy.sha256
        manifest = next(
            (
                one
                for one in found
                if isinstance(one, SegmentManifest)
                and (one.volid, one.file, one.size, one.sha256) == wanted
            ),
            None,
        )
        if manifest is None:
            said = "speaks of another copy, or cannot be read" if names else "is not there"
            raise CopyError(
                f"{folder.what}: the manifest of the encrypted copy of {copy.file} {said}",
                "see what happened there; `backupsvc copy run` makes a copy anew, `backupsvc copy "
                "sync` forgets what is gone",
            )
        done = decrypt_files(manifest, folder.read, identities, scratch, read)
    read_whole = verify_file(done.files[0])
    if not read_whole.intact:
        raise ArchiveError(
            f"the copy of {copy.route.volid} at {target.name} was decrypted, and is the archive "
            f"that was copied, but that is not intact: {read_whole.problems[0]}",
            TAKE_ANOTHER,
        )
    return done.recipient
