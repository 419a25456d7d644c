"""What a guest that is brought back had around it, and lost when it was deleted: told with the plan
of its restore, which it never keeps from being done.
"""

from __future__ import annotations

from typing import Any

from backupsvc.clock import iso
from backupsvc.errors import CopyError
from backupsvc.inventory.listing import FAILS
from backupsvc.operations import surroundings
from backupsvc.operations.restore.planning import Plan
from backupsvc.operations.services import Nodes
from backupsvc.operations.surroundings import Found


def of_plan(service: Nodes, plan: Plan) -> Found:
    """Given the plan of a restore, return what is missing around the guest, or why nobody can tell."""
    if plan.memory.clone:
        return Found(why_none="a clone is a machine of its own, and gets nothing of the guest's")
    target = plan.target if plan.target != plan.vmid else None
    try:
        return surroundings.of(service, plan.vmid, plan.config, plan.memory.node, target)
    except (*FAILS, CopyError) as error:
        return Found(why_none=error.message)


def as_dict(found: Found) -> dict[str, Any]:
    """Given what was found, return it as ``restore --json`` prints it."""
    return {
        "surroundings": [surroundings.as_dict(one) for one in found.items],
        "surroundings_kept_at": None if found.kept_at is None else iso(found.kept_at),
        "surroundings_unknown": found.why_none,
    }


def lines(found: Found) -> list[str]:
    """Given what was found, return the lines that tell it to a person, with the commands."""
    if found.why_none is not None:
        return [f"  what was around it is not known: {found.why_none}"]
    told = []
    for one in found.items:
        word = "around it" if one.known else "around it, not known"
        told.append(f"  {word}: {one.what}: {one.detail}")
        told += [f"    {command}" for command in one.commands]
    return told
