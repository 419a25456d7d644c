"""Open a drill that was planned."""

from __future__ import annotations

from dataclasses import replace

from backupsvc.clock import moment
from backupsvc.errors import LawRefused, Refused
from backupsvc.operations.ha_drill.memory import DrillMemory
from backupsvc.operations.services import Opening
from policies.ha.drill import Plan
from policies.jobs import rank
from policies.model import Operation

DEADLINE = 2 * 3600  # seconds after which a guest that is away is brought home


def open_drill(service: Opening, plan: Plan, macs: tuple[str, ...] = ()) -> Operation | None:
    """Given a plan, open the drill that carries it out. ``macs`` are the guest's.

    Raise Refused if anything keeps it from being done, or while something is done with the guest.
    """
    if plan.vmid in service.policy.scratch:
        raise LawRefused(
            1, f"{plan.vmid} lies in the scratch range, whose copies stay where they are"
        )
    if plan.blockers or not (plan.home and plan.target and plan.check and plan.address):
        raise Refused(
            f"guest {plan.vmid} is not moved: {'; '.join(plan.blockers) or 'the plan is not whole'}",
            f"`backupsvc ha drill {plan.vmid} --dry-run` says it without doing anything",
        )
    memory = DrillMemory(
        plan.sid,
        plan.name,
        plan.home,
        plan.target,
        plan.how,
        replace(plan.check, options=dict(plan.check.options)),
        plan.address,
        moment(service.clock),
        macs,
        plan.simulated,
        plan.notes,
    )
    return service.engine.open(
        "ha-drill",
        plan.vmid,
        memory,
        timeout_s=DEADLINE,
        rank=rank(service.policy, plan.vmid),
    )
