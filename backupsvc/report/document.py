"""The PRA report as one frozen value: computed once from facts and policy, then rendered as HTML
and JSON.

Nothing is decided in the renderers: what is compliant, what is late and what is not known is
decided here and in ``policies``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

from backupsvc import __version__
from backupsvc.errors import UsageError
from backupsvc.report import words
from policies import i18n
from policies.compliance.evaluation import exemption_for, findings, local_day, pressing
from policies.compliance.facts import BroughtBack, GuestFacts, SiteFacts, usable
from policies.compliance.objectives import GuestAssessment, Objective, Status, assess
from policies.ha.failovers import Failovers
from policies.jobs import job_for
from policies.model import Exemption, Finding, Policy, Proof, Severity
from policies.pve.calendar_event import occurrences
from policies.what_if.decide import WhatIf, decide
from policies.what_if.loss import Loss

COMPLIANT, NOT_COMPLIANT = "compliant", "not-compliant"
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class Period:
    """A month in the site's time zone: from ``start`` to before ``end``, epoch seconds. ``over``:
    it has ended.
    """

    month: str
    start: int
    end: int
    over: bool


@dataclass(frozen=True, slots=True)
class GuestLine:
    """A guest's line: its assessment, and what happened to it in the month.

    ``due`` counts the occurrences of its job whose time has come, ``taken`` the backups that were
    seen (also those pruned since), ``failed`` the backup operations that failed, ``tests`` its
    restore tests of any verdict.
    """

    assessment: GuestAssessment
    role: str
    due: int
    taken: int
    failed: int
    tests: int

    @property
    def rpo(self) -> Objective:
        """Its recovery point objective, in seconds."""
        return self._every("rpo")

    @property
    def rto(self) -> Objective:
        """Its recovery time objective, in seconds."""
        return self._every("rto")

    @property
    def proof(self) -> Objective:
        """Its objective for the age of proof, in seconds."""
        return self._every("proof")

    def _every(self, name: str) -> Objective:
        return next(item for item in self.assessment.objectives if item.name == name)

    def objective(self, name: str) -> Objective | None:
        """Given an objective's name, return it, or None if the tier does not ask for it."""
        return next((item for item in self.assessment.objectives if item.name == name), None)


@dataclass(frozen=True, slots=True)
class FindingLine:
    """A finding, and the exemption that accepts it, if any."""

    finding: Finding
    exemption: Exemption | None


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """The findings of one id and severity, as a reader wants them: once, with all their subjects.

    ``below`` are those that follow from them, and need nothing of their own.
    """

    id: str
    severity: Severity
    lines: tuple[FindingLine, ...]
    below: tuple[FindingGroup, ...] = ()

    @property
    def exempted(self) -> bool:
        """Whether every finding of the group is accepted by an exemption in force."""
        return all(line.exemption for line in self.lines)

    @property
    def causes(self) -> tuple[tuple[str, str], ...]:
        """The different details of the group, each behind the subjects that it is true of."""
        told: dict[str, list[str]] = {}
        for line in self.lines:
            told.setdefault(line.finding.detail, []).append(line.finding.subject)
        return tuple((i18n.names(subjects), detail) for detail, subjects in told.items())

    @property
    def actions(self) -> tuple[str, ...]:
        """The different next steps of the group; those that differ by the guest alone are one, with
        VMID in its place.
        """
        if len(self.lines) == 1:
            return (self.lines[0].finding.action,)
        told = [
            re.sub(rf"\b{line.finding.vmid}\b", "VMID", line.finding.action) for line in self.lines
        ]
        return tuple(dict.fromkeys(told))


@dataclass(frozen=True, slots=True)
class Shortfall:
    """An objective that guests do not meet, or of which it is not known, for one reason."""

    status: Status
    objective: str
    reason: str
    guests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExemptionLine:
    """An exemption of the policy, and whether its end date has passed."""

    exemption: Exemption
    expired: bool


