"""What a restore test remembers from step to step: its archive, its copy, and all that the verdict
is decided on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backupsvc.engine.memory import MemoryForm
from backupsvc.errors import OperationFailed
from backupsvc.operations.memories import archive_from_version_0
from backupsvc.operations.scratch_cleanup.memory import CopyMemory, copy_from_version_0
from policies.causes import Blame, Cause
from policies.lineage import Identity
from policies.model import Archive, CheckResult, Operation, Rung, Verdict
from policies.outcomes import Facts
from policies.settle import Settled
from policies.silence import Silence
from policies.stillness import Seen


@dataclass(frozen=True, slots=True)
class Whose:
    """The machine in the archive, the one that the guest is now, and where that is known from
    (None: it is not).
    """

    archive: Identity
    guest: Identity | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class ReadBytes:
    """The archive's bytes, read on ``node``. ``checksummed``: every frame carries a checksum;
    ``compared``: the hash was known before, and is the same. ``size`` in bytes.
    """

    node: str
    checksummed: bool
    compared: bool
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Isolation:
    """The evidence of law 2, one sentence each: what was taken out of the copy's config, and what
    held of it then.
    """

    stripped: tuple[str, ...] = ()
    asserted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict as it was recorded. ``rto`` in seconds, None where none was measured."""

    verdict: Verdict
    rung: Rung = Rung.RECORDED
    reasons: tuple[str, ...] = ()
    rto: float | None = None
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class RestoreTestMemory(CopyMemory):
    """What a restore test remembers, besides its copy's whereabouts.

    Args:
        at: until when the archive shall have been made, as the user wrote it.
        volid: the archive that was asked for.
        archive: the one that was chosen.
        simulated: the guests are only modelled.
        config: the config in the archive, its text.
        identity: whose archive it is.
        wrong: what speaks against the archive itself, one sentence each.
        blame: who is to blame for what PVE, or the reading, said.
        cleared: the scratch VMIDs whose left copies were attended to.
        clearing: the operation that takes one down now.
        not_cleared: one could not be taken down, so no other is tried.
        bridge: what the copy's NICs hang on (None: the archive's own bridges, links down).
        network: "isolated", "link-down" or "none".
        planned: what the plan changes with the restore call, by the config's keys (None: planned by
        an older version).
        overrides: what was changed so.
        read: the archive's bytes as they were read in this test.
        unread: why they were not.
        waited: seconds for which the restore had ended before its archive was read.
        stripping: what was taken out of the copy's config by a call whose answer was lost, or is
        awaited.
        isolation: the evidence of law 2.
        missing_disks: disks of the guest that the copy does not have, by key.
        agent: the copy's config has a guest agent.
        macs: the MACs of its NICs.
        listens: whether its checks speak to the network, None while that was not asked.
        silence: what was heard at its address.
        forwarding: what is known of the probe passing packets on.
        machine: what was seen of the copy while it boots.
        booted: as in the evidence.
        heard: the last look for a sign of life could ask at all.
        life: where the sign of life came from, "network" or "".
        checks: the last answer of each check, by its name.
        times_asked: how often each was asked.
        identified: the agent was asked whose it is.
        stranger: why it is another machine's, "" if nothing says so.
        rto: seconds from the start of the restore to the first good check.
        settling: how many times its settling was begun.
        settled: what came of that.
        settle_seconds: for how many seconds the copy was to live on after its checks.
        wanted_rung: the rung at which the test proves.
        proof: the verdict.
    """

    at: str | None = None
    volid: str | None = None
    archive: Archive | None = None
    simulated: bool = False
    config: str = ""
    identity: Whose | None = None
    wrong: tuple[str, ...] = ()
    blame: Blame | None = None
    cleared: tuple[int, ...] = ()
    clearing: str | None = None
    not_cleared: bool = False
    bridge: str | None = None
    network: str = ""
    planned: Mapping[str, str] | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    read: ReadBytes | None = None
    unread: str = ""
    waited: float = 0.0
    stripping: tuple[str, ...] = ()
    isolation: Isolation = Isolation()
    missing_disks: tuple[str, ...] = ()
    agent: bool = False
    macs: tuple[str, ...] = ()
    listens: bool | None = None
    silence: Silence | None = None
    forwarding: str = ""
    machine: Seen | None = None
    booted: bool | None = None
    heard: bool = False
    life: str = ""
    checks: Mapping[str, CheckResult] = field(default_factory=dict)
    times_asked: Mapping[str, int] = field(default_factory=dict)
    identified: bool = False
    stranger: str = ""
    rto: float | None = None
    settling: int = 0
    settled: Settled | None = None
    settle_seconds: int = 0
    wanted_rung: Rung = Rung.HEALTHY
    proof: Judged | None = None

    @property
    def chosen(self) -> Archive:
        """The archive that was chosen. Raise OperationFailed before one was."""
        if self.archive is None:
            raise OperationFailed("no archive was chosen yet")
        return self.archive


def _from_version_0(values: dict[str, Any]) -> dict[str, Any]:
    """What stood together stands apart now: a check's answer and its count, what was settled and
    its seconds.
    """
    brought = values | copy_from_version_0(values)
    if archive := values.get("archive"):
        brought["archive"] = archive_from_version_0(archive)
    if "silence" in values:
        brought["listens"] = values["silence"] is not None
    if silence := values.get("silence"):
        brought["silence"] = silence | {"during": silence.get("while")}
    if checks := values.get("checks"):
        brought["times_asked"] = {name: check.get("asked", 0) for name, check in checks.items()}
    if settled := values.get("settled"):
        brought["settle_seconds"] = settled.get("seconds", 0)
    return brought


FORM = MemoryForm(RestoreTestMemory, (_from_version_0,))


def recall(operation: Operation) -> RestoreTestMemory:
    """Given a restore test, return what it remembers."""
    return FORM.read(operation.memory)


def facts(operation: Operation) -> Facts:
    """Given a restore test, return what is known of it for its outcome."""
    memory = recall(operation)
    place = memory.scratch or memory.archive
    verdict = str(memory.proof.verdict) if memory.proof else None
    return Facts(place.node if place else None, operation.book.upid("restore"), verdict)
