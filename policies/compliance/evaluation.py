"""What is wrong with a site: facts and policy in, findings out, by the ids that stay the same in every answer.

A table of small functions, one a finding. Each looks at the facts alone and yields nothing when the thing is right, so that every
finding can disappear. What could not be read is never taken for right: it stands among the facts' gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, datetime
from zoneinfo import ZoneInfo

from policies import compliance_nodes, i18n, reach, whole
from policies.compliance.facts import ClusterJob, GuestFacts, SiteFacts, newest_proof, once_proven, place, usable
from policies.compliance.scratch_network import scratch_network
from policies.jobs import job_for
from policies.model import Archive, Exemption, Finding, GuestType, Job, Policy, Severity
from policies.pve import prune_backups
from policies.pve.calendar_event import occurrences
from policies.pve.privileges import privileges
from policies.service_checks import unasked, wanted_rung

FULL = 85  # percent at which a storage is about to be a problem
TOLD_FOR = 7 * 86400  # seconds for which a missed run is told of
ROUND = 1.3  # room that one round of backups needs, as a multiple of the last one (pve-facts 3.11)
_LOOK_BACK = tuple(
    days * 86400 for days in (2, 9, 40, 400)
)  # for a job's last occurrence: as far as its schedule makes necessary

# what is not critical is a warning: something to plan, not something to get up for
WARNINGS = frozenset(
    {
        "status-unknown",
        "job-pinned-to-node",
        "clock-drift",
        "clock-drift.own",
        "clock-drift.ha",
        "guest-agent-missing",
        "scratch-not-isolated.none",
        "scratch-not-isolated.missing",
        "scratch-not-isolated.address",
        "scratch-not-isolated.token",
        "disk-excluded",
        "archive-shrunk",
        "listing-blind",
        "listing-blind.guests",
        "foreign-job",
        "storage-prunes",
        "storage-filling",
        "no-service-check",
        "no-service-check.none",
        "orphan-copy.stopped",
        "orphan-copy.ours",
        "copy-moved",
    }
)
# what has been made good, and is worth knowing all the same
TOLD = frozenset({"backup-missed.run-since"})


class Speaker:
    """Writes findings in one language, with the site's own time."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.language = policy, i18n.language_of(policy.language)

    def says(self, key: str, subject: str, values: Mapping[str, object], vmid: int | None = None) -> Finding:
        """Given a key of the sentences and its values, return the finding; its id is the key without the variant."""
        detail, action = i18n.finding(key, self.language, **{"vmid": vmid, **values})
        severity = Severity.WARNING if key in WARNINGS else Severity.INFO if key in TOLD else Severity.CRITICAL
        return Finding(key.partition(".")[0], severity, subject, detail, action, vmid)

    def about(self, key: str, guest: GuestFacts, **values: object) -> Finding:
        """Given a key and a guest, return the finding about that guest."""
        return self.says(key, f"{guest.vmid} {guest.name}".strip(), values, guest.vmid)

    def when(self, epoch: int) -> str:
        """Given epoch seconds, return the site's local time."""
        return i18n.moment(epoch, self.policy.timezone, self.language)


Rule = Callable[[SiteFacts, Policy, int, Speaker], Iterable[Finding]]


def findings(facts: SiteFacts, policy: Policy, now: int) -> tuple[Finding, ...]:
    """Given facts, policy and the time, return all findings in the policy's language, critical first."""
    speaker = Speaker(policy)
    found = [finding for rule in RULES.values() for finding in rule(facts, policy, now, speaker)]
    folded = compliance_nodes.fold(found, facts, policy)
    return tuple(sorted(folded, key=lambda finding: list(Severity).index(finding.severity)))


def exemption_for(finding: Finding, policy: Policy, now: int) -> Exemption | None:
    """Given a finding, return the exemption in force that accepts it, or None. An expired one accepts nothing."""
    today = local_day(now, policy.timezone)
    for exemption in policy.exemptions:
        same = exemption.finding == finding.id and exemption.vmid in (None, finding.vmid)
        if same and today <= date.fromisoformat(exemption.until):
            return exemption
    return None