@dataclass(frozen=True, slots=True)
class GapLine:
    """Something that is not known: what, in the report's language, and why, in the words of whoever
    refused.
    """

    kind: str
    subject: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Document:
    """A PRA report. ``status`` is COMPLIANT or NOT_COMPLIANT; ``facts`` and ``policy`` are what all
    of it was computed from.
    """

    facts: SiteFacts
    policy: Policy
    period: Period
    generated_at: int
    language: str
    status: str
    guests: tuple[GuestLine, ...]
    findings: tuple[FindingLine, ...]
    proofs: tuple[Proof, ...]
    restores: tuple[BroughtBack, ...]
    exemptions: tuple[ExemptionLine, ...]
    limits: tuple[str, ...]
    gaps: tuple[GapLine, ...]
    failovers: Failovers | None = None
    version: str = __version__

    def short_of(self) -> tuple[Shortfall, ...]:
        """Return what is not met, breaches first: each reason once, with all the guests that it is
        true of.
        """
        told: dict[tuple[Status, str, str], list[str]] = {}
        for line in self.guests:
            item = line.assessment
            for objective in item.objectives:
                if objective.status is not Status.MET:
                    told.setdefault(
                        (objective.status, objective.name, objective.reason), []
                    ).append(f"{item.vmid} {item.name}")
        found = [
            Shortfall(status, name, reason, tuple(guests))
            for (status, name, reason), guests in told.items()
        ]
        # sorting is stable: among equals the order of the guests stays
        return tuple(sorted(found, key=lambda one: one.status is not Status.BREACHED))

    @property
    def under_ha(self) -> bool | None:
        """Whether HA manages a guest now; None if what it manages could not be read."""
        if any(item.ha_managed for item in self.facts.guests):
            return True
        return None if any(gap.kind == "ha" for gap in self.facts.gaps) else False

    @property
    def compliant(self) -> bool:
        """Whether all objectives are met and no finding stands that is not exempted."""
        return self.status == COMPLIANT

    def met(self, name: str) -> int:
        """Given an objective's name, return how many guests meet it."""
        found = [line.objective(name) for line in self.guests]
        return sum(objective is not None and objective.status is Status.MET for objective in found)

    def losses(self) -> tuple[WhatIf, ...]:
        """Return what could be brought back if one node, and then each of the others, were lost."""
        return tuple(
            decide(self.facts, self.policy, (), Loss(frozenset({node.name})), self.generated_at)
            for node in sorted(self.facts.nodes, key=lambda node: node.name)
        )

    def grouped(self) -> tuple[FindingGroup, ...]:
        """Return the findings grouped by id and severity, in their order; what follows from a
        silent node stands below it.
        """
        below = _groups(line for line in self.findings if line.finding.under)
        groups = _groups(line for line in self.findings if not line.finding.under)
        return tuple(
            replace(group, below=below) if group.id == "node-offline" else group for group in groups
        )


def _groups(lines: Iterable[FindingLine]) -> tuple[FindingGroup, ...]:
    groups: dict[tuple[str, Severity], list[FindingLine]] = {}
    for line in lines:
        groups.setdefault((line.finding.id, line.finding.severity), []).append(line)
    return tuple(
        FindingGroup(id, severity, tuple(found)) for (id, severity), found in groups.items()
    )


def month_of(now: int, timezone: str) -> str:
    """Given epoch seconds and a time zone, return the local month, such as ``2026-03``."""
    return local_day(now, timezone).strftime("%Y-%m")


def period_of(month: str, timezone: str, now: int) -> Period:
    """Given a month such as ``2026-03``, return its period. Raise UsageError if it is no month, or
    has not begun.
    """
    matched = _MONTH.fullmatch(month)
    if not matched or int(matched[1]) < 1970:
        raise UsageError(
            f"{month!r} is not a month", "write year and month, such as --month 2026-03"
        )
    year, number = int(matched[1]), int(matched[2])
    zone = ZoneInfo(timezone)
    start = int(datetime(year, number, 1, tzinfo=zone).timestamp())
    # Python's calendar ends with December 9999
    end = (
        int(datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone).timestamp())
        if (year, number) < (9999, 12)
        else start
    )
    if start > now:
        raise UsageError(
            f"the month {month} has not begun in {timezone}",
            "choose the current month or an earlier one",
        )
    return Period(month, start, end, end <= now)


