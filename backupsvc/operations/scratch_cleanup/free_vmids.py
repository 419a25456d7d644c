"""VMIDs that a copy must not have although nothing is there: HA would start whatever is restored
under them (law 2).
"""

from __future__ import annotations

from collections.abc import Callable

from backupsvc.errors import LawRefused
from backupsvc.operations.services import Cluster
from policies import moved

_HINT = (
    "take it out of HA in PVE (ha-manager remove vm:{vmid}), or give scratch.vmids another range"
)


def in_ha(service: Cluster, say: Callable[[str], None]) -> set[int]:
    """Return the scratch VMIDs that are configured in HA, and say so of each. Raise LawRefused if
    that is all of them.
    """
    scratch = service.policy.scratch
    found = moved.in_ha(service.pve.cluster.ha_resources(), scratch)
    if len(found) > scratch.last - scratch.first:
        raise LawRefused(
            2,
            f"every VMID of the scratch range {scratch.first}-{scratch.last} is configured in HA, "
            "which would start a copy as soon as its restore ends",
            _HINT.format(vmid=scratch.first),
        )
    for vmid in sorted(found):
        say(f"scratch VMID {vmid} is configured in HA, so it is passed over")
    return set(found)


def refuse_ha(service: Cluster, vmid: int) -> None:
    """Raise LawRefused, just before a restore, if HA has got its VMID meanwhile."""
    if vmid in moved.in_ha(service.pve.cluster.ha_resources(), service.policy.scratch):
        raise LawRefused(
            2,
            f"nothing is restored into scratch VMID {vmid}: it is configured in HA, which would "
            "start the copy by itself",
            _HINT.format(vmid=vmid),
        )
