"""The values that every room shares, frozen, a module a subject; all of them can be imported from
here.

Times are whole epoch seconds in UTC, durations are seconds, sizes are bytes, unless a name says
otherwise.
"""

from __future__ import annotations

from policies.model.archives import Archive, Decided, Mark, Marked, Marks, Said
from policies.model.cluster import Guest, GuestType, Node, SeenStorages, Storage
from policies.model.copies import (
    ArchiveCopy,
    Canary,
    CopyRoute,
    DamagedCopy,
    Rehearsal,
    SnapshotPut,
    SnapshotTrial,
    TrialState,
)
from policies.model.errors import PolicyError
from policies.model.findings import Finding, Severity
from policies.model.operations import Operation, OperationState, Transition
from policies.model.policy import (
    CheckSpec,
    CopyTarget,
    Directory,
    Exemption,
    GuestPolicy,
    HaRules,
    IntegrityRules,
    Job,
    Policy,
    PruneRules,
    PveStorage,
    Scratch,
    SftpFolder,
    Tier,
    TombstoneRules,
    Window,
)
from policies.model.proofs import CheckResult, Outcome, Proof, Rung, Stage, Verdict
from policies.model.signs import RANDOM, ZEROS, DiskSigns, Suspicion, SuspicionKind
from policies.model.tombstones import Release, Tombstone

__all__ = [
    "RANDOM",
    "ZEROS",
    "Archive",
    "ArchiveCopy",
    "Canary",
    "CheckResult",
    "CheckSpec",
    "CopyRoute",
    "CopyTarget",
    "DamagedCopy",
    "Decided",
    "Directory",
    "DiskSigns",
    "Exemption",
    "Finding",
    "Guest",
    "GuestPolicy",
    "GuestType",
    "HaRules",
    "IntegrityRules",
    "Job",
    "Mark",
    "Marked",
    "Marks",
    "Node",
    "Operation",
    "OperationState",
    "Outcome",
    "Policy",
    "PolicyError",
    "Proof",
    "PruneRules",
    "PveStorage",
    "Rehearsal",
    "Release",
    "Rung",
    "Said",
    "Scratch",
    "SeenStorages",
    "Severity",
    "SftpFolder",
    "SnapshotPut",
    "SnapshotTrial",
    "Stage",
    "Storage",
    "Suspicion",
    "SuspicionKind",
    "Tier",
    "Tombstone",
    "TombstoneRules",
    "Transition",
    "TrialState",
    "Verdict",
    "Window",
]
