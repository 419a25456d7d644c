"""Kinds of errors, as the catalog keeps them: each class of the service's tree of errors names its
own.
"""

from __future__ import annotations

from enum import StrEnum


class ErrorKind(StrEnum):
    """Which error it was. The values are written down in catalogs: a member may be renamed, its
    value may not.
    """

    OTHER = ""  # not known: an older version kept none, or another version knows one more
    CANCELLED = "Cancelled"  # no error: somebody asked that the operation end
    ANY = "BackupsvcError"
    USAGE = "UsageError"
    UNREACHABLE = "Unreachable"
    PVE_UNREACHABLE = "PveUnreachable"
    PVE_ANSWER_UNREADABLE = "PveAnswerUnreadable"
    OUT_OF_REACH = "OutOfReach"
    PVE_CERTIFICATE_REFUSED = "PveCertificateRefused"
    CATALOG_UNREACHABLE = "CatalogUnreachable"
    CATALOG_CUT = "CatalogCut"
    REMOTE_UNREACHABLE = "RemoteUnreachable"
    TARGET_MISSING = "TargetMissing"
    REFUSED = "Refused"
    LAW_REFUSED = "LawRefused"
    NO_ROOM = "NoRoom"
    PVE_TOKEN_REFUSED = "PveTokenRefused"
    PVE_PERMISSION_DENIED = "PvePermissionDenied"
    SSH_REFUSED = "SshRefused"
    TARGET_REFUSED = "TargetRefused"
    HELD_ELSEWHERE = "HeldElsewhere"
    PVE = "PveError"
    PVE_NOT_FOUND = "PveNotFound"
    AGENT_HELD = "AgentHeld"
    TASK_FAILED = "TaskFailed"
    COPY = "CopyError"
    ARCHIVE = "ArchiveError"
    NOT_READ = "NotRead"
    READER_LOST = "ReaderLost"
    DAMAGE = "Damage"
    OPERATION_FAILED = "OperationFailed"
    NOT_THE_COPY = "NotTheCopy"
    LEASE_LOST = "LeaseLost"
    END_ASKED = "EndAsked"
    NO_TASK = "NoTask"
    MEMORY_UNREADABLE = "MemoryUnreadable"

    @classmethod
    def _missing_(cls, value: object) -> ErrorKind:
        """A catalog that another version wrote is read all the same."""
        return cls.OTHER
