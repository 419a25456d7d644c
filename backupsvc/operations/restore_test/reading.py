"""The archive's own bytes, read in the very test that is to prove it: what they are, not what the
file's name promises.

A restore reads every byte too, but nobody checks them where the compression carries no checksum:
zstd's is a flag of each frame (RFC 8878), and a file that was compressed anew may lack it. Without
SSH to a node only what this service made itself is taken at
the word of its name: vzdump's zstd, gzip and lzop all write checksums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from backupsvc.engine.context import Wait
from backupsvc.errors import ArchiveError
from backupsvc.inventory import archive_signs
from backupsvc.inventory.archive_bytes import UNREADABLE, readable_from, verify_on_node
from backupsvc.operations import choosing, identity
from backupsvc.operations.restore_test.memory import ReadBytes, RestoreTestMemory
from backupsvc.operations.services import Run
from policies.causes import Blame, Cause
from policies.model import Archive, Rung

# what vzdump compresses with writes a checksum of the data
CHECKSUMMED = (".zst", ".gz", ".lzo", ".tgz")


@dataclass(frozen=True, slots=True)
class Bytes:
    """What is known of an archive's bytes. ``intact`` None: nobody has read them; ``basis`` and
    ``unread`` as in the evidence.
    """

    checksummed: bool
    intact: bool | None
    basis: str = ""
    unread: str = ""


def read(run: Run[RestoreTestMemory]) -> Wait | None:
    """Read the archive from its node, once: every checksum, every cluster, its SHA-256, and hold
    that against what was recorded.

    Nothing is read of a simulated guest, where no SSH leads to the archive, or twice.
    """
    archive = choosing.chosen(run.service, run.memory.chosen)
    node = readable_from(archive, run.service.settings.ssh.nodes)
    if run.memory.simulated or run.memory.read:
        return None
    if node is None:
        why = (
            "LZO is not read by this service: compress with zstd"
            if archive.volid.endswith(UNREADABLE)
            else f"no SSH to {archive.node} is configured: set BACKUPSVC_SSH__NODES, and its bytes "
            "are read in each test"
        )
        run.memory = replace(run.memory, unread=why)
        run.conclude(f"not read: {why}")
        return None
    run.memory = replace(run.memory, blame=None)
    found = verify_on_node(run.service, node, archive.volid, run.heartbeat)
    said = _against_the_record(run, archive, found)
    if problem := next(iter(found["problems"]), None):
        said.append(
            f"archive {archive.volid} on {node} of guest {run.vmid} is corrupt: {problem['text']}"
        )
        run.service.catalog.archives.record_damaged(
            archive.node, archive.volid, problem["text"], run.now()
        )
    if said:
        run.memory = replace(
            run.memory, wrong=tuple(said), blame=Blame(Cause.ARCHIVE, damaged=bool(problem))
        )
        hint = (
            "back the guest up again, check the storage's disk, and see `backupsvc catalog show "
            f"{archive.volid}`"
        )
        raise ArchiveError("; ".join(said), hint, offset=problem["offset"] if problem else None)
    same = archive.sha256 is not None  # else it had differed
    known = ReadBytes(node, bool(found["checksummed"]), same, found["sha256"], found["size"])
    run.memory = replace(run.memory, read=known)
    # what no checksum covers, and nobody recorded before, may be anything
    if known.checksummed or known.compared:
        run.service.catalog.archives.record_intact(archive.node, archive.volid, run.now())
    archive_signs.record(run.service, archive, found)
    run.conclude(_said(known))
    return None


def _against_the_record(
    run: Run[RestoreTestMemory], archive: Archive, found: Mapping[str, Any]
) -> list[str]:
    """Say whether the bytes are other ones than those that were recorded; record them if they can
    answer for themselves.

    What carries no checksum is not recorded: its own hash, taken when nobody knows where it comes
    from, would prove it later.
    """
    catalog, own = run.service.catalog, bool(found["checksummed"] and found["intact"])
    given = {
        "size": found["size"],
        "sha256": found["sha256"] if own or archive.sha256 else None,
        "at": run.now(),
    }
    if not catalog.archives.annotate(archive.node, archive.volid, **given):
        return []
    return [identity.was_changed(catalog.archives.get(archive.node, archive.volid) or archive)]


def seen(memory: RestoreTestMemory, archive: Archive) -> Bytes:
    """Given what a restore test remembers and its archive, return what it may say of the archive's
    bytes.
    """
    if found := memory.read:
        good = found.checksummed or found.compared
        return Bytes(
            found.checksummed, True if good else None, _said(found), "" if good else _said(found)
        )
    unread = memory.unread or "its bytes were not read"
    if archive.damaged:
        return Bytes(False, False, unread=f"{unread}, and were damaged before: {archive.damaged}")
    if archive.rung.height >= Rung.INTACT.height:
        return Bytes(
            False, True, "its bytes were read by this service before, and its size is unchanged"
        )
    if archive.operation is not None and archive.volid.endswith(CHECKSUMMED):
        return Bytes(
            True,
            None,
            f"{unread}; this service made it and its size is unchanged, so its own checksums are "
            "relied on",
        )
    return Bytes(False, None, unread=unread)


def _said(found: ReadBytes) -> str:
    checksum = (
        "every frame of it carries a checksum"
        if found.checksummed
        else "no checksum covers its data"
    )
    record = "as recorded" if found.compared else "not recorded before"
    return f"its bytes were read in this test: {checksum}, SHA-256 {found.sha256[:12]} {record}"
