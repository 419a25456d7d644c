"""The catalog's tables. Rows never leave this package: rows.py turns them into the frozen values of
policies/model/.

SQLModel table classes do not validate (measured), so they only describe; statements are written on
the tables at the end of this page. Times are whole epoch seconds: SQLite would give date columns
back without their time zone.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel


class ArchiveRow(SQLModel, table=True):
    """An archive, as last listed. ``place`` is its node, or "" on a shared storage, where every
    node lists the same file.

    ``uuid``, ``born`` and ``macs`` tell its machine; ``changed`` what differs from what was recorded of it,
    since ``changed_at``; ``damaged`` what was wrong with its bytes when they were last read whole, at
    ``checked_at``, and has been since ``damaged_at``. ``suspicious`` are its suspicions as JSON,
    None where there are none, or somebody acknowledged them.
    """

    __tablename__ = "archive"
    __table_args__ = (
        UniqueConstraint("place", "volid", name="uq_archive_place_volid"),
        Index("ix_archive_vmid_ctime", "vmid", "ctime"),  # the archives of a guest, newest first
        Index("ix_archive_storage", "storage"),  # observe(): what a storage held before
    )

    id: int | None = Field(default=None, primary_key=True)
    place: str
    volid: str
    node: str
    storage: str
    vmid: int | None = None
    type: str | None = None
    ctime: int = Field(sa_type=BigInteger)
    size: int = Field(sa_type=BigInteger)
    format: str = ""
    protected: bool = False
    shared: bool = False
    notes: str = Field(default="", sa_type=Text)
    first_seen: int = Field(sa_type=BigInteger)
    # the row stays when the file goes, with what it proved
    gone_at: int | None = Field(default=None, sa_type=BigInteger)
    rung: str = "recorded"
    rung_at: int | None = Field(default=None, sa_type=BigInteger)
    proven_at: int | None = Field(default=None, sa_type=BigInteger)
    name: str = ""
    sha256: str | None = None
    config: str | None = Field(default=None, sa_type=Text)
    uuid: str | None = None
    consistency: str | None = None
    excluded: list[Any] | None = Field(default=None, sa_type=JSON)
    operation: str | None = None
    # the last complete look that did not see it yet
    not_before: int | None = Field(default=None, sa_type=BigInteger)
    born: int | None = Field(default=None, sa_type=BigInteger)
    changed_at: int | None = Field(default=None, sa_type=BigInteger)
    changed: str | None = Field(default=None, sa_type=Text)
    damaged_at: int | None = Field(default=None, sa_type=BigInteger)
    damaged: str | None = Field(default=None, sa_type=Text)
    checked_at: int | None = Field(default=None, sa_type=BigInteger)
    suspicious: str | None = Field(default=None, sa_type=Text)
    macs: str | None = None


class StorageLookRow(SQLModel, table=True):
    """When all guests of a storage were listed for the first and the last time. ``place`` as in
    archive.
    """

    __tablename__ = "storage_look"

    place: str = Field(primary_key=True)
    storage: str = Field(primary_key=True)
    first_look: int = Field(sa_type=BigInteger)
    last_look: int | None = Field(default=None, sa_type=BigInteger)


class AcceptanceRow(SQLModel, table=True):
    """That somebody accepted what the storages hold of a guest of which the catalog knew too
    little. Rows are only inserted.
    """

    __tablename__ = "acceptance"
    __table_args__ = (Index("ix_acceptance_vmid", "vmid"),)  # when a guest was accepted last

    number: int | None = Field(default=None, primary_key=True)
    vmid: int
    at: int = Field(sa_type=BigInteger)
    who: str
    why: str = Field(sa_type=Text)
    archives: list[Any] = Field(sa_type=JSON)


class OperationRow(SQLModel, table=True):
    """An operation where it stands now. ``number`` only orders rows; ``id`` is the name that
    everything else uses.

    ``data`` is its kind's memory, with the version that wrote it; ``book`` the engine's
    bookkeeping.
    """

    __tablename__ = "operation"
    __table_args__ = (
        UniqueConstraint("id", name="uq_operation_id"),
        # law 9: once, however many beats there are
        UniqueConstraint("occurrence", name="uq_operation_occurrence"),
        Index("ix_operation_state_kind", "state", "kind"),  # what is open
        Index("ix_operation_state_due", "state", "due"),  # what the tick must wake
        Index("ix_operation_lane", "lock"),  # who waits for a lock
        Index("ix_operation_subject", "subject"),  # the history of a guest
        # law 9: a guest has at most one open operation
        Index(
            "uq_operation_alone",
            "exclusive_key",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
    )

    number: int | None = Field(default=None, primary_key=True)
    id: str
    kind: str
    subject: int | None = None
    state: str
    step: str
    data: dict[str, Any] = Field(sa_type=JSON)
    book: dict[str, Any] = Field(sa_type=JSON)
    created: int = Field(sa_type=BigInteger)
    updated: int = Field(sa_type=BigInteger)
    finished: int | None = Field(default=None, sa_type=BigInteger)
    occurrence: str | None = None
    lease_owner: str | None = None
    lease_until: int | None = Field(default=None, sa_type=BigInteger)
    attempts: int = 0
    error: str | None = Field(default=None, sa_type=Text)
    due: int = Field(sa_type=BigInteger)
    # The column keeps the name of revision 0002, and statements use the word that the code uses.
    exclusive_key: str | None = Field(
        default=None, sa_column_kwargs={"name": "alone", "key": "exclusive_key"}
    )
    lock: str | None = Field(default=None, sa_column_kwargs={"name": "lane", "key": "lock"})
    rank: int = 0
    cancel: str | None = Field(default=None, sa_type=Text)


class TransitionRow(SQLModel, table=True):
    """One line of an operation's history. The repository only ever inserts here."""

    __tablename__ = "transition"
    __table_args__ = (Index("ix_transition_upid", "upid"),)  # whose task is that?

    operation: str = Field(
        sa_column_args=[ForeignKey("operation.id", name="fk_transition_operation")],
        primary_key=True,
    )
    seq: int = Field(primary_key=True)
    step: str
    event: str
    at: int = Field(sa_type=BigInteger)
    upid: str | None = None
    detail: dict[str, Any] = Field(sa_type=JSON)