def pressing(found: Iterable[Finding], policy: Policy, now: int) -> tuple[Finding, ...]:
    """Given findings, return those that make a site not compliant: more than information, and not exempted."""
    return tuple(item for item in found if item.severity is not Severity.INFO and not exemption_for(item, policy, now))


def local_day(now: int, timezone: str) -> date:
    """Given epoch seconds and a time zone, return the local day."""
    return datetime.fromtimestamp(now, ZoneInfo(timezone)).date()


# --- the guests' archives -------------------------------------------------------------------------------------------------


def _archives_on_guest_node(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    gone = reach.down(facts.nodes, facts.silent)
    for item in facts.guests:
        if item.guest is None:
            continue
        held = _known(item)
        if held and {place(archive) for archive in held} == {item.guest.node}:
            key = "archives-on-guest-node" + (".down" if item.guest.node in gone else "")
            yield speaker.about(key, item, node=item.guest.node, count=len(held))
        elif not held and (job := job_for(policy, item.vmid)) and _writes_beside(facts, job, item.guest.node, gone):
            yield speaker.about("archives-on-guest-node.planned", item, node=item.guest.node, job=job.id, storage=job.storage)


def _writes_beside(facts: SiteFacts, job: Job, node: str, gone: Collection[str]) -> bool:
    """A node that is down shows no storage: what another one shows of that name is the same definition."""
    places = {item.node for item in facts.storages} if node in gone else {node}
    return any(item.name == job.storage and item.node in places and not item.shared for item in facts.storages)


def _known(item: GuestFacts) -> tuple[Archive, ...]:
    """What could be restored from, within reach or out of it."""
    return usable(item.archives + item.unreachable)


def _never_proven(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    for item in _backed_up(facts, policy):
        latest = newest_proof(item)
        if once_proven(facts, item, wanted_rung(policy, item.vmid)):
            continue
        if latest is None:
            yield speaker.about("never-proven", item)
        else:
            yield speaker.about(
                "never-proven.tried",
                item,
                count=sum(proof.verdict is not latest.verdict.SKIPPED for proof in item.proofs),
                when=speaker.when(latest.ended),
                verdict=i18n.word(latest.verdict, speaker.language),
                reason=latest.reasons[0] if latest.reasons else i18n.word("no-reason", speaker.language),
            )


def _no_service_check(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    """A guest that no restore test can prove, whatever comes of it, because nothing asks its service."""
    for item in _backed_up(facts, policy):
        if item.guest and item.guest.type is GuestType.QEMU and (lack := unasked(policy, item.vmid, item.name, item.guest.tags)):
            values = {"checks": i18n.names(lack.checks), "suggested": i18n.names(lack.suggested), "tier": lack.tier}
            yield speaker.about("no-service-check" if lack.checks else "no-service-check.none", item, **values)


def _guest_not_covered(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    """Law 4: an expected guest that is absent, that no job covers, or that has no archive."""
    for item in facts.guests:
        if item.guest is None:
            yield speaker.about("guest-not-covered.absent", item, count=len(usable(item.archives)))
        elif item.guest.template:
            continue
        elif job_for(policy, item.vmid) is None:
            yield speaker.about("guest-not-covered.job", item)
        elif not usable(item.archives) and (out := usable(item.unreachable)):
            places = i18n.names(sorted({f"{one.storage} ({place(one)})" for one in out}))
            yield speaker.about("guest-not-covered.unreachable", item, count=len(out), places=places)
        elif not usable(item.archives):
            yield speaker.about("guest-not-covered.archive", item)


def _guest_left_frozen(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    for item in facts.guests:
        if item.guest is not None and (left := item.left_frozen):
            key = "guest-left-frozen" if left.certain else "guest-left-frozen.unknown"
            yield speaker.about(key, item, when=speaker.when(left.at), why=left.why)


def _disk_excluded(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    for item in _backed_up(facts, policy):
        if item.excluded:
            yield speaker.about("disk-excluded", item, disks=i18n.names(item.excluded))


def _backup_missed(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    yield from _runs_missed(facts, policy, now, speaker)
    yield from _archives_missed(facts, policy, now, speaker)


def _archives_missed(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    """A failed operation, or an occurrence that passed its window without an archive. (No archive at all: guest-not-covered.)"""
    due = {job.id: last_due(job, policy.timezone, now) for job in policy.jobs}
    slack = policy.max_clock_drift + max((-offset for offset in facts.clocks.offsets.values() if offset < 0), default=0)
    for item in _backed_up(facts, policy):
        held, last = _known(item), item.last_backup
        job = job_for(policy, item.vmid)
        wanted = due[job.id] if job else None
        if last and not last.succeeded and (not held or held[-1].ctime < max(last.at, last.until)):
            yield speaker.about("backup-missed.failed", item, when=speaker.when(last.at), detail=last.detail)
        elif job and held and wanted is not None and held[-1].ctime < wanted - slack:
            yield speaker.about("backup-missed", item, due=speaker.when(wanted), job=job.id, last=speaker.when(held[-1].ctime))


def _runs_missed(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    """Occurrences for which no scheduler was there: told for a week, and critical until a later one was run."""
    for job in policy.jobs:
        runs = [run for run in facts.nights if run.job == job.id]
        missed = sorted(run.at for run in runs if run.missed and run.at > now - TOLD_FOR)
        if missed:
            later = any(not run.missed and run.at > missed[-1] for run in runs)
            key = "backup-missed.run-since" if later else "backup-missed.run"
            values = {"job": job.id, "count": len(missed), "first": speaker.when(missed[0]), "last": speaker.when(missed[-1])}
            yield speaker.says(key, job.id, values)


def last_due(job: Job, timezone: str, now: int) -> int | None:
    """Given a job, return its last occurrence whose window has passed, in epoch seconds, or None within the last 400 days."""
    until = now - job.window
    for back in _LOOK_BACK:
        if found := occurrences(job.schedule, timezone, until - back, until):
            return found[-1]
    return None


def _archive_shrunk(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    for item in facts.guests:
        held = [archive for archive in item.archives if not archive.changed]  # that is a finding of its own
        newest = max(held, key=lambda archive: (archive.ctime, archive.size), default=None)
        if newest is None:
            continue
        if newest.size <= 0:
            yield speaker.about("archive-shrunk.empty", item, volid=newest.volid)
        elif whole.key(newest) in whole.hollow(item.archives):
            yield speaker.about("archive-shrunk.no-disk", item, volid=newest.volid)
        elif (before := whole.usual(item.archives, newest)) and whole.below(newest, before):
            size, median_size = i18n.sizes(speaker.language, newest.size, int(before[1]))
            yield speaker.about("archive-shrunk", item, volid=newest.volid, size=size, count=before[0], usual=median_size)


def _archive_changed(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    """An archive never changes once it is written: whatever did this may have done it to others."""
    for item in facts.guests:
        for archive in item.archives:
            if archive.changed:
                yield speaker.about("archive-changed", item, volid=archive.volid, node=place(archive), what=archive.changed)


def _guest_agent_missing(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    for item in _backed_up(facts, policy):
        if item.agent_matters and item.agent is False:
            yield speaker.about("guest-agent-missing", item)


def _backed_up(facts: SiteFacts, policy: Policy) -> Iterator[GuestFacts]:
    """The guests that are there and that a backup is wanted of: those of a job."""
    for item in facts.guests:
        if item.guest is not None and not item.guest.template and job_for(policy, item.vmid):
            yield item


# --- the cluster ------------------------------------------------------------------------------------------------------------


def _quorum_two_votes(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    quorum = facts.quorum
    if quorum is None or not quorum.clustered:
        return
    if quorum.quorate is False:
        yield speaker.says("quorum-two-votes.lost", facts.cluster, {"votes": quorum.votes})
    elif quorum.votes == 2 and not quorum.qdevice:
        yield speaker.says("quorum-two-votes", facts.cluster, {"votes": quorum.votes})


def _clock_drift(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    """Nodes against the service's clock. When they agree with one another but not with us, the wrong clock is likely ours."""
    offsets, most = facts.clocks.offsets, policy.max_clock_drift
    wrong = {node: offset for node, offset in sorted(offsets.items()) if abs(offset) > most}
    agree = len(offsets) > 1 and max(offsets.values()) - min(offsets.values()) <= most
    if wrong and agree:
        offset = max(wrong.values(), key=abs)
        yield speaker.says("clock-drift.own", i18n.word("this-service", speaker.language), _drift(offset, speaker))
        return
    for node, offset in wrong.items():
        yield speaker.says("clock-drift", node, {"node": node, **_drift(offset, speaker)})
    if not wrong:
        for text in facts.clocks.drift_texts:
            yield speaker.says("clock-drift.ha", facts.cluster, {"text": text})


def _drift(offset: int, speaker: Speaker) -> dict[str, str]:
    direction = i18n.word("ahead" if offset > 0 else "behind", speaker.language)
    return {"offset": i18n.duration(abs(offset), speaker.language), "direction": direction}


def _job_pinned_to_node(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    """On a single node there is nowhere to go to, so nothing is skipped."""
    if len(facts.nodes) < 2:
        return
    for job in facts.jobs or ():
        if job.enabled and job.node:
            movable = [item for item in _of_job(facts, job) if item.ha_managed or (item.guest and item.guest.node != job.node)]
            guests = i18n.names(f"{item.vmid} {item.name}" for item in movable)
            yield speaker.says("job-pinned-to-node" + (".skips" if movable else ""), job.id, {"node": job.node, "guests": guests})


def _foreign_job(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    for job in facts.jobs or ():
        both = [item.vmid for item in _of_job(facts, job) if job_for(policy, item.vmid)]
        values = {"schedule": job.schedule, "storage": job.storage, "guests": i18n.names(both)}
        if job.enabled and both:
            yield speaker.says("foreign-job", job.id, values)


def _of_job(facts: SiteFacts, job: ClusterJob) -> list[GuestFacts]:
    return [item for item in facts.guests if item.guest is not None and not item.guest.template and job.covers(item.vmid)]


# --- copies -----------------------------------------------------------------------------------------------------------------


def _orphan_copy(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    """One that runs answers at a production address, so a test could take its word for that of its own copy."""
    for orphan in facts.orphans:
        copy = orphan.copy
        variant = ".ours" if orphan.ours else "" if copy.running else ".stopped"
        values = {"node": copy.node, "operation": copy.operation}
        yield speaker.says(f"orphan-copy{variant}", f"{copy.vmid} {copy.name}".strip(), values, copy.vmid)


def _copy_moved(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    for move in facts.moves:
        if move.at > now - TOLD_FOR:
            values = {"operation": move.operation, "source": move.source, "target": move.target, "when": speaker.when(move.at)}
            yield speaker.says("copy-moved", str(move.vmid), values, move.vmid)


# --- the storages -----------------------------------------------------------------------------------------------------------


def _storage_prunes(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    rules = {item.name: item.prune for item in facts.storages if "backup" in item.content and item.enabled}
    for name, prune in sorted(rules.items()):
        if prune_backups.prunes(prune):
            yield speaker.says("storage-prunes", name, {"prune": prune})


def _storage_filling(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    ours = {job.storage for job in policy.jobs} | {policy.scratch.storage}
    seen: set[str] = set()
    for item in facts.storages:
        subject = item.name if item.shared else f"{item.name} ({item.node})"
        if item.name not in ours or not item.active or item.total <= 0 or subject in seen:
            continue
        seen.add(subject)
        share = round(100 * item.used / item.total)
        needed = int(ROUND * _round_of(facts, item.name, None if item.shared else item.node))
        if needed > item.available:
            left, amount = i18n.sizes(speaker.language, item.available, needed)
            yield speaker.says("storage-filling.night", subject, {"available": left, "needed": amount})
        elif share >= FULL:
            left = i18n.size(item.available, speaker.language)
            yield speaker.says("storage-filling", subject, {"share": share, "available": left})


def _round_of(facts: SiteFacts, storage: str, node: str | None) -> int:
    """Given a storage (on a node, or None if shared), return the bytes of the newest archive of each guest on it."""
    total = 0
    for item in facts.guests:
        there = [archive for archive in usable(item.archives) if archive.storage == storage and node in (None, archive.node)]
        total += there[-1].size if there else 0
    return total


def _listing_blind(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    yield from _blind_by_rights(facts, policy, speaker)
    if not any(item.guest for item in facts.guests):
        yield speaker.says("listing-blind.empty", facts.cluster, {})
    for listing in facts.listings:
        if listing.lost > 0:
            key = "listing-blind" if listing.now else "listing-blind.all"
            values = {"now": listing.now, "lost": listing.lost, "storage": listing.storage}
            yield speaker.says(key, f"{listing.storage} ({listing.node})", values)


def _blind_by_rights(facts: SiteFacts, policy: Policy, speaker: Speaker) -> Iterator[Finding]:
    """PVE answers 200 and an empty list to a token that may not see archives (pve-facts 5.6)."""
    if facts.permissions is None:
        return
    everything = True
    for storage in sorted({job.storage for job in policy.jobs}):
        rights = privileges(facts.permissions, f"/storage/{storage}")
        everything = everything and "Datastore.Allocate" in rights
        if not rights & {"Datastore.AllocateSpace", "Datastore.Allocate"}:
            yield speaker.says("listing-blind.storage", storage, {"storage": storage})
    if not everything and "VM.Backup" not in privileges(facts.permissions, "/vms"):
        yield speaker.says("listing-blind.guests", facts.cluster, {})


# --- the policy -------------------------------------------------------------------------------------------------------------


def _scratch_not_isolated(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    for fault in scratch_network(facts, policy.scratch):
        yield speaker.says(f"scratch-not-isolated.{fault.kind}", fault.subject, fault.values)


def _exception_expired(facts: SiteFacts, policy: Policy, now: int, speaker: Speaker) -> Iterator[Finding]:
    today = local_day(now, policy.timezone)
    for item in policy.exemptions:
        if today > date.fromisoformat(item.until):
            subject = f"{item.finding} {item.vmid or ''}".strip()
            values = {
                "finding": item.finding,
                "until": i18n.day(item.until, speaker.language),
                "owner": item.owner,
                "reason": item.reason,
            }
            yield speaker.says("exception-expired", subject, values, item.vmid)


RULES: dict[str, Rule] = {
    "node-offline": compliance_nodes.node_offline,
    "status-unknown": compliance_nodes.status_unknown,
    "guest-not-covered": _guest_not_covered,
    "guest-left-frozen": _guest_left_frozen,
    "backup-missed": _backup_missed,
    "never-proven": _never_proven,
    "no-service-check": _no_service_check,
    "archives-on-guest-node": _archives_on_guest_node,
    "quorum-two-votes": _quorum_two_votes,
    "scratch-not-isolated": _scratch_not_isolated,
    "listing-blind": _listing_blind,
    "job-pinned-to-node": _job_pinned_to_node,
    "foreign-job": _foreign_job,
    "storage-prunes": _storage_prunes,
    "storage-filling": _storage_filling,
    "archive-changed": _archive_changed,
    "archive-shrunk": _archive_shrunk,
    "disk-excluded": _disk_excluded,
    "guest-agent-missing": _guest_agent_missing,
    "clock-drift": _clock_drift,
    "exception-expired": _exception_expired,
    "orphan-copy": _orphan_copy,
    "copy-moved": _copy_moved,
}
