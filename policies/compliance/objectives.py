"""Measure each guest against its tier's objectives: RPO, RTO, age of proof, copies, depth of
history.

The RPO is counted from the START of the last PROVEN backup: what is merely recorded, simulated or
inconclusive protects nobody until it is proven (law 5). What cannot be told is ``unknown``, which
is not ``met``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from policies import i18n
from policies.compliance.facts import (
    GuestFacts,
    SiteFacts,
    failed_since,
    newest_proof,
    once_proven,
    proven,
    usable,
)
from policies.model import Archive, Policy, Proof, Rung, Tier, Verdict

DAY = 86400
_RECENT = 2  # backups looked at for copies: the newest may still be on its way to its second place


class Status(StrEnum):
    """What is said of an objective, and of a guest: the worst of its objectives."""

    MET = "met"
    BREACHED = "breached"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective of a guest. rpo, rto and proof are in seconds, copies a count of places, depth
    in days.

    ``measured`` None: it could not be told. ``reason`` is a sentence in the policy's language.
    """

    name: str
    objective: float
    measured: float | None
    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class GuestAssessment:
    """A guest's objectives and the facts behind them. Times in epoch seconds, durations in seconds.

    ``rpo`` counts from the last proven backup, ``rpo_recorded`` from the last archive, proven or
    not. ``last_test`` is the latest restore test whatever came of it, ``last_good`` the latest that
    proved something.
    """

    vmid: int
    name: str
    node: str | None
    tier: str
    status: Status
    objectives: tuple[Objective, ...]
    archives: int
    unreachable: int
    last_backup: int | None
    last_proven: int | None
    rpo: int | None
    rpo_recorded: int | None
    rto: float | None
    proof_age: int | None
    copies: int
    depth: int
    last_test: Proof | None
    last_good: Proof | None


@dataclass(frozen=True, slots=True)
class _Case:
    """What every objective of one guest is judged by."""

    item: GuestFacts
    tier: Tier
    now: int
    slack: int
    blind: bool
    language: str
    proofs: tuple[Proof, ...]
    once: bool
    held: tuple[Archive, ...]

    def said(
        self,
        name: str,
        objective: float,
        measured: float | None,
        status: Status,
        key: str,
        /,
        **values: object,
    ) -> Objective:
        return Objective(
            name, objective, measured, status, i18n.reason(f"{name}.{key}", self.language, **values)
        )

    def span(self, seconds: float) -> str:
        return i18n.duration(seconds, self.language)


def assess(facts: SiteFacts, policy: Policy, now: int) -> tuple[GuestAssessment, ...]:
    """Given facts, policy and the time, return each guest's objectives against what was measured,
    in the facts' order.

    Templates, and guests in the scratch range, have no objectives and are left out.
    """
    # What could not be listed may hold just what is missing: then it is unknown, not breached.
    blind = any(gap.kind in ("listing", "node", "storages") for gap in facts.gaps)
    language = i18n.language_of(policy.language)
    found = []
    for item in facts.guests:
        if (item.guest and item.guest.template) or item.vmid in policy.scratch:
            continue
        tier = tier_of(policy, item.vmid)
        proofs = proven(facts, item, tier.proof_rung)
        once = once_proven(facts, item, tier.proof_rung)
        case = _Case(
            item, tier, now, policy.max_clock_drift, blind, language, proofs, once, item.held
        )
        found.append(_assessment(case))
    return tuple(found)


def tier_of(policy: Policy, vmid: int) -> Tier:
    """Given a VMID, return its tier: the one that the policy names for it, else the default one."""
    written = policy.guests.get(vmid)
    return policy.tiers[written.tier if written else policy.default_tier]


def worst(statuses: Iterable[Status]) -> Status:
    """Given statuses, return breached before unknown before met."""
    seen = set(statuses)
    return next(
        (status for status in (Status.BREACHED, Status.UNKNOWN) if status in seen), Status.MET
    )


