"""What a backup remembers: where its guest was, what became of the dump, whether the guest is
thawed, and the archive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backupsvc.engine.memory import MemoryForm
from backupsvc.operations.memories import archive_from_version_0
from policies import freezing
from policies.external_backups import Beside
from policies.freezing import Thaw
from policies.model import Archive, GuestType, Operation
from policies.outcomes import Facts
from policies.pve.vzdump_log import DumpReport


@dataclass(frozen=True, slots=True)
class Adopted:
    """An archive that PVE made by itself, which counts as this backup's. ``origin`` names the job
    or the task of PVE's.
    """

    volid: str
    storage: str
    origin: str


@dataclass(frozen=True, slots=True)
class Dump:
    """What became of the dump. ``report`` is what the task's log says of the guest, ``exitstatus``
    the task's own word, ``cause`` what it failed of, in plain words ("": nothing is known).

    ``upid`` is None where PVE made the archive by itself; ``begun`` are the names that PVE gave to
    its archives. ``consistency_reason`` is why the archive is only crash-consistent, "" if it is
    not, or before it was read back.
    """

    report: DumpReport
    exitstatus: str
    cause: str = ""
    upid: str | None = None
    begun: tuple[str, ...] = ()
    consistency_reason: str = ""


@dataclass(frozen=True, slots=True)
class Thawing:
    """How far the asking after the dump is: ``thaws`` were sent; ``frozen_since`` it was first seen
    frozen, in seconds since the asking began (None: it was not).
    """

    thaws: int = 0
    frozen_since: float | None = None


@dataclass(frozen=True, slots=True)
class BackupMemory:
    """``job`` is the job's id, ``at`` when its occurrence was due (epoch seconds; None: a person
    asked for the backup). ``node``, ``name`` and ``type`` are those of the guest.

    ``foreign`` is the backup that PVE was last seen to make of the guest, ``adopted`` the archive
    that came of one. ``keep_all``: the storage's own retention must be kept from pruning;
    ``before`` are the volids that it listed before the dump. ``lacking`` says what the archive may
    not hold that its guest had, a sentence each; ``verified`` whether it was read whole and is
    intact, None where it was not read.
    """

    job: str
    node: str | None = None
    name: str = ""
    at: int | None = None
    type: GuestType | None = None
    foreign: Beside | None = None
    adopted: Adopted | None = None
    keep_all: bool = False
    before: tuple[str, ...] = ()
    dump: Dump | None = None
    thawing: Thawing = Thawing()
    thaw: Thaw | None = None
    archive: Archive | None = None
    lacking: tuple[str, ...] = ()
    verified: bool | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the dump's log warns of, and what the archive lacks."""
        return (*(self.dump.report.warnings if self.dump else ()), *self.lacking)


def _from_version_0(values: dict[str, Any]) -> dict[str, Any]:
    """The report of the dump's log lay flat beside the rest, and its warnings held what was
    lacking, too.
    """
    upgraded = dict(values)
    if archive := values.get("archive"):
        upgraded["archive"] = archive_from_version_0(archive)
    if dump := values.get("dump"):
        lacking = values.get("lacking") or ()
        warnings = [warning for warning in dump.get("warnings", ()) if warning not in lacking]
        upgraded["dump"] = dump | {"report": dump | {"warnings": warnings}}
    return upgraded


FORM = MemoryForm(BackupMemory, (_from_version_0,))


def recall(operation: Operation) -> BackupMemory:
    """Given a backup, return what it remembers."""
    return FORM.read(operation.memory)


def facts(operation: Operation) -> Facts:
    """Given a backup, return what is known of it for its outcome."""
    memory = recall(operation)
    node = memory.node or (memory.archive.node if memory.archive else None)
    return Facts(node, operation.book.upid("dump"), frozen=freezing.left(memory.thaw) is not None)
