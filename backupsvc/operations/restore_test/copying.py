"""Where the copy of a restore test goes and what it becomes: the policies' plan, held against what
PVE and the catalog say now.

The test itself plans here, and so does ``restore-test --dry-run``, which only takes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from backupsvc.errors import BackupsvcError, LawRefused, NoRoom, PvePermissionDenied
from backupsvc.inventory.listing import as_dict, require_answers
from backupsvc.operations.restore_test import listening
from backupsvc.operations.restore_test.proving import node_to_avoid
from backupsvc.operations.scratch_cleanup import free_vmids
from backupsvc.operations.services import Probes
from policies import bridges, copy_plan
from policies.copy_plan import CopyPlan, Facts, Harmful, NoBridge
from policies.guest_policy import policy_for
from policies.model import Archive, GuestPolicy
from policies.placement import NoPlace
from policies.pve import guest_config

_MEND = (
    "mend what is named for one of the nodes: free a VMID, storage or memory there, or give the "
    "token the right that it lacks"
)
PREVIEW = "PREVIEW"  # stands where the operation's id stands in a real copy's marker


def find(
    service: Probes,
    vmid: int,
    archive: Archive,
    config: Mapping[str, str],
    *,
    operation: str,
    simulated: bool,
    take: Callable[[int], bool],
    say: Callable[[str], None] = lambda sentence: None,
    retries: bool = False,
) -> CopyPlan:
    """Given a guest's archive and the config in it, return the copy to make of it, under a VMID
    that nothing has and nothing had.

    ``simulated``: its guests are only modelled. ``take`` is asked last and may still refuse a VMID,
    which another operation was quicker to lease; ``say`` is told what the reader should know. Raise
    LawRefused if no copy could be made harmless, or if the bridge is not isolated on the node;
    PvePermissionDenied if the token may use no bridge; NoRoom if there is no place; OutOfReach if
    the caller ``retries`` and PVE itself failed at a question, which may pass.
    """
    pve, scratch, guest = service.pve, service.policy.scratch, policy_for(service.policy, vmid, "")
    facts = _facts(service, vmid, guest, simulated=simulated, retries=retries)
    # what is configured in HA would be started by itself (law 2)
    taken = set(service.catalog.leases.holders()) | free_vmids.in_ha(service, say)
    identity = service.catalog.identity.get()
    while True:
        found = copy_plan.plan(
            archive,
            config,
            guest=guest,
            scratch=scratch,
            facts=facts,
            taken=taken,
            operation=operation,
            service=identity,
        )
        if not isinstance(found, CopyPlan):
            raise _refusal(service, archive, found)
        for note in pve.scratch(scratch, service.catalog.leases.holder).require_bridge(
            found.node, found.network
        ):
            say(note)
        # a volume that lies there already would be taken for the copy's, and removed with it
        used = service.catalog.archives.find(vmid=found.vmid) or pve.storage.volumes(
            found.node, found.storage, found.vmid
        )
        # leased last of all: PVE itself reserves no VMID that it calls free (pve-facts 8.3)
        if not used and pve.cluster.vmid_free(found.vmid) and take(found.vmid):
            return found
        taken.add(found.vmid)


def _facts(
    service: Probes, vmid: int, guest: GuestPolicy, *, simulated: bool, retries: bool
) -> Facts:
    """What a plan is held against, asked of PVE, the catalog and the settings now."""
    pve = service.pve
    permissions = pve.cluster.permissions()
    avoided = node_to_avoid(service.catalog.proofs.find(vmid=vmid, limit=1))
    askable = listening.nodes_with_probe(service, guest, simulated=simulated)
    seen = pve.storage.seen()
    require_answers(seen.passing, retries=retries)
    return Facts(
        pve.cluster.guests(),
        pve.cluster.nodes(),
        seen.storages,
        permissions,
        avoided,
        askable,
        seen.silent,
    )


def preview(service: Probes, vmid: int, archive: Archive) -> dict[str, Any]:
    """Given a guest's archive, return what ``restore-test --dry-run --json`` prints of it: the
    plan, or why it would be refused.

    Memory in MiB.
    """
    from backupsvc.operations.restore_test import settling

    guest, scratch = policy_for(service.policy, vmid, ""), service.policy.scratch
    config = guest_config.parse_config(
        service.pve.storage.extract_config(archive.node, archive.volid)
    )
    told: dict[str, Any] = {
        "vmid": vmid,
        "archive": as_dict(archive),
        "checks": [spec.name for spec in guest.checks],
    }
    told |= {"settle_seconds": settling.seconds(scratch, guest), "refused": None}
    simulated = service.pve.cluster.version().simulated
    try:
        found = find(
            service,
            vmid,
            archive,
            config,
            operation=PREVIEW,
            simulated=simulated,
            take=lambda vmid: True,
        )
    except (LawRefused, NoRoom, PvePermissionDenied) as error:
        return told | {
            "refused": {"message": error.message, "hint": error.hint, "exit_code": error.exit_code}
        }
    return told | {
        "scratch": {"vmid": found.vmid, "node": found.node, "storage": found.storage},
        "network": found.network,
        "bridge": found.bridge,
        "memory": found.memory,
        "overrides": dict(found.overrides),
        "changes": list(found.changes),
        "stripped": list(found.stripped),
        "missing_disks": list(found.missing),
        "reasons": list(found.reasons),
    }


def _refusal(
    service: Probes, archive: Archive, why: Harmful | NoBridge | NoPlace
) -> BackupsvcError:
    if isinstance(why, NoBridge):
        taken = {
            bridge.name
            for node in service.pve.cluster.nodes()
            if node.online
            for bridge in service.pve.cluster.bridges(node.name)
        }
        return PvePermissionDenied(
            f"no copy of guest {archive.vmid} is restored: PVE wants a bridge even for NICs whose "
            f"links are down, and {service.pve.token_id} may use none (SDN.Use)",
            bridges.way_out(bridges.free_name(taken)),
        )
    reasons = "; ".join(why.reasons)
    if isinstance(why, Harmful):
        return LawRefused(
            2,
            f"archive {archive.volid} of guest {archive.vmid} is not restored: no copy of it "
            f"could be made harmless: {reasons}",
            "remove it in the guest and back up again",
        )
    return NoRoom(f"there is no place for a copy of guest {archive.vmid}: {reasons}", _MEND)
