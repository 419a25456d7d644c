"""Choose the guest to test next, and which of its archives to prove.

A restore test mostly takes a guest's newest archive, for that is the one a disaster would need. But
old archives rot too, so once in a while an old one is drawn by lot; the lot is a seed that the
caller gives, so that a choice can be repeated and explained.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from policies import lineage
from policies.model import Archive, Policy, Proof
from policies.whole import key

_DAY = 24 * 3600
OLD = 7 * _DAY  # an archive of this age counts as an old one
SAMPLE_EVERY = 30 * _DAY  # how long after the last test of an old archive the next one is drawn
USUAL = 1800.0  # seconds that a test is expected to take as long as none has been measured
_WAITING = frozenset({"reserve"})  # stages in which a test waits for its turn
_NOTHING: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Choice:
    """The archive to prove, or None, and why."""

    archive: Archive | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """When a guest must be proven again. ``deadline`` in epoch seconds, None when it has never been
    proven at all.
    """

    vmid: int
    deadline: int | None
    overdue: bool
    reason: str


def next_archive(
    archives: Sequence[Archive], proofs: Sequence[Proof], *, now: int, seed: str, drift: int = 30
) -> Choice:
    """Given one guest's archives and its proofs, return which archive a restore test should take.

    That is the newest, except when it is proven and no old archive was tested for a month: then one
    of the old ones, by lot. An archive of size 0, without any disk, changed, of another machine or
    from the future (more than ``drift`` seconds ahead of ``now``) is never taken: a clock jumped.
    """
    # a VMID is no identity (law 10): what was under it before proves nothing of this guest
    others = lineage.others(archives)
    judged = [(archive, _unusable(archive, now + drift, others)) for archive in archives]
    passed = tuple(reason for _, reason in judged if reason)
    usable = sorted(
        (archive for archive, reason in judged if not reason),
        key=lambda item: (item.ctime, item.volid),
    )
    if not usable:
        return Choice(None, (*passed, "there is no archive to prove"))
    newest = usable[-1]
    old = [archive for archive in usable[:-1] if now - archive.ctime >= OLD]
    # An archive that was old when it was tested is a sample: one a month is enough.
    sampled = any(
        now - proof.ended < SAMPLE_EVERY and proof.started - proof.archive_ctime >= OLD
        for proof in proofs
    )
    if newest.proven_at is None or not old or sampled:
        return Choice(
            newest,
            (
                f"the newest archive, {'proven before' if newest.proven_at else 'not proven yet'}",
                *passed,
            ),
        )
    unproven = [archive for archive in old if archive.proven_at is None] or old
    drawn = random.Random(seed).choice(unproven)
    return Choice(
        drawn,
        (f"the newest archive is proven; drawn by lot from {len(unproven)} old ones", *passed),
    )


def _unusable(archive: Archive, latest: int, others: Collection[tuple[str, str]]) -> str | None:
    if archive.size <= 0:
        return f"{archive.volid} is empty"
    if archive.holds_disk is False:
        return f"{archive.volid} holds no disk"
    if archive.changed:
        return f"{archive.volid} was changed since it was recorded ({archive.changed})"
    if archive.damaged:
        return f"{archive.volid} is damaged ({archive.damaged})"
    if key(archive) in others:
        return f"{archive.volid} is of another machine"
    if archive.ctime > latest:
        return f"{archive.volid} is from the future"
    return None


def duration(proof: Proof) -> float | None:
    """Given a restore test, return how many seconds it worked, or None if it did not come to the
    checks.
    """
    stages = {stage.name: stage.seconds for stage in proof.stages}
    if "check" not in stages:
        return None
    return sum(seconds for name, seconds in stages.items() if name not in _WAITING)


def due(
    policy: Policy, proven: Mapping[int, int | None], now: int, began: Mapping[int, int] = _NOTHING
) -> tuple[Turn, ...]:
    """Given when each guest was last proven (epoch seconds or None), return every guest of the
    policy, most urgent first.

    ``began`` is when the backup that was proven began: from there its tier's RPO counts, which may
    end before the proof's age. Never proven comes before all; then the earliest deadline. Ties go
    to the stricter tier, then to the lower VMID.
    """
    turns = []
    for vmid, guest in policy.guests.items():
        last = proven.get(vmid)
        if last is None:
            turns.append(Turn(vmid, None, True, "never proven"))
            continue
        deadline = last + _proof_age(policy, vmid)
        if vmid in began:
            deadline = min(deadline, began[vmid] + policy.tiers[guest.tier].rpo)
        when = "overdue for" if now > deadline else "due in"
        days = abs(deadline - now) / _DAY
        turns.append(Turn(vmid, deadline, now > deadline, f"{when} {days:.1f} days"))
    return tuple(
        sorted(
            turns, key=lambda turn: (turn.deadline or 0, _proof_age(policy, turn.vmid), turn.vmid)
        )
    )


def _proof_age(policy: Policy, vmid: int) -> int:
    return policy.tiers[policy.guests[vmid].tier].proof_age