def build(facts: SiteFacts, policy: Policy, month: str, now: int) -> Document:
    """Given facts, policy, month and time, return the report in the policy's language. Raise
    UsageError if the month is wrong.
    """
    # a report is whole in one language: one that is not known is English throughout
    policy = replace(policy, language=i18n.language_of(policy.language))
    period = period_of(month, policy.timezone, now)
    found, assessed = findings(facts, policy, now), assess(facts, policy, now)
    by_vmid = {item.vmid: item for item in facts.guests}
    # what is not yet due was not missed
    last = min(period.end - 1, now)
    due = {
        job.id: len(occurrences(job.schedule, policy.timezone, period.start - 1, last))
        for job in policy.jobs
    }
    # all that ended in the month, whatever came of them
    ended = range(period.start, period.end)
    tests = [test for guest in facts.guests for test in guest.proofs if test.ended in ended]
    # of a site without guests nothing is proven either
    good = (
        not pressing(found, policy, now)
        and all(item.status is Status.MET for item in assessed)
        and bool(assessed)
    )
    return Document(
        facts=facts,
        policy=policy,
        period=period,
        generated_at=now,
        language=policy.language,
        status=COMPLIANT if good and not facts.simulated else NOT_COMPLIANT,
        guests=tuple(_line(item, by_vmid[item.vmid], policy, period, due) for item in assessed),
        findings=tuple(FindingLine(item, exemption_for(item, policy, now)) for item in found),
        proofs=tuple(sorted(tests, key=lambda test: (test.ended, test.vmid))),
        restores=tuple(
            sorted(
                (one for one in facts.restores if one.ended in ended),
                key=lambda one: (one.ended, one.vmid),
            )
        ),
        exemptions=tuple(
            ExemptionLine(item, local_day(now, policy.timezone) > date.fromisoformat(item.until))
            for item in policy.exemptions
        ),
        limits=words.limits(facts, policy, period.over),
        gaps=tuple(
            GapLine(
                gap.kind, gap.subject, i18n.gap(gap.kind, gap.subject, policy.language), gap.reason
            )
            for gap in facts.gaps
        ),
        failovers=facts.failovers.within(period.start, period.end) if facts.failovers else None,
    )


def told_in(document: Document, language: str) -> Document:
    """Given a report and a language, return the same report in that language. Raise UsageError if
    there is no such language.
    """
    if language not in i18n.LANGUAGES:
        raise UsageError(
            f"there is no report in {language!r}", f"choose one of: {i18n.names(i18n.LANGUAGES)}"
        )
    # from the same facts and time, so that both say the same of the site
    if language == document.language:
        return document
    return build(
        document.facts,
        replace(document.policy, language=language),
        document.period.month,
        document.generated_at,
    )


def _line(
    item: GuestAssessment, facts: GuestFacts, policy: Policy, period: Period, due: Mapping[str, int]
) -> GuestLine:
    written = policy.guests.get(item.vmid)
    job = job_for(policy, item.vmid)
    # a backup of the month counts as taken even if retention has removed it since
    held = usable(facts.archives + facts.removed) if facts.removed else facts.held
    within = [archive.ctime for archive in held if period.start <= archive.ctime < period.end]
    return GuestLine(
        assessment=item,
        role=written.role if written else "",
        due=due[job.id] if job else 0,
        taken=len(set(within)),
        failed=sum(
            not backup.succeeded and period.start <= backup.at < period.end
            for backup in facts.backups
        ),
        tests=sum(period.start <= test.ended < period.end for test in facts.proofs),
    )
