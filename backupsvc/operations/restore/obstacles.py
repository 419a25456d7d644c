"""What keeps a restore from being done, each thing asked by itself: whoever plans one raises it, or
gathers all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backupsvc.errors import LawRefused, PveUnreachable, Refused, UsageError
from backupsvc.operations.restore import twins
from backupsvc.operations.restore.absence import quorate
from backupsvc.operations.services import Nodes
from policies import i18n, lineage, reach, restore_guard, restore_plan, whole
from policies.model import Archive, GuestType
from policies.restore_guard import Doubt
from policies.restore_plan import NicAhead


def readable(archive: Archive, asked: str | None) -> None:
    """Given an archive and the node that was asked for (None: none was), raise UsageError if that
    node cannot read it.
    """
    # the other storages of that name are other disks, unless PVE calls it shared
    if asked not in (None, archive.node) and not archive.shared:
        raise UsageError(
            f"archive {archive.volid} lies on {archive.node}, in a storage that {asked} does not "
            "share",
            f"restore on {archive.node}, or copy the archive to {asked} first",
        )


def up(service: Nodes, node: str) -> bool:
    """Given a node, return True. Raise PveUnreachable if it cannot be asked."""
    nodes = service.restore_pve.cluster.nodes()
    down = reach.down(nodes)
    if node in down:
        raise PveUnreachable(
            f"node {node} is {'offline' if down[node] == reach.OFFLINE else 'silent'}: nothing "
            "can be restored there now",
            "name another with --node, of those that answer: "
            f"{i18n.names(one.name for one in nodes if one.online) or 'none'}",
        )
    return True


def without_quorum(service: Nodes, node: str) -> PveUnreachable | None:
    """Given the node that a guest is to come back to, return what is to be said if the cluster has
    lost quorum, with the steps that a person takes; else None.
    """
    down = reach.down(service.restore_pve.cluster.nodes())
    # None: there is no cluster, or the token may not ask, and neither is a reason to refuse
    if not down or quorate(service) is not False:
        return None
    steps = restore_guard.quorum_steps(node, sorted(down))
    return PveUnreachable(
        f"the cluster has lost quorum ({i18n.names(sorted(down))} is silent), so PVE refuses every "
        "restore",
        "; ".join(f"({number}) {step}" for number, step in enumerate(steps, 1)),
    )


def text_with_disk(service: Nodes, archive: Archive, vmid: int, text: str | None) -> str:
    """Given an archive and the text of the config in it (None: it could not be read, and is asked for
    once more), return that text. Raise Refused if no VM with a disk can be made of it.
    """
    if archive.type is not GuestType.QEMU:
        raise Refused(
            f"archive {archive.volid} is of a container, and only VMs can be restored yet",
            "restore it in PVE",
        )
    if text is None:
        text = service.restore_pve.storage.extract_config(archive.node, archive.volid)
    # PVE restores it with TASK OK, and starts it too (pve-facts 7.4)
    if not whole.holds_disk(text):
        raise Refused(
            f"archive {archive.volid} of guest {vmid} holds 0 disks: restored, it would be an "
            "empty machine",
            "leave --archive out: the newest archive that holds a disk is taken then",
        )
    return text


def meeting(
    service: Nodes,
    vmid: int,
    target: int,
    archive: Archive,
    config: Mapping[str, str],
    *,
    clone: bool,
    replaces: bool = False,
) -> list[str]:
    """Given a guest, the VMID that it is restored under and its archive, return what is not known of
    guests that the restored one may meet. Raise LawRefused if it would meet the machine that it is
    made of (law 2), unless it ``replaces`` that; Refused if the VMID is another guest's.
    """
    mine = lineage.of(config)
    # a VMID that is free now may be that of a guest which is only lost: its archives name it
    if target != vmid:
        twins.require_unclaimed(service, vmid, target, mine)
    if clone:
        return []
    return twins.meeting(service, vmid, target, mine, archive.volid, replaces=replaces)


def require_bridges(service: Nodes, vmid: int, node: str, nics: Sequence[NicAhead]) -> None:
    """Given the NICs of a guest that is to be started on a node, raise Refused if the bridge of one is
    not there: PVE restores such a guest, and cannot start it.
    """
    if missing := restore_plan.missing_bridges(nics):
        raise Refused(
            f"guest {vmid} would be restored on {node} and not start: {node} does not have the "
            f"bridge of {missing}, or {service.restore_pve.token_id} may not see it",
            f"make the bridge on {node}, name another node with --node, or restore the guest with "
            "--no-start and put its NIC onto another bridge before you start it",
        )


def may_run_twice(
    vmid: int, what: str, doubts: Sequence[Doubt], *, restored: bool = False
) -> LawRefused:
    """Given a guest, what came of bringing it back so far, and why its original may be alive, return
    the refusal to start it. ``restored``: it is there, and lacks its start alone.
    """
    # one that is there is restored no second time, so no words to this service help any more
    then = (
        "start the restored one in PVE"
        if restored
        else f'say so in these words: --confirm "{restore_guard.words(vmid)}"'
    )
    return LawRefused(
        2,
        f"{what}: {'; '.join(one.said for one in doubts)}; a guest must never run twice",
        "see on the spot that it is off there (console, IPMI, power), and take its power or its "
        f"network; then {then}",
    )