class VmidLeaseRow(SQLModel, table=True):
    """Which operation holds a scratch VMID (law 1). No expiry: a copy outlives its worker, so only
    a teardown frees its VMID.
    """

    __tablename__ = "vmid_lease"

    vmid: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    operation: str = Field(
        sa_column_args=[ForeignKey("operation.id", name="fk_vmid_lease_operation")]
    )
    at: int = Field(sa_type=BigInteger)


class LockRow(SQLModel, table=True):
    """Which operation has a lock: one vzdump a node, one restore test a node."""

    # as revision 0002 called it
    __tablename__ = "lane"

    name: str = Field(primary_key=True)
    operation: str = Field(sa_column_args=[ForeignKey("operation.id", name="fk_lane_operation")])
    at: int = Field(sa_type=BigInteger)


class ArchivePinRow(SQLModel, table=True):
    """An archive that an open operation reads, copies or tests, or (``removes``) is about to
    remove. ``place`` as in archive.
    """

    __tablename__ = "archive_pin"
    # what an operation that ends lets go of
    __table_args__ = (Index("ix_archive_pin_operation", "operation"),)

    place: str = Field(primary_key=True)
    volid: str = Field(primary_key=True)
    operation: str = Field(
        sa_column_args=[ForeignKey("operation.id", name="fk_archive_pin_operation")],
        primary_key=True,
    )
    removes: bool = False
    at: int = Field(sa_type=BigInteger)


class ProofRow(SQLModel, table=True):
    """What one restore test found. The repository only ever inserts here."""

    __tablename__ = "proof"
    __table_args__ = (
        # a resumed step records once
        UniqueConstraint("operation", "node", "volid", name="uq_proof_operation_archive"),
        Index("ix_proof_vmid_ended", "vmid", "ended"),  # a guest's proofs, newest first
        Index("ix_proof_ended", "ended"),  # a month's proofs
    )

    number: int | None = Field(default=None, primary_key=True)
    operation: str
    vmid: int
    volid: str
    node: str
    archive_ctime: int = Field(sa_type=BigInteger)
    verdict: str
    rung: str
    started: int = Field(sa_type=BigInteger)
    ended: int = Field(sa_type=BigInteger)
    rto: float | None = None
    scratch_vmid: int | None = None
    scratch_node: str | None = None
    evidence: dict[str, Any] = Field(sa_type=JSON)  # stages, checks, stripped, asserted, reasons


class HeartbeatRow(SQLModel, table=True):
    """When a queue last consumed a canary. One row a queue, overwritten: this is no history."""

    # as revision 0003 called it
    __tablename__ = "pulse"

    name: str = Field(primary_key=True)
    at: int = Field(sa_type=BigInteger)


class UntoldRow(SQLModel, table=True):
    """An operation that has ended and whose outcome is still to be told, by anybody from ``due``
    on.
    """

    __tablename__ = "untold"
    __table_args__ = (Index("ix_untold_due", "due"),)

    operation: str = Field(primary_key=True)
    due: int = Field(sa_type=BigInteger)