def _assessment(case: _Case) -> GuestAssessment:
    item = case.item
    # the places of the better held one of the two newest backups
    recent: dict[int, list[Archive]] = {}
    for archive in reversed(case.held):  # the newest first
        if archive.ctime not in recent and len(recent) == _RECENT:
            break
        recent.setdefault(archive.ctime, []).append(archive)
    backups = item.places(archive for group in recent.values() for archive in group)
    places = sorted(max((backups[start] for start in recent), key=len, default=()))
    days = max(0, case.now - case.held[0].ctime) // DAY if case.held else 0
    copies = _enough(case, "copies", case.tier.copies, len(places), places=i18n.names(places))
    # no archive at all is told in plain words, and not as a number of copies
    if not (case.held or case.blind):
        copies = case.said("copies", case.tier.copies, 0, Status.BREACHED, "none")
    objectives = [_rpo(case), _rto(case), _proof(case), copies]
    # a young history is a short one: it cannot bring last month back
    if case.tier.depth > 0:
        objectives.append(_enough(case, "depth", case.tier.depth, days))
    # law 4: expected and not there breaches, whatever its archives are worth
    if item.guest is None:
        objectives.append(
            Objective("presence", 1, 0, Status.BREACHED, i18n.reason("absent", case.language))
        )
    by_name = {objective.name: objective for objective in objectives}
    rpo = by_name["rpo"].measured
    return GuestAssessment(
        vmid=item.vmid,
        name=item.name,
        node=item.guest.node if item.guest else None,
        tier=case.tier.name,
        status=worst(objective.status for objective in objectives),
        objectives=tuple(objectives),
        archives=len(case.held),
        unreachable=len(usable(item.unreachable)),
        last_backup=case.held[-1].ctime if case.held else None,
        last_proven=case.proofs[-1].archive_ctime if case.proofs else None,
        rpo=None if rpo is None else int(rpo),
        rpo_recorded=max(0, case.now - case.held[-1].ctime) if case.held else None,
        rto=by_name["rto"].measured,
        proof_age=_age(case),
        copies=len(places),
        depth=days,
        last_test=newest_proof(item),
        last_good=max(case.proofs, key=lambda proof: proof.ended, default=None),
    )


def _rpo(case: _Case) -> Objective:
    """From the start of the last proven backup that can still be restored: proof of an archive that
    is gone helps nobody.
    """
    objective = case.tier.rpo
    if not case.proofs and case.once and case.blind:
        return case.said("rpo", objective, None, Status.UNKNOWN, "blind")
    if not case.proofs and case.once:
        return case.said("rpo", objective, None, Status.BREACHED, "gone")
    if not case.proofs:
        return case.said("rpo", objective, None, Status.UNKNOWN, "unproven")
    # from its start: what was written during the dump may be missing in it
    age = case.now - case.proofs[-1].archive_ctime
    if age < -case.slack:
        return case.said("rpo", objective, None, Status.UNKNOWN, "future")
    return _compared(case, "rpo", objective, max(0, age), age=case.span(max(0, age)))


def _rto(case: _Case) -> Objective:
    measured = [proof for proof in case.proofs if proof.rto is not None]
    latest = max(measured, key=lambda proof: proof.ended, default=None)
    if latest is None or latest.rto is None:
        return case.said(
            "rto", case.tier.rto, None, Status.UNKNOWN, "gone" if case.once else "unknown"
        )
    return _compared(case, "rto", case.tier.rto, latest.rto, measured=case.span(latest.rto))


def _proof(case: _Case) -> Objective:
    """Only ``proven`` moves the date of last proof; a later failure of a backup at least as new
    takes its worth away.
    """
    objective, age, latest = case.tier.proof_age, _age(case), newest_proof(case.item)
    why = latest.reasons[0] if latest and latest.reasons else i18n.word("no-reason", case.language)
    if age is None and case.once and latest and latest.verdict is Verdict.FAILED:
        return case.said("proof", objective, None, Status.BREACHED, "failed", reason=why)
    if age is None and case.once:
        return case.said(
            "proof", objective, None, Status.UNKNOWN if case.blind else Status.BREACHED, "gone"
        )
    if age is None and latest is None:
        return case.said("proof", objective, None, Status.UNKNOWN, "unknown")
    if age is None and latest:
        status = Status.BREACHED if latest.verdict is Verdict.FAILED else Status.UNKNOWN
        verdict = i18n.word(latest.verdict, case.language)
        return case.said("proof", objective, None, status, "latest", verdict=verdict, reason=why)
    good = max(case.proofs, key=lambda proof: proof.ended)
    if failed := failed_since(case.item, good):
        why = failed.reasons[0] if failed.reasons else why
        return case.said("proof", objective, age, Status.BREACHED, "failed", reason=why)
    # its tier asks for no more, and the reason says how far the proof goes
    if (age or 0) <= objective and good.rung.height < Rung.HEALTHY.height:
        values = {"age": case.span(age or 0), "objective": case.span(objective)}
        return case.said("proof", objective, age, Status.MET, "booted", **values)
    return _compared(case, "proof", objective, age or 0, age=case.span(age or 0))


def _age(case: _Case) -> int | None:
    return max(0, case.now - max(proof.ended for proof in case.proofs)) if case.proofs else None


def _enough(case: _Case, name: str, objective: int, measured: int, /, **where: str) -> Objective:
    values: dict[str, object] = {"measured": measured, "objective": objective}
    if measured >= objective:
        return case.said(name, objective, measured, Status.MET, "met", **where, **values)
    if case.blind:
        return case.said(name, objective, None, Status.UNKNOWN, "unknown", **values)
    return case.said(name, objective, measured, Status.BREACHED, "breached", **where, **values)


def _compared(
    case: _Case, name: str, objective: float, measured: float, /, **values: object
) -> Objective:
    status = Status.MET if measured <= objective else Status.BREACHED
    return case.said(
        name, objective, measured, status, status.value, objective=case.span(objective), **values
    )
