"""A failed backup, an occurrence that passed its window without an archive, or one that no
scheduler was there to run.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.compliance.facts import SiteFacts
from policies.compliance.rule import Rule, Seen, about
from policies.compliance.selecting import TOLD_FOR_S, backed_up, last_due
from policies.i18n.sentences import Moment
from policies.jobs import job_for
from policies.model import Policy, Severity


def find(facts: SiteFacts, policy: Policy, now: int) -> Iterator[Seen]:
    """Given facts, policy and the time, yield a case for each job whose runs were missed and each
    guest without its archive.
    """
    # A missed run is told of for a week, and is critical until a later one was run.
    for job in policy.jobs:
        runs = [run for run in facts.job_runs if run.job == job.id]
        missed = sorted(run.at for run in runs if run.missed and run.at > now - TOLD_FOR_S)
        if missed:
            later = any(not run.missed and run.at > missed[-1] for run in runs)
            values = {
                "job": job.id,
                "count": len(missed),
                "first": Moment(missed[0]),
                "last": Moment(missed[-1]),
            }
            yield Seen(job.id, values, "run-since" if later else "run")
    due = {job.id: last_due(job, policy.timezone, now) for job in policy.jobs}
    # A node whose clock is behind gives its archives a time before the one at which they were due.
    slack = policy.max_clock_drift + max(
        (-offset for offset in facts.clocks.offsets.values() if offset < 0), default=0
    )
    for item in backed_up(facts, policy):
        held, last = item.known, item.last_backup
        covering = job_for(policy, item.vmid)
        wanted = due[covering.id] if covering else None
        if last and not last.succeeded and (not held or held[-1].ctime < max(last.at, last.until)):
            yield about(item, "failed", waits=True, when=Moment(last.at), detail=last.detail)
        # a guest that has no archive at all is guest-not-covered
        elif covering and held and wanted is not None and held[-1].ctime < wanted - slack:
            yield about(
                item, waits=True, due=Moment(wanted), job=covering.id, last=Moment(held[-1].ctime)
            )


# What has been made good is worth knowing all the same.
RULE = Rule("backup-missed", Severity.CRITICAL, find, forms={"run-since": Severity.INFO})
