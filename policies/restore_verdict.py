"""Say how a guest that was brought back fares: whether its checks pass where it belongs, on the real
network, and what cannot be told from here.

It is no proof of the archive: nothing was isolated, and others may answer in the guest's place. So
the words are of their own. What could not be asked is inconclusive, and never good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from policies import settle
from policies.check_kinds import NETWORK_KINDS, asks_service
from policies.model import CheckResult, GuestPolicy, Outcome, Rung

# times that a check is put which cannot be: one lost answer is not yet a guest that nobody can ask
MAX_UNSURE = 3


class Health(StrEnum):
    """How a guest fares that was brought back and started."""

    RUNNING = "running"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    SIMULATED = "simulated"


IN_WORDS: Mapping[Health, str] = {
    Health.RUNNING: "running, checks passed",
    Health.FAILED: "running, CHECKS FAILED",
    Health.INCONCLUSIVE: "inconclusive",
    Health.SIMULATED: "simulated",
}


# what was not asked (None), or is only modelled, speaks against no guest
WELL: tuple[Health | None, ...] = (None, Health.RUNNING, Health.SIMULATED)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, and the sentences that say why."""

    health: Health
    reasons: tuple[str, ...]


def is_well(judged: Judgement | None) -> bool:
    """Given the verdict on a guest that was brought back, None where nobody asked, return whether
    nothing speaks against it.
    """
    return judged is None or judged.health in WELL


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen of a guest after its start.

    Args:
        checks: the last answer of each check of its policy.
        simulated: the guests are only modelled.
        wanted_rung: what its tier asks for: healthy, or booted where a sign of life suffices.
        settled: whether it lived on after its checks.
        missing_disks: disks of it that the archive does not hold, by key.
        doubts: why another machine may have answered in its place.
        unseen: whose its answers over the network were, no neighbour's MAC tells.
    """

    checks: tuple[CheckResult, ...] = ()
    simulated: bool = False
    wanted_rung: Rung = Rung.HEALTHY
    settled: settle.Settled = settle.NOT_WATCHED
    missing_disks: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    unseen: bool = False


def pending(
    checks: Mapping[str, CheckResult],
    unsure: Mapping[str, int],
    wanted: GuestPolicy,
    *,
    passed: float,
    alive: float | None,
) -> CheckResult | None:
    """Given the last answer of each check, how often each could not even be put, what is wanted of the
    guest, the seconds since its checks began, and those after which it first showed a sign of life
    (None: not yet), return a check that is worth asking again, None if there is none.

    A guest has its boot-timeout to show a sign of life, and its check-timeout from then on.
    """
    limit = wanted.boot_timeout if alive is None else alive + wanted.check_timeout
    if passed > limit:
        return None
    return next(
        (
            result
            for name, result in checks.items()
            if result.outcome is Outcome.FAILED
            or (result.outcome is Outcome.INCONCLUSIVE and unsure.get(name, 0) < MAX_UNSURE)
        ),
        None,
    )


def decide(evidence: Evidence) -> Judgement:
    """Given what was seen of a guest after its start, return the verdict."""
    if evidence.simulated:
        why = "the guest is only simulated: this shows nothing of a real one"
        return Judgement(Health.SIMULATED, (why,))
    bad = [one for one in evidence.checks if one.outcome is Outcome.FAILED]
    unsure = [one for one in evidence.checks if one.outcome is Outcome.INCONCLUSIVE]
    all_passed = bool(evidence.checks) and not bad and not unsure
    watched = evidence.settled.outcome
    # written for the copy of a restore test
    told = evidence.settled.said
    if not told and watched is not Outcome.PASSED:
        told = settle.NOT_WATCHED.said
    watching = tuple(said.replace("the copy", "the guest") for said in told)
    failures = [f"check {one.name} failed: {one.detail}" for one in bad]
    if all_passed and watched is Outcome.FAILED:
        failures += watching
    doubts = [f"check {one.name} could not be asked: {one.detail}" for one in unsure]
    if len(unsure) == len(evidence.checks):
        doubts.insert(0, "started, nothing asked")
    if all_passed and watched is Outcome.INCONCLUSIVE:
        doubts += watching
    doubts += [
        f"disk {disk} is not in the archive, and the guest is back without it"
        for disk in evidence.missing_disks
    ]
    networked = any(one.kind in NETWORK_KINDS for one in evidence.checks)
    if networked:
        doubts += evidence.doubts
    service = asks_service(one.kind for one in evidence.checks)
    if all_passed and not service and evidence.wanted_rung is not Rung.BOOTED:
        names = ", ".join(one.name for one in evidence.checks)
        doubts.append(f"only signs of life were asked for ({names}): its service was not asked")
    if failures or doubts:
        health = Health.FAILED if failures else Health.INCONCLUSIVE
        return Judgement(health, (*failures, *doubts))
    count = len(evidence.checks)
    said = f"{count} of {count} checks passed"
    if not service:
        said += "; its service was not asked, and its tier wants no more than a sign of life"
    if networked and evidence.unseen:
        said += (
            "; nobody answered there before the start, but it is on no network of this machine, so "
            "no MAC tells who answers now"
        )
    return Judgement(Health.RUNNING, (said, *watching))
