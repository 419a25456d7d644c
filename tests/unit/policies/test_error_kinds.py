"""The kinds of errors are read from their names."""

from __future__ import annotations

from policies.error_kinds import ErrorKind

# as they stand in catalogs, which are older than any release: a value is added, and none changes
WRITTEN = (
    "",
    "Cancelled",
    "BackupsvcError",
    "UsageError",
    "Unreachable",
    "PveUnreachable",
    "PveAnswerUnreadable",
    "OutOfReach",
    "PveCertificateRefused",
    "CatalogUnreachable",
    "CatalogCut",
    "RemoteUnreachable",
    "TargetMissing",
    "Refused",
    "LawRefused",
    "NoRoom",
    "PveTokenRefused",
    "PvePermissionDenied",
    "SshRefused",
    "TargetRefused",
    "HeldElsewhere",
    "PveError",
    "PveNotFound",
    "AgentHeld",
    "TaskFailed",
    "CopyError",
    "ArchiveError",
    "NotRead",
    "ReaderLost",
    "Damage",
    "OperationFailed",
    "NotTheCopy",
    "LeaseLost",
    "EndAsked",
    "NoTask",
    "MemoryUnreadable",
)


def test_a_name_is_read_as_its_kind_and_one_that_nobody_knows_as_another() -> None:
    assert ErrorKind("TaskFailed") is ErrorKind.TASK_FAILED
    assert ErrorKind("WhatComesLater") is ErrorKind("") is ErrorKind.OTHER


def test_what_stands_in_catalogs_stays_as_it_is() -> None:
    assert tuple(str(kind.value) for kind in ErrorKind) == WRITTEN