class IdentityRow(SQLModel, table=True):
    """Who this service is: one row, written when the catalog was made."""

    __tablename__ = "identity"

    number: int | None = Field(default=None, primary_key=True)
    id: str


class CopyRow(SQLModel, table=True):
    """A copy of an archive at a target, or how far one came. ``place`` as in archive; ``folder``
    and ``site`` as an ArchiveCopy's folder and place.

    ``sent`` bytes with this ``sha256`` are in ``file`` there; ``modified`` is the archive's time by
    then. Until ``verified_at`` is known it is no copy, whatever lies there, and from
    ``removing_at`` on it is none any more. ``listed`` is its own volid at ``site`` where PVE lists
    it. An encrypted one has ``recipients``, with blanks between them, ``segments`` as
    ``policies.segments.packed`` makes them, and the archive's ``rung`` when it left.

    ``checked_at`` is when it was read anew, ``damaged`` what was wrong with it at ``damaged_at``:
    then it is no copy, and what is wrong lies in ``damaged_file`` or its ``damaged_segments``. Both
    are known until another one was verified in its stead.
    """

    __tablename__ = "copy"
    __table_args__ = (Index("ix_copy_vmid", "vmid"),)  # the copies of a guest's archives

    folder: str = Field(primary_key=True)
    place: str = Field(primary_key=True)
    volid: str = Field(primary_key=True)
    target: str
    site: str
    vmid: int | None = None
    file: str
    size: int = Field(sa_type=BigInteger)
    modified: int = Field(sa_type=BigInteger)
    sent: int = Field(sa_type=BigInteger)
    sha256: str
    at: int = Field(sa_type=BigInteger)
    operation: str
    verified_at: int | None = Field(default=None, sa_type=BigInteger)
    how: str = Field(default="", sa_type=Text)
    listed: str | None = None
    removing_at: int | None = Field(default=None, sa_type=BigInteger)
    recipients: str = Field(default="", sa_type=Text)
    segments: str = Field(default="", sa_type=Text)
    rung: str = ""
    checked_at: int | None = Field(default=None, sa_type=BigInteger)
    damaged: str | None = Field(default=None, sa_type=Text)
    damaged_at: int | None = Field(default=None, sa_type=BigInteger)
    damaged_file: str | None = None
    damaged_segments: str | None = Field(default=None, sa_type=Text)


class RehearsalRow(SQLModel, table=True):
    """That a person's key opened an encrypted copy, brought back from its target. Rows are only
    inserted: each is evidence. ``key`` is a recipient's fingerprint, never an identity.
    """

    __tablename__ = "rehearsal"
    __table_args__ = (Index("ix_rehearsal_folder", "folder"),)  # what was rehearsed last there

    number: int | None = Field(default=None, primary_key=True)
    folder: str
    target: str
    at: int = Field(sa_type=BigInteger)
    vmid: int | None = None
    volid: str
    file: str
    size: int = Field(sa_type=BigInteger)
    sha256: str
    key: str
    seconds: float


class CanaryRow(SQLModel, table=True):
    """That this service tried to harm a file of its own at an immutable target. Rows are only
    inserted: each is evidence.
    """

    __tablename__ = "canary"
    __table_args__ = (Index("ix_canary_folder", "folder"),)  # what was tried last at a target

    number: int | None = Field(default=None, primary_key=True)
    folder: str
    target: str
    at: int = Field(sa_type=BigInteger)
    overwritten: bool
    deleted: bool
    said: str = Field(sa_type=Text)


class SnapshotPutRow(SQLModel, table=True):
    """A snapshot of the catalog, or a bundle with one, as it was brought to a target and read back.
    Rows are only inserted.
    """

    __tablename__ = "snapshot_put"

    folder: str = Field(primary_key=True)
    file: str = Field(primary_key=True)
    at: int = Field(sa_type=BigInteger)
    size: int = Field(sa_type=BigInteger)
    sha256: str


class SnapshotTrialRow(SQLModel, table=True):
    """What came of bringing the newest snapshot at a target back. Rows are only inserted: each is
    evidence.
    """

    __tablename__ = "snapshot_trial"
    __table_args__ = (Index("ix_snapshot_trial_folder", "folder", "what"),)  # what was tried last

    number: int | None = Field(default=None, primary_key=True)
    folder: str
    what: str
    target: str
    at: int = Field(sa_type=BigInteger)
    file: str
    taken_at: int | None = Field(default=None, sa_type=BigInteger)
    size: int = Field(sa_type=BigInteger)
    sha256: str
    state: str
    said: str = Field(sa_type=Text)
    seconds: float


