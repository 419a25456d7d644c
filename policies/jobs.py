"""Select the guests that a backup job must back up, and the job whose retention covers a guest."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from policies.guest_policy import policy_for
from policies.model import Guest, Job, Policy


@dataclass(frozen=True, slots=True)
class Expected:
    """A guest that a job must back up. ``guest`` is None when the cluster does not have it: an
    absence to report (law 4).
    """

    vmid: int
    guest: Guest | None


def expected(
    job: Job, policy: Policy, guests: Sequence[Guest], only: Collection[int] = ()
) -> tuple[Expected, ...]:
    """Given a job and the cluster's guests, return whom the job must back up, in ascending VMID
    order as vzdump works.

    ``only`` restricts to some VMIDs; one that the job does not cover is expected all the same,
    because the user asked for it. Scratch guests are never expected.
    """
    # a guest that the job names and the cluster does not show is expected, too (law 4)
    present = {guest.vmid: guest for guest in guests}
    wanted = set(only) or {
        vmid
        for vmid in (job.guests if job.guests is not None else present)
        if vmid not in job.exclude
    }
    return tuple(
        Expected(vmid, present.get(vmid)) for vmid in sorted(wanted) if vmid not in policy.scratch
    )


def jobs_for(policy: Policy, vmid: int) -> tuple[Job, ...]:
    """Given a VMID, return the jobs that cover it, in the policy's order."""
    return tuple(
        job
        for job in policy.jobs
        if (job.guests is None or vmid in job.guests)
        and vmid not in job.exclude
        and vmid not in policy.scratch
    )


def job_for(policy: Policy, vmid: int) -> Job | None:
    """Given a VMID, return the first job that covers it, whose retention therefore applies to its
    archives.
    """
    return next(iter(jobs_for(policy, vmid)), None)


def rank(policy: Policy, vmid: int) -> int:
    """Given a VMID, return its guest's place among those who wait for the same node: the strictest
    tier (by RPO) goes first.
    """
    strictest = sorted(
        policy.tiers, key=lambda name: (policy.tiers[name].rpo, policy.tiers[name].proof_age, name)
    )
    tier = policy_for(policy, vmid, "").tier
    return strictest.index(tier) if tier in policy.tiers else len(strictest)