class ArchiveSignsRow(SQLModel, table=True):
    """What a disk of an archive looks like, by the reading at ``at`` of the bytes that ``sha256``
    and ``archive_size`` tell. ``place`` and ``volid`` as in archive.

    ``prints`` are two bytes a place; ``places`` their numbers, four bytes each, None where the
    level tells them.
    """

    __tablename__ = "archive_signs"

    place: str = Field(primary_key=True)
    volid: str = Field(primary_key=True)
    disk: str = Field(primary_key=True)
    sha256: str
    archive_size: int = Field(sa_type=BigInteger)
    at: int = Field(sa_type=BigInteger)
    size: int = Field(sa_type=BigInteger)
    stored: int = Field(sa_type=BigInteger)
    level: int
    entropy: float | None = None
    places: bytes | None = None
    prints: bytes


class AcknowledgementRow(SQLModel, table=True):
    """That somebody said of the archive with those bytes that what is unusual of it, ``said``, is
    right. Rows are only inserted.
    """

    __tablename__ = "acknowledgement"
    __table_args__ = (Index("ix_acknowledgement_vmid", "vmid"),)  # those of a guest

    number: int | None = Field(default=None, primary_key=True)
    place: str
    volid: str
    vmid: int | None = None
    sha256: str
    at: int = Field(sa_type=BigInteger)
    who: str
    reason: str = Field(sa_type=Text)
    said: str = Field(sa_type=Text)


class LineageDecisionRow(SQLModel, table=True):
    """That somebody said which of a VMID's archives are of one machine (join), from which on they
    are of another (split), or that a tombstone's archives may go (release). Rows are only inserted.

    ``pieces`` are what it is about: of a join both sides, of a split what is before and from then
    on; what each kind keeps in them is said in lineages.py.
    """

    __tablename__ = "lineage_decision"
    __table_args__ = (Index("ix_lineage_decision_vmid", "vmid"),)  # what was said of a guest

    number: int | None = Field(default=None, primary_key=True)
    vmid: int
    type: str | None = None
    kind: str
    at: int = Field(sa_type=BigInteger)
    who: str
    why: str = Field(sa_type=Text)
    pieces: dict[str, Any] = Field(sa_type=JSON)


class TombstoneRow(SQLModel, table=True):
    """A machine that was seen to be gone from the cluster, by its newest archive's uuid, born, macs
    and cut. ``ended_at``: it was seen again. ``newest`` is when that archive was made.
    """

    __tablename__ = "tombstone"
    __table_args__ = (Index("ix_tombstone_vmid", "vmid"),)  # a guest's

    number: int | None = Field(default=None, primary_key=True)
    vmid: int
    type: str | None = None
    uuid: str | None = None
    born: int | None = Field(default=None, sa_type=BigInteger)
    macs: str = ""
    cut: int = Field(default=0, sa_type=BigInteger)
    name: str = ""
    seen_last: int | None = Field(default=None, sa_type=BigInteger)
    missing_since: int = Field(sa_type=BigInteger)
    newest: int = Field(sa_type=BigInteger)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)
    ended: str = Field(default="", sa_type=Text)


class GuestSeenRow(SQLModel, table=True):
    """When a guest was last in a listing of the whole cluster. One row a VMID, overwritten."""

    __tablename__ = "guest_seen"

    vmid: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    type: str
    name: str = ""
    at: int = Field(sa_type=BigInteger)


METADATA = SQLModel.metadata
ARCHIVE = METADATA.tables["archive"]
STORAGE_LOOK = METADATA.tables["storage_look"]
ACCEPTANCE = METADATA.tables["acceptance"]
OPERATION = METADATA.tables["operation"]
TRANSITION = METADATA.tables["transition"]
VMID_LEASE = METADATA.tables["vmid_lease"]
LOCK = METADATA.tables["lane"]
ARCHIVE_PIN = METADATA.tables["archive_pin"]
PROOF = METADATA.tables["proof"]
HEARTBEAT = METADATA.tables["pulse"]
IDENTITY = METADATA.tables["identity"]
UNTOLD = METADATA.tables["untold"]
COPY = METADATA.tables["copy"]
CANARY = METADATA.tables["canary"]
SNAPSHOT_PUT = METADATA.tables["snapshot_put"]
SNAPSHOT_TRIAL = METADATA.tables["snapshot_trial"]
REHEARSAL = METADATA.tables["rehearsal"]
ARCHIVE_SIGNS = METADATA.tables["archive_signs"]
ACKNOWLEDGEMENT = METADATA.tables["acknowledgement"]
LINEAGE_DECISION = METADATA.tables["lineage_decision"]
TOMBSTONE = METADATA.tables["tombstone"]
GUEST_SEEN = METADATA.tables["guest_seen"]
